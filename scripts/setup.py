# ruff: noqa: INP001, T201 - a script that talks to a person, no module of a package
"""Make this checkout ready to run, in steps that are skipped when nothing changed.

Standard library only: it runs before anything is installed. A stamp in the virtual environment holds a hash of all that
goes into it (locks, pyproject.toml, interpreter, place), so that a second run takes no time. Every way in which a step
is known to fail ends with one message that says what is missing and how to get it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".penstock-setup"
BOOTSTRAP = ROOT / "requirements" / "bootstrap.txt"
LOCK = ROOT / "requirements" / "dev.txt"
CATALOG = ROOT / "lab" / "src" / "penstock_lab" / "cluster" / "catalog.py"
GIB = 1 << 30
MACHINES = ("x86_64", "aarch64", "arm64")
FREE_GIB_VENV = 9
FREE_GIB_CACHE = 3


class SetupError(Exception):
    """Set-up cannot go on; the message says why and what to do."""


def main() -> int:
    """Run every step that is due; return the exit status."""
    began = time.monotonic()
    try:
        check_machine()
        if STAMP.is_file() and STAMP.read_text() == fingerprint() and PYTHON.exists():
            if not binaries_ready():
                say("[3/3] control-plane binaries")
                fetch_binaries()
            return 0
        check_room()
        say(f"Setting up {ROOT} (only the first time and after changes of the locks)")
        say("[1/3] virtual environment in .venv (seconds)")
        make_environment()
        say("[2/3] Python packages with PyTorch (some 3 GB to download when not cached: 1 to 10 minutes)")
        install_packages()
        say("[3/3] control-plane binaries (cached: at once; downloaded: 1 minute; built by Go: 7 minutes on 2 cores)")
        fetch_binaries()
        STAMP.write_text(fingerprint())
    except SetupError as error:
        print(f"\nset-up failed: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nset-up interrupted; running it again goes on from here", file=sys.stderr)
        return 130
    say(f"Ready ({time.monotonic() - began:.0f} s)")
    return 0


def fingerprint() -> str:
    """A hash of everything that the virtual environment and the binaries are made from."""
    digest = hashlib.sha256()
    for path in (BOOTSTRAP, LOCK, CATALOG, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    digest.update(f"{ROOT} {platform.machine()} {environment_version()}".encode())
    return digest.hexdigest()


def environment_version() -> str:
    """The Python version that the virtual environment says it is made of; empty when there is none."""
    try:
        return (VENV / "pyvenv.cfg").read_text()
    except OSError:
        return ""


def check_machine() -> None:
    """Refuse machines that no binary exists for."""
    if platform.machine() not in MACHINES:
        raise SetupError(f"this machine is {platform.machine()}; Penstock needs Linux on x86_64 or arm64")


def check_room() -> None:
    """Refuse to start what cannot end: a full disk, a cache that cannot be written."""
    if not os.access(ROOT, os.W_OK):
        raise SetupError(f"{ROOT} is not writable; make it so, or clone into a folder that is")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    try:
        (cache / "penstock" / "bin").mkdir(parents=True, exist_ok=True)
        writable = os.access(cache / "penstock" / "bin", os.W_OK) and os.access(cache, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise SetupError(
            f"the cache folder {cache} is not writable: make it so, or set XDG_CACHE_HOME to a folder that is"
        )
    for folder, need, what in (
        (ROOT, 0 if PYTHON.exists() else FREE_GIB_VENV, ".venv"),
        (cache, FREE_GIB_CACHE, "the cache"),
    ):
        free = shutil.disk_usage(folder).free / GIB
        if free < need:
            raise SetupError(f"{what} needs {need} GB in {folder}, which has {free:.1f} GB free")


def make_environment() -> None:
    """Make `.venv` and put the pinned uv into it."""
    if not usable(PYTHON):
        if VENV.exists():
            say("      .venv does not work (was it moved, or its Python removed?): making it anew")
            shutil.rmtree(VENV)
        if run([sys.executable, "-m", "venv", str(VENV)], quiet=True):
            shutil.rmtree(VENV, ignore_errors=True)
            version = f"{sys.version_info[0]}.{sys.version_info[1]}"
            raise SetupError(
                f"`{sys.executable} -m venv` failed, the module venv or ensurepip is missing. Debian, Ubuntu: "
                f"apt install python3-venv (or python{version}-venv); or name another Python with PENSTOCK_PYTHON"
            )
    pinned = next(line.split()[0] for line in BOOTSTRAP.read_text().splitlines() if line.startswith("uv=="))
    if uv_version() == pinned:
        return
    if run([str(PYTHON), "-m", "pip", "--version"], quiet=True) and run([str(PYTHON), "-m", "ensurepip"], quiet=True):
        raise SetupError(f"{VENV} has no pip and cannot get one: remove the folder and run this again")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    if run([*pip, "--require-hashes", "-r", str(BOOTSTRAP)]):
        raise SetupError("pip could not install uv: is a Python package index within reach? (see above)")


def usable(python: Path) -> bool:
    """Whether a virtual environment's interpreter runs and has a version that will do."""
    check = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))"
    return python.exists() and not run([str(python), "-c", check], quiet=True)


def uv_version() -> str:
    """The uv in the virtual environment as `uv==X`; empty when there is none."""
    uv = VENV / "bin" / "uv"
    if not uv.exists():
        return ""
    shown = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False).stdout.split()
    return f"uv=={shown[1]}" if len(shown) > 1 else ""


def install_packages() -> None:
    """Install the locked packages, every one checked against its hash, then this checkout, editable."""
    install = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(PYTHON)]
    if not sys.stdout.isatty():
        install.append("--quiet")  # its progress bars become pages of lines
    if run([*install, "--require-hashes", "-r", str(LOCK)]):
        raise SetupError(
            "the packages of requirements/dev.txt could not be installed (see above): is a Python package index within "
            "reach, and is there room on the disk? Running it again goes on from here"
        )
    if run([*install, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]):
        raise SetupError("this checkout could not be installed into .venv (see above)")


def binaries_ready() -> bool:
    """Whether kubectl and helm are linked and their targets exist: the last thing that fetching does."""
    return all((VENV / "bin" / name).exists() for name in ("kubectl", "helm"))


def fetch_binaries() -> None:
    """Find, download or build what a cluster consists of, and link kubectl and helm into `.venv/bin`."""
    command = [str(PYTHON), "-m", "penstock_lab.cluster", "prefetch", "--link", str(VENV / "bin")]
    if run(command):
        raise SetupError("the control-plane binaries could not be had (see above)")


def run(command: list[str], *, quiet: bool = False) -> int:
    """Run a command from the checkout's root; return its exit status."""
    output = subprocess.DEVNULL if quiet else None
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONHOME")}
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
    ).returncode


def say(line: str) -> None:
    """Tell the user what happens next."""
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
