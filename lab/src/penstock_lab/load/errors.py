"""Every error of the load generator; each names what is at fault and the fix."""

from __future__ import annotations


class LoadError(Exception):
    """The load cannot run as asked; the message is meant for a person."""


class OptionError(LoadError):
    """An option is wrong, or does not go with another; the message begins with its name."""


class EndpointError(LoadError):
    """The endpoint does not answer as an OpenAI endpoint would."""
