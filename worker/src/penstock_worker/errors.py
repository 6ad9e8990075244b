"""Everything the worker refuses, as exceptions with one-line messages.

A `StartupError` ends the process: its message is the last line on stderr, so it names the file or flag and the fix.
A `RequestError` becomes one OpenAI-style error body; it never ends anything but its own request.
"""

from __future__ import annotations


class WorkerError(Exception):
    """Base of all errors the worker raises on purpose; the message is one line."""


class StartupError(WorkerError):
    """The worker cannot start or go on; the process exits with status 1 and this message."""


class CheckpointError(StartupError):
    """The checkpoint is missing, broken, or of an architecture the engine does not have."""


class ConfigError(StartupError):
    """Flags contradict each other, the checkpoint or the device."""


class RequestError(WorkerError):
    """A request is refused.

    Attributes:
        status: HTTP status.
        kind: OpenAI error type.
        param: the field at fault, if one is.
        code: machine-readable code, if there is one.
        retry_after: seconds for the `Retry-After` header, if retrying makes sense.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.retry_after = retry_after


def model_not_found(requested: str, served: str) -> RequestError:
    """404: the request names a model that this worker does not serve."""
    return RequestError(
        f"The model `{requested}` does not exist; this worker serves `{served}`.",
        status=404,
        kind="NotFoundError",
        param="model",
        code="model_not_found",
    )


def unavailable(why: str, *, retry_after: int) -> RequestError:
    """503: the worker is loading or draining; another one may serve the request now."""
    return RequestError(why, status=503, kind="service_unavailable", code="unavailable", retry_after=retry_after)


def engine_failed() -> RequestError:
    """500: the engine died under the request; the process is about to exit."""
    return RequestError("The engine failed; see the worker's log.", status=500, kind="internal_error")
