"""What the simulator costs: requests per second of the engine and of whole runs, and how it agrees with silicon."""
