"""Errors of the kind cluster; every message says what to do about it."""

from __future__ import annotations


class KindError(Exception):
    """Something about the cluster or its images failed; the message holds what the tool said."""


class CannotRunError(KindError):
    """This machine cannot run a kind cluster at all; the message says why."""
