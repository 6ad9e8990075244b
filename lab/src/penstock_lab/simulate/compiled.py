"""How the simulator's inner functions are compiled: cached on disk, and without reference counts.

They allocate nothing and only look into arrays that the caller holds, so that counting references to them is of no
use; it took nine tenths of the time. A function that makes an array must not be compiled like this.

The cache of a function is good for as long as its own file is unchanged; what it calls from other files is compiled
into it all the same, and so are the contract's numbers. So whatever is older than the newest file with compiled
functions, or than the contract's, is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from inspect import getfile
from pathlib import Path
from typing import Any, TypeVar

from numba import njit

from penstock_contract import names, pace

_F = TypeVar("_F", bound=Callable[..., Any])
_HOW: dict[str, Any] = {"cache": True, "error_model": "numpy", "_nrt": False}
_ALL_USE = ("compiled.py", "state.py")


def compiled(function: _F) -> _F:
    """Compile a function that Python calls too."""
    made: _F = njit(**_HOW)(function)
    return made


def inlined(function: _F) -> _F:
    """Compile a function into its callers: passing the arrays would cost more than most functions do."""
    made: _F = njit(forceinline=True, **_HOW)(function)
    return made


def forget_older(folder: Path, *also: Path) -> int:
    """Remove the caches in a folder that are older than the newest of its files that is compiled; their number.

    Args:
        folder: with compiled functions.
        also: files whose numbers are compiled into them.
    """
    using = f"from {__name__} import"
    changed = [
        path.stat().st_mtime
        for path in folder.glob("*.py")
        if path.name in _ALL_USE or using in path.read_text(encoding="utf-8")
    ]
    changed += [path.stat().st_mtime for path in also]
    kept = list((folder / "__pycache__").glob("*.nbi"))
    older = [path for path in kept if path.stat().st_mtime < max(changed, default=0.0)]
    for path in older:
        with suppress(OSError):  # another process was first, or nothing can be written here
            path.unlink()
    return len(older)


forget_older(Path(__file__).parent, *(Path(getfile(module)) for module in (names, pace)))
