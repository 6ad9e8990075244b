"""The running operator: kopf watches, a cache, a work queue, one autoscale loop, health and metrics endpoints."""
