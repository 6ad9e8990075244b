"""Downloading a binary from its project's own release, checked against the SHA-256 that the project publishes.

The checksum is fetched first: it is small, so it also finds out within seconds whether the internet can be reached.
Without a checksum nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import TYPE_CHECKING, Final

from penstock_lab.cluster.errors import ClusterError

if TYPE_CHECKING:
    from penstock_lab.cluster.catalog import Release

REACH_SECONDS: Final = 3.0
STALL_SECONDS: Final = 30.0
_MAX_CHECKSUMS: Final = 1 << 20


class DownloadError(ClusterError):
    """A release could not be had."""


class UnreachableError(DownloadError):
    """Nothing answered: other downloads from the same host would fail too."""


def download(release: Release, target: Path) -> None:
    """Write the binary of a release to `target`.

    Raises:
        DownloadError: It could not be reached, has no checksum, or does not match it.
    """
    expected = _checksum(release)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
        fetched = Path(folder) / "release"
        digest = _fetch(release.url, fetched)
        if digest != expected:
            raise DownloadError(f"{release.url} has SHA-256 {digest}, its project published {expected}")
        if release.member is None:
            shutil.copyfile(fetched, target)
        else:
            _extract(fetched, release.member, target)


def _checksum(release: Release) -> str:
    """The published SHA-256 of a release, in hexadecimal."""
    # In a thread, because looking up a host name heeds no timeout.
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        text = pool.submit(_read, release.checksums_url).result(timeout=2 * REACH_SECONDS)
    except FutureTimeoutError:
        raise UnreachableError(f"{_host(release.checksums_url)} did not answer") from None
    finally:
        pool.shutdown(wait=False)
    name = release.url.rsplit("/", 1)[-1]
    for line in text.splitlines():
        match line.split():
            case [digest] if re.fullmatch("[0-9a-f]{64}", digest):
                return digest
            case [digest, file] if file.lstrip("*") == name and re.fullmatch("[0-9a-f]{64}", digest):
                return digest
    raise DownloadError(f"{release.checksums_url} holds no SHA-256 of {name}")


def _read(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=REACH_SECONDS) as response:  # noqa: S310 - https, from the catalog
            content: bytes = response.read(_MAX_CHECKSUMS)
    except urllib.error.HTTPError as error:
        with error:
            raise DownloadError(f"cannot fetch {url}: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"cannot fetch {url}: {_reason(error)}") from error
    return content.decode(errors="replace")


def _fetch(url: str, target: Path) -> str:
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(url, timeout=STALL_SECONDS) as response,  # noqa: S310 - https, from the catalog
            target.open("wb") as file,
        ):
            while block := response.read(1 << 20):
                digest.update(block)
                file.write(block)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"cannot fetch {url}: {_reason(error)}") from error
    return digest.hexdigest()


def _extract(archive: Path, member: str, target: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            source = tar.extractfile(member)
            if source is None:
                raise DownloadError(f"{member} in the release is not a file")
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
    except (KeyError, tarfile.TarError) as error:
        raise DownloadError(f"the release holds no {member}: {error}") from error


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or url


def _reason(error: Exception) -> str:
    return str(error.reason if isinstance(error, urllib.error.URLError) else error) or type(error).__name__
