"""The container engine: the Docker that answers, or one of our own in a network namespace of its own.

A Docker engine writes iptables rules, makes bridges and turns on forwarding. In a namespace all that goes with the
namespace, and the machine stays as it was. Its price: containers reach nothing outside, and whoever talks to the
cluster has to be inside; `Engine.command` sees to that. Images are built with the host's network instead, by the same
engine started once more without a bridge.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .errors import CannotRunError, KindError
from .settings import Settings

_NEEDED: Final = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "debootstrap": "debootstrap",
    "zstd": "zstd",
    "gcc": "gcc libc6-dev",
}
# What a kubelet changes for the whole machine, and what we do; put back at the end.
_TUNABLES: Final = (
    "vm.overcommit_memory",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
    "fs.inotify.max_user_instances",
)
_WATCHES: Final = "1024"  # kubelet, containerd and systemd of each node watch files: the usual 128 are soon gone
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_CAP_SYS_RESOURCE: Final = 24
_UP_SECONDS: Final = 30.0
_DOWN_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine that answers.

    Attributes:
        private: it is our own, and no registry can be reached through it.
        prefix: put before a command that talks to the engine or to a cluster on it.
        env: added to its environment.
    """

    private: bool = False
    prefix: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs `arguments` where the cluster is."""
        return [*self.prefix, *arguments]

    def environment(self) -> dict[str, str]:
        """The environment to run it with."""
        return {**os.environ, **self.env}

    def run(self, *arguments: str, stdin: str | None = None, seconds: float = 300.0) -> str:
        """Run a command and return what it printed.

        Raises:
            KindError: it failed, or took longer than `seconds`.
        """
        try:
            done = subprocess.run(
                self.command(*arguments),
                env=self.environment(),
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise KindError(f"{' '.join(arguments)}: no end within {seconds:.0f} s") from error
        if done.returncode:
            said = done.stderr.strip() or done.stdout.strip()
            raise KindError(f"{' '.join(arguments)}: {said}")
        return done.stdout


def docker_answers(engine: Engine) -> bool:
    """Whether a Docker engine can be asked."""
    try:
        engine.run("docker", "info", seconds=20.0)
    except (KindError, OSError):
        return False
    return True


def obstacle() -> str:
    """Why no private engine can be started on this machine; empty if one can."""
    if os.geteuid() != 0:
        return "no Docker answers, and only root can start one"
    missing = sorted({package for name, package in _NEEDED.items() if shutil.which(name, path=_path()) is None})
    if missing:
        return f"no Docker answers, and to start one these packages are missing: apt install {' '.join(missing)}"
    return ""


def ordinary(settings: Settings) -> Engine | None:
    """The Docker that answers, unless the settings ask for a private one.

    Raises:
        CannotRunError: the settings ask for it, and it does not answer.
    """
    if settings.engine not in ("", "docker", "private"):
        raise CannotRunError(f"PENSTOCK_KIND_ENGINE is docker or private, not '{settings.engine}'")
    if settings.engine != "private":
        if docker_answers(Engine()):
            return Engine()
        if settings.engine == "docker":
            raise CannotRunError("PENSTOCK_KIND_ENGINE=docker, and no Docker answers: `docker info` says why")
    return None


@contextmanager
def builder(settings: Settings) -> Iterator[Engine]:
    """A private engine to build images with: no bridge, and `--network=host` reaches what the machine reaches.

    Raises:
        CannotRunError: this machine cannot start one.
        KindError: it did not come up.
    """
    _start(settings, ["--bridge=none", "--iptables=false", "--ip6tables=false"], ())
    try:
        yield Engine(private=True, env=_env(settings))
    finally:
        _end(settings)
        _tidy(settings)


def start(settings: Settings) -> Engine:
    """Start a private engine in its own network namespace, for clusters; it outlives this process.

    Raises:
        CannotRunError: this machine cannot start one.
        KindError: it did not come up.
    """
    engine = attach(settings)
    if docker_answers(engine):
        return engine
    _check()
    settings.run.mkdir(parents=True, exist_ok=True)
    kept = settings.run / "tunables"
    if not kept.exists():  # there if an engine died: then the values in force are a kubelet's
        kept.write_text("".join(f"{name}={_tunable(name).read_text().strip()}\n" for name in _TUNABLES))
    _tunable("fs.inotify.max_user_instances").write_text(_WATCHES)
    if not Path("/run/netns", settings.network).exists():
        subprocess.run(["ip", "netns", "add", settings.network], check=True)
    subprocess.run([*engine.prefix, "ip", "link", "set", "lo", "up"], check=True)
    _start(settings, [], engine.prefix)
    return engine


def attach(settings: Settings) -> Engine:
    """The private engine, whether it runs or not."""
    # Not `ip netns exec`, which mounts another /sys and so hides the control groups.
    return Engine(True, ("nsenter", f"--net=/run/netns/{settings.network}", "--"), _env(settings))


def stop(settings: Settings) -> None:
    """End the private engine with all its containers, and leave the machine as it was found.

    Raises:
        KindError: it does not end.
    """
    if not settings.run.is_dir():
        return
    engine = start(settings)  # one that died left containers, and only another can remove them
    if containers := engine.run("docker", "ps", "--all", "--quiet").split():
        engine.run("docker", "rm", "--force", "--volumes", *containers)
    _end(settings)
    for line in (settings.run / "tunables").read_text().splitlines():
        name, _, value = line.partition("=")
        _tunable(name).write_text(value)
    _tidy(settings)
    if Path("/run/netns", settings.network).exists():
        subprocess.run(["ip", "netns", "del", settings.network], check=True)
    shutil.rmtree(settings.run)


def _check() -> None:
    if found := obstacle():
        raise CannotRunError(found)


def _start(settings: Settings, arguments: list[str], prefix: tuple[str, ...]) -> None:
    _check()
    settings.run.mkdir(parents=True, exist_ok=True)
    settings.cache.mkdir(parents=True, exist_ok=True)
    # An engine that was killed takes its containerd along and leaves these: the next would wait for a dead process.
    for left in (_pid_file(settings), settings.run / "exec" / "containerd" / "containerd.pid"):
        left.unlink(missing_ok=True)
    log = settings.cache / "dockerd.log"
    command = [
        *(*prefix, "setsid", "--fork"),  # no child of ours: it may outlive this process
        *("dockerd", f"--host={_socket(settings)}", f"--data-root={settings.cache / 'docker'}"),
        *(f"--exec-root={settings.run / 'exec'}", f"--pidfile={_pid_file(settings)}", "--storage-driver=overlay2"),
        *("--log-level=warn", "--oom-score-adjust=0", "--default-cgroupns-mode=private"),
        *(f"--cgroup-parent=/{settings.network}", *_runtime(settings), *arguments),
    ]
    with log.open("wb") as out:
        env = {**os.environ, "PATH": _path()}
        subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=True)
    engine = Engine(True, prefix, _env(settings))
    deadline = time.monotonic() + _UP_SECONDS
    while not docker_answers(engine):
        if time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
            _end(settings)
            raise KindError(f"the Docker engine did not come up:\n{tail}")
        time.sleep(0.1)


def _runtime(settings: Settings) -> list[str]:
    """Where root has not every capability, nodes cannot be given every capability: see `bounded-runc`."""
    status = Path("/proc/self/status").read_text()
    bounding = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    if bounding >> _CAP_SYS_RESOURCE & 1:
        return []
    wrapper = settings.run / "bounded-runc"
    shutil.copy(Path(__file__).with_name("bounded-runc"), wrapper)
    wrapper.chmod(0o755)
    return [f"--add-runtime=bounded={wrapper}", "--default-runtime=bounded"]


def _end(settings: Settings) -> None:
    if not _pid_file(settings).exists():
        return
    pid = int(_pid_file(settings).read_text())
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_SECONDS
    while _lives(pid):
        if time.monotonic() > deadline:
            raise KindError(f"the Docker engine, process {pid}, does not end")
        time.sleep(0.1)


def _lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _tidy(settings: Settings) -> None:
    """Remove what an engine leaves: mounts of one that died, empty control groups and folders."""
    below = (f"{settings.run}/", f"{settings.cache / 'docker'}")
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((one for one in mounts if one.startswith(below)), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
    groups = [path for path in Path("/sys/fs/cgroup").glob(f"**/{settings.network}*") if path.is_dir()]
    for group in groups:
        for path in sorted([group, *(one for one in group.rglob("*") if one.is_dir())], reverse=True):
            with suppress(OSError):
                path.rmdir()
    for folder in ("/run/docker/plugins", "/run/docker", "/run/containerd/s", "/run/containerd"):
        with suppress(OSError):
            Path(folder).rmdir()


def _tunable(name: str) -> Path:
    return Path("/proc/sys", *name.split("."))


def _socket(settings: Settings) -> str:
    return f"unix://{settings.run / 'docker.sock'}"


def _pid_file(settings: Settings) -> Path:
    return settings.run / "docker.pid"


def _env(settings: Settings) -> dict[str, str]:
    return {"DOCKER_HOST": _socket(settings), "PATH": _path()}


def _path() -> str:
    """The system's own programs first: a docker of another version may come earlier on PATH."""
    return f"{_SYSTEM_PATH}:{os.environ.get('PATH', '')}"


Report = Callable[[str], None]
