"""Where binaries come from: which source wins, what is checked, what is said when none has it."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import shutil
import subprocess
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock_lab.cluster import builds
from penstock_lab.cluster.binaries import Resolver
from penstock_lab.cluster.catalog import TOOLS, Release, Tool
from penstock_lab.cluster.errors import BinaryNotFoundError
from penstock_lab.cluster.settings import Settings

PROGRAM = b"#!/bin/sh\necho released\n"
TOOL = Tool(
    name="tool", version="1.2", module="tool", module_version="v1.2.0", package="penstock.test/tool", build_seconds=1
)
NOWHERE = Release("http://127.0.0.1:9/tool", "http://127.0.0.1:9/tool.sha256")


def executable(path, content=b"#!/bin/sh\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


@pytest.fixture
def settings(tmp_path):
    return Settings(bin_dir=tmp_path / "bin", bin_cache=tmp_path / "cache", state_root=tmp_path / "state")


@pytest.fixture
def said():
    return []


@pytest.fixture
def resolver(settings, said, tmp_path):
    return Resolver(settings, report=said.append, modules=tmp_path / "tools")


@pytest.fixture
def site(tmp_path):
    """A web site: set files by name, read what was asked for."""
    folder = tmp_path / "site"
    folder.mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *_):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def released(site, content=PROGRAM, *, checksum=None):
    folder, url, _ = site
    (folder / "tool").write_bytes(content)
    (folder / "tool.sha256").write_text(checksum or hashlib.sha256(content).hexdigest())
    return dataclasses.replace(TOOL, release=Release(f"{url}/tool", f"{url}/tool.sha256"))


def go_module(tmp_path, source='package main\n\nvar version = "none"\n\nfunc main() { println(version) }\n'):
    folder = tmp_path / "tools" / "tool"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module penstock.test/tool\n\ngo 1.21\n")
    (folder / "main.go").write_text(source)


def test_the_folder_of_the_user_goes_before_the_cache(resolver, settings):
    cached = executable(settings.bin_cache / "tool-1.2")
    assert resolver.resolve(TOOL).source == "cache"
    assert resolver.resolve(TOOL).path == cached
    mine = executable(settings.bin_dir / "tool")
    assert resolver.resolve(TOOL).source == "PENSTOCK_BIN_DIR"
    assert resolver.resolve(TOOL).path == mine


def test_the_cache_goes_before_the_release(resolver, settings, site):
    executable(settings.bin_cache / "tool-1.2")
    assert resolver.resolve(released(site)).source == "cache"
    assert site[2] == []


def test_another_version_in_the_cache_does_not_count(resolver, settings, site):
    executable(settings.bin_cache / "tool-1.1")
    assert resolver.resolve(released(site)).source == "release"


def test_a_release_is_downloaded_once_and_kept(resolver, settings, site, said):
    tool = released(site)
    first = resolver.resolve(tool)
    assert first.source == "release"
    assert first.path == settings.bin_cache / "tool-1.2"
    assert subprocess.run([first.path], capture_output=True, check=True).stdout == b"released\n"
    assert any("downloading" in line for line in said)
    assert resolver.resolve(tool).source == "cache"
    assert site[2].count("/tool") == 1
    assert [path.name for path in settings.bin_cache.iterdir() if path.suffix != ".lock"] == ["tool-1.2"]


def test_the_member_of_an_archive_is_found_by_a_list_of_checksums(resolver, site):
    folder, url, _ = site
    with tarfile.open(folder / "tool.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("tool-amd64/tool")
        info.size = len(PROGRAM)
        tar.addfile(info, io.BytesIO(PROGRAM))
    digest = hashlib.sha256((folder / "tool.tar.gz").read_bytes()).hexdigest()
    (folder / "sums").write_text(f"{'0' * 64}  other.tar.gz\n{digest}  tool.tar.gz\n")
    release = Release(f"{url}/tool.tar.gz", f"{url}/sums", "tool-amd64/tool")
    assert resolver.resolve(dataclasses.replace(TOOL, release=release)).path.read_bytes() == PROGRAM


@pytest.mark.parametrize(("checksum", "why"), [("f" * 64, "its project published f"), ("none", "holds no SHA-256")])
def test_a_release_that_cannot_be_checked_is_not_used(resolver, settings, site, checksum, why):
    tool = released(site, checksum=checksum)
    with pytest.raises(BinaryNotFoundError, match=why):
        resolver.resolve(tool)
    assert [path.name for path in settings.bin_cache.iterdir() if path.suffix != ".lock"] == []


def test_two_at_once_download_once(settings, site, tmp_path):
    tool = released(site)

    def resolve(_):
        return Resolver(settings, modules=tmp_path).resolve(tool).source

    with ThreadPoolExecutor(4) as pool:
        sources = sorted(pool.map(resolve, range(4)))
    assert sources == ["cache", "cache", "cache", "release"]
    assert site[2].count("/tool") == 1


@pytest.mark.skipif(shutil.which("go") is None, reason="needs Go")
def test_without_an_internet_it_is_built(resolver, settings, said, tmp_path):
    go_module(tmp_path)
    tool = dataclasses.replace(TOOL, release=NOWHERE, variables=("main.version=1.2",))
    built = resolver.resolve(tool)
    assert built.source == "build"
    assert subprocess.run([built.path], capture_output=True, check=True).stderr == b"1.2\n"
    assert any("building from source, usually 1 s" in line for line in said)
    # A host that did not answer is not asked again.
    again = dataclasses.replace(tool, version="1.3")
    resolver.resolve(again)
    assert sum("no download" in line for line in said) == 1


@pytest.mark.skipif(shutil.which("go") is None, reason="needs Go")
def test_a_build_that_fails_shows_what_the_compiler_said(resolver, tmp_path):
    go_module(tmp_path, source="package main\n\nfunc main() { nonsense() }\n")
    with pytest.raises(BinaryNotFoundError, match="undefined: nonsense"):
        resolver.resolve(TOOL)


def test_what_was_tried_and_what_would_help(resolver, settings, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    go_module(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(BinaryNotFoundError) as error:
        resolver.resolve(dataclasses.replace(TOOL, release=NOWHERE))
    message = str(error.value)
    for part in (
        "cannot get tool 1.2",
        f"PENSTOCK_BIN_DIR: no executable {settings.bin_dir / 'tool'}",
        f"cache: no {settings.bin_cache / 'tool-1.2'}",
        "release: cannot fetch http://127.0.0.1:9/tool.sha256",
        "build: there is no `go` on PATH",
        "https://go.dev/dl/",
    ):
        assert part in message


def test_outside_of_a_checkout_a_build_says_so(resolver):
    with pytest.raises(BinaryNotFoundError, match=r"needs a checkout of the repository: there is no .*go\.mod"):
        resolver.resolve(TOOL)


def test_a_cache_that_cannot_be_written_is_named(settings, tmp_path):
    (tmp_path / "file").write_text("")
    unwritable = dataclasses.replace(settings, bin_cache=tmp_path / "file" / "bin")
    with pytest.raises(BinaryNotFoundError, match=r"cannot write the cache .*file/bin.*XDG_CACHE_HOME"):
        Resolver(unwritable).resolve(TOOL)


def test_settings_follow_the_environment():
    found = Settings.from_environment({"HOME": "/h"})
    assert found == Settings(
        bin_dir=None, bin_cache=Path("/h/.cache/penstock/bin"), state_root=Path("/h/.local/state/penstock/clusters")
    )
    chosen = {"HOME": "/h", "PENSTOCK_BIN_DIR": "/b", "XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"}
    assert Settings.from_environment(chosen) == Settings(
        bin_dir=Path("/b"), bin_cache=Path("/c/penstock/bin"), state_root=Path("/s/penstock/clusters")
    )


@pytest.mark.parametrize("tool", TOOLS.values(), ids=lambda tool: tool.name)
def test_the_catalog_agrees_with_the_pinned_modules(tool):
    pinned = (builds.MODULES / tool.module / "go.mod").read_text().splitlines()
    assert any(
        line.split()[1:2] == [tool.module_version] and tool.package.startswith(line.split()[0]) for line in pinned
    )
    assert any(line.strip().removeprefix("tool ") == tool.package for line in pinned)
    assert (builds.MODULES / tool.module / "go.sum").is_file()
    assert tool.release_for("arm64").url.startswith("https://")
    assert "{" not in str(tool.release_for("arm64"))
