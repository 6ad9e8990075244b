"""Errors of the node agent, each with the reason that it has in a container's or a pod's status."""

from __future__ import annotations

from typing import ClassVar


class NodeAgentError(Exception):
    """Base of all errors here; `reason` is what `kubectl describe pod` shows."""

    reason: ClassVar[str] = "NodeAgentError"


class SettingsError(NodeAgentError):
    """A command line value or a file named by it cannot be used."""

    reason = "InvalidSettings"


class ImageError(NodeAgentError):
    """The image table has no entry for a container's image."""

    reason = "ErrImagePull"


class ConfigError(NodeAgentError):
    """A config map, secret, key or field that a container's environment needs is not there."""

    reason = "CreateContainerConfigError"


class MountError(NodeAgentError):
    """A volume cannot be provided."""

    reason = "FailedMount"


class StartError(NodeAgentError):
    """The container's program could not be executed."""

    reason = "StartError"


class UnsupportedPodError(NodeAgentError):
    """The pod asks for something that the agent will never do."""

    reason = "UnsupportedPodSpec"
