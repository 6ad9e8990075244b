"""`make demo`: the whole path on this machine, from `kubectl apply` to replicas that follow the load."""
