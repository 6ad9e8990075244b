"""Errors of the planner; each names the option and the fix."""

from __future__ import annotations


class PlanError(ValueError):
    """What was asked for cannot be planned; the message is meant for a person."""
