"""Awaiting conditions instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 0.6


def eventually(probe: Callable[[], T | None], *, what: str, seconds: float = 120.0, every: float | None = None) -> T:
    """The first truthy answer of `probe`; fails with the last answer or error when the deadline passes.

    Without `every` it asks often at first and less often then: many probes start a process, and what is waited for
    needs the cores as well.
    """
    deadline = time.monotonic() + seconds
    pause = SHORTEST_PAUSE if every is None else every
    last: object = None
    while time.monotonic() < deadline:
        try:
            found = probe()
        except (AssertionError, KeyError, IndexError, OSError) as error:
            last = error
        else:
            if found:
                return found
            last = found
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, 1.3 * pause) if every is None else every
    message = f"not within {seconds:.0f} s: {what}; last: {last!r}"
    raise AssertionError(message)


def always(probe: Callable[[], bool], *, what: str, seconds: float, every: float = 0.2) -> None:
    """Fails as soon as `probe` is false within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert probe(), what
        time.sleep(every)
