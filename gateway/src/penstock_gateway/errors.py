"""Everything the gateway refuses, as exceptions with one-line messages.

A `ConfigurationError` ends the process. A `Refusal` becomes one OpenAI error body. What goes wrong between gateway
and worker is either `NotTakenError` (the worker never began, any other may) or `BrokenError` (it may have begun).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

QUEUE_FULL: Final = "queue_full"
HOLD_TIMEOUT: Final = "hold_timeout"
OVERLOADED: Final = "overloaded"
UNREACHABLE: Final = "unreachable"
BROKEN: Final = "broken"
STREAM_BROKEN: Final = "stream_broken"
UPSTREAM_ERROR: Final = "upstream_error"
SERVICE_DELETED: Final = "service_deleted"
SHUTDOWN: Final = "shutdown"
INTERNAL: Final = "internal"
CLIENT_CLOSED: Final = "client_closed"
# Values of the label `reason`. The last one is the client's doing.
REASONS: Final = (
    QUEUE_FULL, HOLD_TIMEOUT, OVERLOADED, UNREACHABLE, BROKEN, STREAM_BROKEN, UPSTREAM_ERROR, SERVICE_DELETED, SHUTDOWN,
    INTERNAL, CLIENT_CLOSED,
)  # fmt: skip
_BUSY_RETRY_SECONDS: Final = 5


class GatewayError(Exception):
    """Base of all errors the gateway raises on purpose; the message is one line."""


class ConfigurationError(GatewayError):
    """A setting is wrong; the message names it and the fix."""


class KubeError(GatewayError):
    """The API server refused; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class NotTakenError(GatewayError):
    """The worker did not take the request; nothing of it was done."""


class BrokenError(GatewayError):
    """The worker took the request and the connection ended before the answer did."""


class ClientGoneError(GatewayError):
    """The client went away or stopped reading."""


class Refusal(GatewayError):  # noqa: N818 - it is an answer as much as an error
    """A request is refused.

    Attributes:
        status: HTTP status.
        kind: OpenAI error type.
        code: machine-readable code, if there is one.
        param: the field at fault, if one is.
        retry_after: seconds for the `Retry-After` header, if retrying makes sense.
        reason: one of `REASONS` if the service failed the client, None if the client is at fault.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.reason = reason

    def body(self) -> dict[str, Any]:
        """The OpenAI error body."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


def not_http(why: str) -> Refusal:
    """400: the bytes are no request of HTTP/1.1."""
    return Refusal(f"The request is not HTTP/1.1: {why}.")


def head_too_large(limit: int) -> Refusal:
    """431: the head of the request is over the limit in bytes."""
    return Refusal(f"The head of the request is larger than {limit} bytes; send less in its headers.", status=431)


def no_such_path(method: str, path: str) -> Refusal:
    """404: nothing is served here."""
    return Refusal(
        f"No such endpoint: {method} {path}. There are /v1/chat/completions, /v1/completions and /v1/models, also"
        " below /{namespace}/{service}.",
        status=404,
    )


def method_not_allowed(method: str, path: str, allowed: str) -> Refusal:
    """405: the path takes another method."""
    return Refusal(f"{method} is not allowed for {path}; use {allowed}.", status=405)


def no_such_service(namespace: str, service: str) -> Refusal:
    """404: no `InferenceService` of that name is known."""
    return Refusal(
        f"There is no InferenceService `{service}` in namespace `{namespace}`.",
        status=404, kind="not_found_error", code="service_not_found",
    )  # fmt: skip


def model_not_resolved(model: str, matches: Iterable[str], known: Iterable[str]) -> Refusal:
    """404: a bare model name stands for no service, or for several."""
    choices = sorted(matches)
    if choices:
        text = f"The model `{model}` is served by several services; ask one of {', '.join(choices)}."
    else:
        text = f"The model `{model}` does not exist; there are {', '.join(sorted(known)) or 'none'}."
    return Refusal(text, status=404, kind="not_found_error", code="model_not_found", param="model")


def unauthorized() -> Refusal:
    """401: no key, or a wrong one."""
    return Refusal(
        "Missing or wrong API key; send it as `Authorization: Bearer KEY`.",
        status=401, kind="authentication_error", code="invalid_api_key",
    )  # fmt: skip


def too_large(limit: int) -> Refusal:
    """413: the body is over the limit in bytes."""
    return Refusal(
        f"The body is larger than {limit} bytes ({limit / 2**20:.3g} MiB), the gateway's limit; it is set by"
        " PENSTOCK_MAX_BODY_BYTES (gateway.maxBodyBytes of the chart).",
        status=413, code="body_too_large",
    )  # fmt: skip


def too_many_choices(limit: int) -> Refusal:
    """400: prompts times `n` is over the limit."""
    return Refusal(f"The body asks for more than {limit} answers: prompts times `n`; ask for fewer.", param="n")


def body_timeout(seconds: float) -> Refusal:
    """408: the body did not come in time."""
    return Refusal(f"The body did not come within {seconds:g} s.", status=408)


def overloaded() -> Refusal:
    """503: the bodies of waiting requests fill the memory set aside for them."""
    return Refusal(
        "The gateway holds as much as it may; try again later.",
        status=503, kind="overloaded_error", code="overloaded", retry_after=_BUSY_RETRY_SECONDS, reason=OVERLOADED,
    )  # fmt: skip


def queue_full(held: int) -> Refusal:
    """429: as many requests are held as `spec.routing.maxHeldRequests` allows."""
    return Refusal(
        f"{held} requests wait for a replica already; try again later.",
        status=429, kind="rate_limit_error", code="queue_full", retry_after=_BUSY_RETRY_SECONDS, reason=QUEUE_FULL,
    )  # fmt: skip


def hold_timeout(seconds: float) -> Refusal:
    """503: no replica took the request within `spec.routing.holdTimeoutSeconds`."""
    return Refusal(
        f"No replica could take the request within {seconds:g} s; try again later.",
        status=503, kind="overloaded_error", code="hold_timeout",
        retry_after=_BUSY_RETRY_SECONDS, reason=HOLD_TIMEOUT,
    )  # fmt: skip


def unreachable(attempts: int, seconds: float) -> Refusal:
    """503: workers were asked, none took the request within `spec.routing.holdTimeoutSeconds`."""
    return Refusal(
        f"{attempts} attempts within {seconds:g} s found no replica that takes the request; try again later.",
        status=503, kind="overloaded_error", code="unreachable", retry_after=1, reason=UNREACHABLE,
    )  # fmt: skip


def broken(attempts: int) -> Refusal:
    """502: workers took the request and died with it."""
    return Refusal(
        f"The connection to the replica broke before it answered, {attempts} times.",
        status=502, kind="server_error", code="upstream_broken", retry_after=1, reason=BROKEN,
    )  # fmt: skip


def stream_broken() -> Refusal:
    """The answer ended in the middle; only ever sent as an event of the stream."""
    return Refusal(
        "The connection to the replica broke in the middle of the answer.",
        status=502, kind="server_error", code="stream_broken", reason=STREAM_BROKEN,
    )  # fmt: skip


def stream_ended() -> Refusal:
    """The gateway ended in the middle of the answer; only ever sent as an event of the stream."""
    return Refusal(
        "The gateway was shut down in the middle of the answer.",
        status=503, kind="server_error", code="stream_broken", reason=STREAM_BROKEN,
    )  # fmt: skip


def shut_down() -> Refusal:
    """503: the gateway ends before a replica has answered the request."""
    return Refusal(
        "The gateway is shutting down; try again.",
        status=503, kind="overloaded_error", code="shutdown", retry_after=1, reason=SHUTDOWN,
    )  # fmt: skip


def service_deleted() -> Refusal:
    """404: the service was deleted while the request waited."""
    return Refusal(
        "The service was deleted while the request waited.",
        status=404, kind="not_found_error", code="service_not_found", reason=SERVICE_DELETED,
    )  # fmt: skip


def internal() -> Refusal:
    """500: a mistake of the gateway."""
    return Refusal(
        "Internal error; see the gateway's log.", status=500, kind="server_error", code="internal", reason=INTERNAL
    )
