"""Awaiting conditions instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(probe: Callable[[], T | None], *, what: str, seconds: float = 60.0, every: float = 0.2) -> T:
    """The first truthy answer of `probe`; fails with the last answer or error when the deadline passes."""
    deadline = time.monotonic() + seconds
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
        time.sleep(every)
    message = f"not within {seconds:.0f} s: {what}; last: {last!r}"
    raise AssertionError(message)


def always(probe: Callable[[], bool], *, what: str, seconds: float, every: float = 0.2) -> None:
    """Fails as soon as `probe` is false within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert probe(), what
        time.sleep(every)
