"""The state folder of a cluster: whoever holds its lock owns what is in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from typing import TYPE_CHECKING, Self

from penstock_lab.cluster.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from penstock_lab.cluster.spec import Layout


class FolderLock:
    """The lock of a state folder; the kernel frees it when its holder dies."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, layout: Layout) -> Self | None:
        """Take the lock, making the folder when need be; None when somebody else has it.

        Raises:
            StartError: The folder cannot be written.
        """
        make_root(layout)
        try:
            descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return None  # its holder removes the folder at this moment
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A cluster that goes down removes its lock: the name may stand for another file by now.
            if os.fstat(descriptor).st_ino == layout.lock.stat().st_ino:
                return cls(layout.lock, descriptor)
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return None

    def release(self, *, remove: bool) -> None:
        """Give the lock back, and remove its file and the folder if nothing else is in it."""
        if remove:
            with contextlib.suppress(OSError):
                self._path.unlink()
                self._path.parent.rmdir()
        os.close(self._descriptor)


def make_root(layout: Layout) -> None:
    """Make a state folder, its owner's alone.

    Raises:
        StartError: It cannot be made or written.
    """
    try:
        layout.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        writable = os.access(layout.root, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if not writable:
        raise StartError(
            f"cannot write the state folder {layout.root}; make it writable, choose another one, or set XDG_STATE_HOME"
        )


def empty(layout: Layout, *, keep: set[str]) -> None:
    """Remove everything from the folder but the lock and the entries named by `keep`; call with the lock held."""
    for entry in layout.root.iterdir():
        if entry.name in keep or entry == layout.lock:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
