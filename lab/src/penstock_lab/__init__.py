"""What does not run in production: local cluster, load generator, demo, simulator, reports."""
