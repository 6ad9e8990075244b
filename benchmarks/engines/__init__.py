"""A real vLLM under the operator: sized, scaled up, drained and scaled down, every request counted."""
