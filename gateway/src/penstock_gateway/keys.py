"""API keys from a file, one a line, read again when it changes (as a mounted Secret does).

Keys are compared by their digests, so neither memory nor timing tells them. A file that cannot be read any more
leaves the last keys in force; an empty one refuses everybody.
"""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import Final

from penstock_gateway.errors import ConfigurationError

_LOOK_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class Keys:
    """The keys of one file.

    Raises:
        ConfigurationError: the file cannot be read at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked_at = time.monotonic()
        try:
            self._stamp = self._look()
            self._digests = self._read()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"PENSTOCK_API_KEYS_FILE: cannot read {path}: {error}") from error

    def accept(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header carries one of the keys."""
        self._refresh()
        scheme, _, key = (authorization or "").partition(" ")
        return scheme.lower() == "bearer" and _digest(key.strip()) in self._digests

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._digests, self._stamp = self._read(), stamp
                _log.info("event=api_keys_read count=%d", len(self._digests))
        except (OSError, UnicodeDecodeError) as error:
            if self._stamp is not None:
                _log.warning("event=api_keys_unreadable path=%s error=%s", self._path, error)
            self._stamp = None

    def _look(self) -> tuple[int, int, int] | None:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> frozenset[bytes]:
        lines = self._path.read_text(encoding="utf-8").splitlines()
        return frozenset(_digest(line.strip()) for line in lines if line.strip())


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()  # a header may hold any bytes
