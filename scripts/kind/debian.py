"""Root file systems of Debian packages, by debootstrap: what images stand on where no registry can be asked."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from .errors import KindError

_DROPPED: Final = (
    "var/cache/apt/archives",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/srcpkgcache.bin",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    # Or every container would have one and the same.
    "etc/machine-id",
    "var/lib/dbus/machine-id",
)
_CERTIFICATES: Final = Path("etc/ssl/certs/ca-certificates.crt")
_TAIL: Final = 8


def bootstrap(root: Path, release: str, packages: Sequence[str], *, report: Callable[[str], None]) -> None:
    """Make `root` a file system of Debian's `release` with `packages`, unless it was made before.

    It trusts the certificate authorities that this machine trusts: behind a proxy there may be one more than Debian's.

    Raises:
        KindError: debootstrap failed.
    """
    if _done(root).exists():
        return
    if root.exists():
        shutil.rmtree(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    report(f"debootstrap {release} with {', '.join(packages)}")
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", release, str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-_TAIL:])
        raise KindError(f"debootstrap {release} failed:\n{tail}")
    for name in _DROPPED:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    mine = Path("/") / _CERTIFICATES
    if mine.is_file() and (root / _CERTIFICATES).is_file():
        shutil.copyfile(mine, root / _CERTIFICATES)
    _done(root).touch()


def discard(root: Path) -> None:
    """Remove what `bootstrap` made."""
    shutil.rmtree(root)
    _done(root).unlink()


def _done(root: Path) -> Path:
    """Is there if the file system is whole."""
    return root.with_suffix(".done")
