"""Public workload traces as streams of requests: when each came and how many tokens it had."""
