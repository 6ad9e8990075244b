"""Every error of the local cluster; each says what was being done and what to do about it."""

from __future__ import annotations


class ClusterError(Exception):
    """Something about a local cluster failed; the message is meant for a person."""


class BinaryNotFoundError(ClusterError):
    """No source had a control-plane binary; the message lists each that was tried."""


class StartError(ClusterError):
    """A component did not become ready; the message ends with the last lines of its log."""


class MismatchError(ClusterError):
    """A cluster of this name runs already, with other settings than those asked for."""


class NotRunningError(ClusterError):
    """The cluster that was asked for does not run."""
