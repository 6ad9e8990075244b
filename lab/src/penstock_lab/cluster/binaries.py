"""Finding the control-plane binaries: a folder of the user's, the cache, the official release, a build from source.

The first source that has a binary is taken, and which one it was is said. What is downloaded or built goes into the
cache whole or not at all, under a lock, so that two processes neither build the same thing nor see half of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import tempfile
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from penstock_lab.cluster.builds import MODULES, BuildError, build
from penstock_lab.cluster.catalog import TOOLS
from penstock_lab.cluster.errors import BinaryNotFoundError
from penstock_lab.cluster.releases import DownloadError, UnreachableError, download

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from penstock_lab.cluster.catalog import Tool
    from penstock_lab.cluster.settings import Settings

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary that was found.

    Attributes:
        name: Of the tool.
        path: Absolute.
        source: `PENSTOCK_BIN_DIR`, `cache`, `release` or `build`.
    """

    name: str
    path: Path
    source: str


class Resolver:
    """Finds binaries; one object remembers which hosts it could not reach, and does not try them twice."""

    def __init__(
        self,
        settings: Settings,
        *,
        report: Callable[[str], None] = lambda _: None,
        modules: Path = MODULES,
    ) -> None:
        self._settings = settings
        self._report = report
        self._modules = modules
        self._unreachable: dict[str, str] = {}

    def resolve_all(self, names: Iterable[str]) -> dict[str, Binary]:
        """Resolve several tools of the catalog by name."""
        return {name: self.resolve(TOOLS[name]) for name in names}

    def resolve(self, tool: Tool) -> Binary:
        """Find one binary, downloading or building it when need be.

        Raises:
            BinaryNotFoundError: No source had it; the message says what was tried and what would help.
        """
        tried: list[str] = []
        if found := self._ready_made(tool, tried):
            return found
        cached = self._settings.bin_cache / tool.cached_name
        with self._locked(tool):
            if _runnable(cached):  # by another process, while this one waited
                return Binary(tool.name, cached, "cache")
            for source, obtain in (("release", self._download), ("build", self._build)):
                temporary = Path(tempfile.mkdtemp(dir=cached.parent, prefix=f".{tool.cached_name}-"))
                try:
                    obtain(tool, temporary / tool.name)
                    _install(temporary / tool.name, cached)
                except (DownloadError, BuildError) as error:
                    tried.append(f"{source}: {error}")
                    continue
                finally:
                    _discard(temporary)
                self._report(f"{tool.name} {tool.version}: {source}, now in {cached}")
                return Binary(tool.name, cached, source)
        raise BinaryNotFoundError(_explain(tool, tried))

    def _ready_made(self, tool: Tool, tried: list[str]) -> Binary | None:
        if (folder := self._settings.bin_dir) is None:
            tried.append("PENSTOCK_BIN_DIR: not set")
        elif _runnable(folder / tool.name):
            return Binary(tool.name, folder / tool.name, "PENSTOCK_BIN_DIR")
        else:
            tried.append(f"PENSTOCK_BIN_DIR: no executable {folder / tool.name}")
        cached = self._settings.bin_cache / tool.cached_name
        if _runnable(cached):
            return Binary(tool.name, cached, "cache")
        tried.append(f"cache: no {cached}")
        return None

    def _download(self, tool: Tool, target: Path) -> None:
        arch = ARCHITECTURES.get(platform.machine())
        release = tool.release_for(arch) if arch else None
        if release is None:
            raise DownloadError(f"there is no release for {platform.machine()}")
        host = urllib.parse.urlsplit(release.checksums_url).netloc
        if host in self._unreachable:
            raise UnreachableError(self._unreachable[host])
        self._report(f"{tool.name} {tool.version}: downloading {release.url}")
        try:
            download(release, target)
        except UnreachableError as error:
            self._report(f"{tool.name} {tool.version}: no download: {error}")
            self._unreachable[host] = str(error)
            raise

    def _build(self, tool: Tool, target: Path) -> None:
        build(tool, target, report=self._report, modules=self._modules)

    @contextlib.contextmanager
    def _locked(self, tool: Tool) -> Iterator[None]:
        cache = self._settings.bin_cache
        try:
            cache.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(cache / f".{tool.cached_name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise BinaryNotFoundError(
                f"cannot write the cache {cache} ({error.strerror}); make it writable, set XDG_CACHE_HOME to a "
                f"folder that is, or set PENSTOCK_BIN_DIR to a folder that holds {tool.name}"
            ) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._report(f"{tool.name} {tool.version}: waiting for another process that fetches it")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _install(made: Path, target: Path) -> None:
    made.chmod(0o755)
    made.replace(target)


def _discard(folder: Path) -> None:
    for left in folder.iterdir():
        left.unlink()
    folder.rmdir()


def _explain(tool: Tool, tried: list[str]) -> str:
    lines = "\n".join(f"  - {line}" for line in tried)
    return (
        f"cannot get {tool.name} {tool.version}. Tried:\n{lines}\n"
        f"Any of these helps: Go 1.26 or newer on PATH (https://go.dev/dl/) with access to a Go module proxy; access "
        f"to the project's releases; or a folder that holds an executable {tool.name}, named by PENSTOCK_BIN_DIR."
    )
