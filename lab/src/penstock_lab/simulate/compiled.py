"""How the simulator's inner functions are compiled: cached on disk, and without reference counts.

They allocate nothing and only look into arrays that the caller holds, so that counting references to them is of no
use; it took nine tenths of the time. A function that makes an array must not be compiled like this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

_F = TypeVar("_F", bound=Callable[..., Any])
_HOW: dict[str, Any] = {"cache": True, "error_model": "numpy", "_nrt": False}


def compiled(function: _F) -> _F:
    """Compile a function that Python calls too."""
    made: _F = njit(**_HOW)(function)
    return made


def inlined(function: _F) -> _F:
    """Compile a function into its callers: passing the arrays would cost more than most functions do."""
    made: _F = njit(forceinline=True, **_HOW)(function)
    return made
