"""Set-up says what is missing, and the lock covers what pyproject.toml asks for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NEEDED = (
    "scripts/setup",
    "scripts/setup.py",
    "requirements",
    "pyproject.toml",
    "lab/src/penstock_lab/cluster/catalog.py",
)


@pytest.fixture
def checkout(tmp_path):
    """So much of a checkout as set-up looks at before it installs anything."""
    root = tmp_path / "checkout"
    for name in NEEDED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name)
    return root


@pytest.fixture
def tools(tmp_path):
    """A folder for PATH with the few commands of the set-up script, and whatever a test adds."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("sh", "dirname", "uname"):
        (folder / name).symlink_to(shutil.which(name))

    def add(name, script):
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    add.path = folder
    return add


def set_up(checkout, path, **environment):
    env = {"PATH": str(path), "HOME": str(checkout), **environment}
    command = [str(checkout / "scripts" / "setup")]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def test_elsewhere_than_on_linux(checkout, tools):
    tools("uname", "echo Darwin")
    done = set_up(checkout, tools.path)
    assert done.returncode == 2
    assert "needs Linux" in done.stderr
    assert "this is Darwin" in done.stderr


def test_without_a_python_that_will_do(checkout, tools):
    tools("python3", "exit 127  # the shim of a version that is not installed")
    done = set_up(checkout, tools.path)
    assert done.returncode == 2
    assert "no Python 3.11, 3.12 or 3.13" in done.stderr
    assert "apt install python3" in done.stderr
    assert "PENSTOCK_PYTHON=" in done.stderr


def test_a_named_python_is_taken_and_an_unwritable_cache_is_named(checkout, tools):
    (checkout / "file").write_text("")
    cache = checkout / "file" / "cache"
    done = set_up(checkout, tools.path, PENSTOCK_PYTHON=sys.executable, XDG_CACHE_HOME=str(cache))
    assert done.returncode == 2
    assert f"the cache folder {cache} is not writable" in done.stderr
    assert "XDG_CACHE_HOME" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_is_explained(checkout, tools):
    tools("python3", f'case "$*" in *venv*) exit 1;; esac\nexec {sys.executable} "$@"')
    source = (checkout / "scripts" / "setup.py").read_text()
    # The interpreter that runs set-up is asked for the environment: let that be the one without venv.
    (checkout / "scripts" / "setup.py").write_text(source.replace("sys.executable", repr(str(tools.path / "python3"))))
    done = set_up(checkout, tools.path)
    assert done.returncode == 2
    assert "apt install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_every_dependency_is_locked_with_a_hash():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    wanted = {
        re.split(r"[\[<>=;!~ ]", line)[0].lower().replace("_", "-")
        for line in [
            *project["project"]["dependencies"],
            *(line for extra in extras for line in extra),
            *project["build-system"]["requires"],
        ]
    } - {"penstock"}
    lock = (ROOT / "requirements" / "dev.txt").read_text()
    locked = dict(re.findall(r"^([a-z0-9.-]+)==\S+.*\\\n    --hash=(sha256):", lock, flags=re.MULTILINE))
    assert wanted - set(locked) == set(), "run scripts/lock"


def test_lock_files_name_no_place_to_fetch_from():
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text, path
        assert not re.search(r"^(-i|--index-url|--extra-index-url|--find-links)", text, flags=re.MULTILINE), path


def test_scripts_can_be_run():
    for name in ("scripts/setup", "scripts/lock", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name
