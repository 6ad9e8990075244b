"""Every error of the trace loaders; each names the file, the place in it and the fix."""

from __future__ import annotations


class TraceError(ValueError):
    """A trace cannot be read; the message is meant for a person."""
