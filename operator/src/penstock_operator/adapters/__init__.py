"""The outside world behind the Protocols of `core.ports`: the API server and Prometheus."""
