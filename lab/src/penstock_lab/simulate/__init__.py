"""The simulator: traffic against a scaling policy, on replicas that follow the step model."""
