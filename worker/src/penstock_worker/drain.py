"""`penstock-worker drain`: what a pod's preStop hook runs, with nothing but the standard library.

Kubernetes removes a pod from its endpoints and runs preStop at the same time, so for a moment requests still arrive
in good faith. The command therefore first lets clients hear of it while everything is served (`settle`), then asks
the worker to refuse new requests (kept-alive connections would go on for ever), waits for those in flight, and
returns; SIGTERM comes after it. A worker that is gone has nothing to wait for.
"""

from __future__ import annotations

import http.client
import json
import time
from typing import Any, Final

from penstock_worker.errors import WorkerError

_POLL_SECONDS: Final = 0.1
_CALL_SECONDS: Final = 5.0


def drain_worker(*, host: str, port: int, timeout: float, settle: float, wait: bool) -> None:
    """Drain a worker through its admin port.

    Args:
        host: where the admin port listens.
        port: the admin port.
        timeout: most seconds to take in all.
        settle: seconds during which new requests are still taken.
        wait: return only when nothing is in flight.

    Raises:
        WorkerError: the timeout passed with requests in flight.
    """
    deadline = time.monotonic() + timeout
    if not wait:
        settle = 0
    time.sleep(min(settle, timeout))
    # Long enough for what follows preStop; if the pod is not stopped after all, it serves again by itself.
    state = _call("POST", host, port, {"timeout_seconds": timeout + 60})
    while wait and state is not None and state["running"] + state["waiting"]:
        if time.monotonic() >= deadline:
            raise WorkerError(f"{state['running'] + state['waiting']} requests in flight after {timeout:g} s")
        time.sleep(_POLL_SECONDS)
        state = _call("GET", host, port)


def _call(method: str, host: str, port: int, body: Any = None) -> dict[str, Any] | None:
    """The drain state; None if nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1" if host in {"0.0.0.0", "::"} else host, port, _CALL_SECONDS)  # noqa: S104
    try:
        connection.request(method, "/drain", None if body is None else json.dumps(body))
        state = json.loads(connection.getresponse().read())
    except ConnectionError:
        return None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise WorkerError(f"admin port {host}:{port} does not answer: {error}") from error
    finally:
        connection.close()
    return state if isinstance(state, dict) and "running" in state else None
