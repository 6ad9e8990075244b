"""Errors of the core; each maps to exactly one reason of one condition (`api.conditions`)."""


class CoreError(Exception):
    """A request that the operator cannot carry out; the message says why and what to do."""

    reason: str


class EngineNotSupportedError(CoreError):
    """The spec asks an engine for something that it cannot do."""

    reason = "EngineNotSupported"


class NameConflictError(CoreError):
    """A child's name is taken by an object that another controller or a person owns."""

    reason = "NameConflict"
