"""Commands that people run against a cluster: they read, and change nothing."""
