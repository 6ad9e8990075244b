"""The image table: which program stands for which container image.

A YAML mapping from image name or glob to `argv` (the image's ENTRYPOINT), optional `args` (its CMD), `env`, `paths` (a
folder inside the image to the real one), and `preload` (modules that a `{python} -m …` image is forked with, see
`zygote`). The first exact name wins, then the first glob in file order. The file is read again when it has changed, so
that an image can appear while a pod waits for it, as in a registry.
"""

from __future__ import annotations

import fnmatch
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from penstock_lab.nodeagent.errors import ImageError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path


_FIELDS: Final = frozenset({"argv", "args", "env", "paths", "preload"})


@dataclass(frozen=True, slots=True)
class Image:
    """One entry of the table; `pattern` is its key."""

    pattern: str
    argv: tuple[str, ...]
    args: tuple[str, ...]
    env: dict[str, str]
    paths: dict[str, str]
    preload: tuple[str, ...]

    def command_line(self, command: list[str] | None, args: list[str] | None) -> list[str]:
        """Combine with a container's `command` and `args` as Kubernetes does: a command also drops the image's CMD."""
        if command:
            return [*command, *(args or ())]
        return [*self.argv, *(args or self.args)]


class ImageTable:
    """The images that this machine can run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._images: dict[str, Image] = {}
        self._refresh()

    def find(self, name: str) -> Image:
        """Return the entry for an image.

        Raises:
            ImageError: there is none, or the file has been changed to something unreadable.
        """
        try:
            self._refresh()
        except SettingsError as error:
            raise ImageError(str(error)) from error
        if name in self._images:
            return self._images[name]
        for pattern, image in self._images.items():
            if fnmatch.fnmatchcase(name, pattern):
                return image
        raise ImageError(f'failed to pull image "{name}": not in the image table {self._path}')

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._stamp:
                self._images = _parse(self._path, yaml.safe_load(self._path.read_text()))
                self._stamp = stamp
        except (OSError, yaml.YAMLError) as error:
            raise SettingsError(f"--images {self._path}: {error}") from error


def _parse(path: Path, document: Any) -> dict[str, Image]:
    if not isinstance(document, dict):
        raise SettingsError(f"--images {path}: must be a mapping from image name to {{argv, args, env, paths}}")
    images = {}
    for pattern, entry in document.items():
        if not isinstance(entry, dict) or not entry.get("argv") or set(entry) - _FIELDS:
            raise SettingsError(f"--images {path}: {pattern!r} must have argv and may have args, env, paths, preload")
        images[str(pattern)] = Image(
            pattern=str(pattern),
            argv=tuple(str(word).replace("{python}", sys.executable) for word in entry["argv"]),
            args=tuple(str(word) for word in entry.get("args", ())),
            env={str(name): str(value) for name, value in entry.get("env", {}).items()},
            paths={str(inside): str(real) for inside, real in entry.get("paths", {}).items()},
            preload=tuple(str(module) for module in entry.get("preload", ())),
        )
    return images
