"""Errors of the adapters."""


class KubeError(Exception):
    """An answer of the API server other than success.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        reason: `reason` of the Status object, or the name of the network error.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class ConfigurationError(Exception):
    """The operator cannot reach what it is configured for; the message says how to mend it."""


class AnswerError(Exception):
    """Prometheus, or what stands in its place, answered with something else than a result; the message says what.

    Attributes:
        gone: what answered stands before Prometheus and says that nobody is behind it, or Prometheus that it starts.
    """

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone
