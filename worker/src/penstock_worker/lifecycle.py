"""Whether the worker takes requests: loading, ready, draining, terminating.

A drain asked for on the admin port is a lease: with `timeout_seconds` it ends by itself, so that an operator that
died after asking does not leave a worker refusing for ever. Termination (SIGTERM) is a drain without return.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from penstock_worker.errors import unavailable

_RETRY_AFTER: Final = 1
_log = logging.getLogger(__name__)


class Lifecycle:
    """State of one worker process, owned by the event loop.

    Args:
        clock: monotonic seconds.
        started: when loading began, by that clock; None = now.

    Attributes:
        started: as above.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, started: float | None = None) -> None:
        self._clock = clock
        self.started = clock() if started is None else started
        self._drain_until = -math.inf
        self.loaded = False
        self.terminating = False
        self.load_seconds = 0.0
        self.ready_timestamp = 0.0

    @property
    def draining(self) -> bool:
        """Whether new requests are refused because the worker is about to go."""
        return self.terminating or self._clock() < self._drain_until

    @property
    def phase(self) -> str:
        """One word for people and probes."""
        if self.draining:
            return "draining"
        return "ready" if self.loaded else "loading"

    def mark_loaded(self) -> None:
        """The model is loaded; requests may come."""
        self.loaded = True
        self.load_seconds = self._clock() - self.started
        self.ready_timestamp = datetime.now(UTC).timestamp()
        _log.info("event=ready load_seconds=%.3f", self.load_seconds)

    def drain(self, timeout_seconds: float | None) -> None:
        """Refuse new requests, until `undrain` or for so many seconds."""
        self._drain_until = math.inf if timeout_seconds is None else self._clock() + timeout_seconds
        _log.info("event=drain_started timeout_seconds=%s", timeout_seconds)

    def undrain(self) -> bool:
        """Take requests again; False if the process is terminating."""
        if self.terminating:
            return False
        self._drain_until = -math.inf
        _log.info("event=drain_cancelled")
        return True

    def terminate(self) -> None:
        """Refuse new requests for good."""
        self.terminating = True

    def require_ready(self) -> None:
        """Admit a request.

        Raises:
            RequestError: 503, loading or draining.
        """
        if self.draining:
            raise unavailable("The worker is draining; send the request to another one.", retry_after=_RETRY_AFTER)
        if not self.loaded:
            raise unavailable("The model is loading.", retry_after=_RETRY_AFTER)
