"""Scaling policies behind one protocol: ours and the rivals', one file each."""

from penstock_lab.simulate.policies.base import Glance, Policy

__all__ = ["Glance", "Policy"]
