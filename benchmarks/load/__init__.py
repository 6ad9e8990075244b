"""What one process of the load generator can send and follow, against an endpoint that takes no time."""
