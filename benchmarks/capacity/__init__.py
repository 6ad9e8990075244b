"""Capacity as the policy computes it beside what simulated replicas carry."""
