"""What the policy is worth beyond traces: the page that several benchmarks write together."""
