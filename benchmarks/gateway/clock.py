"""A clock finer than the event loop's whole milliseconds: the kernel's timerfd, which the loop reads like a socket.

A load that looks at a millisecond's clock sends all that was due since then at once, so that a proxy has to work off a
pile a thousand times a second that no client ever made.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_MONOTONIC: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC
_COUNT_BYTES: Final = 8


class _Times(ctypes.Structure):
    """`struct itimerspec`."""

    _fields_ = (
        ("every_s", ctypes.c_long),
        ("every_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


@contextmanager
def beats(microseconds: int, on_beat: Callable[[], None]) -> Iterator[None]:
    """Call back each so many microseconds, as far as the loop finds the time; what was missed is not made up for.

    Raises:
        OSError: this kernel has no timerfd.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.timerfd_create(_MONOTONIC, _FLAGS)
    times = _Times(0, microseconds * 1000, 0, microseconds * 1000)
    if descriptor < 0 or libc.timerfd_settime(descriptor, 0, ctypes.byref(times), None):
        raise OSError(ctypes.get_errno(), "no timerfd")
    loop = asyncio.get_running_loop()

    def beat() -> None:
        os.read(descriptor, _COUNT_BYTES)
        on_beat()

    loop.add_reader(descriptor, beat)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
