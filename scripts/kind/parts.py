"""The images that kubeadm asks for, each a static binary on an empty file system, in a node's own image store.

They are named as kubeadm names them, and imported by the node's containerd, run for a moment on this machine.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from penstock_lab.cluster.catalog import KUBERNETES

from . import archive
from .errors import KindError

_STATIC: Final = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
# What kube-proxy calls, and the network's script (`cni.yaml`), whose image this is too.
_PROGRAMS: Final = ("bin/sh", "bin/cat", "bin/mv", "bin/sleep", "sbin/ip", "usr/sbin/xtables-nft-multi", "usr/sbin/nft")
_EXTENSIONS: Final = "usr/lib/*-linux-gnu/xtables"
_DISABLED: Final = (("grpc", "cri"), ("internal", "opt"), ("nri", "nri"))
_UP_SECONDS: Final = 20.0
_NAMESPACE: Final = "k8s.io"


@dataclass(frozen=True, slots=True)
class Part:
    """One image.

    Attributes:
        root: its file system.
        names: its names.
        config: as OCI spells it.
    """

    root: Path
    names: Sequence[str]
    config: Mapping[str, Any] = field(default_factory=dict)


def wanted(kubeadm: Path) -> dict[str, str]:
    """Names of the images that kubeadm will ask for, by the last part of their path."""
    command = [str(kubeadm), "config", "images", "list", f"--kubernetes-version=v{KUBERNETES}"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {name.rpartition("/")[2].partition(":")[0]: name for name in names}


def store(root: Path, folder: Path, binaries: Mapping[str, Path], kubernetes: Path) -> None:
    """Put all images into the store of the node's file system.

    Args:
        root: of the node.
        folder: to work in; it is removed.
        binaries: by name.
        kubernetes: folder of Kubernetes' Go module.

    Raises:
        KindError: an image cannot be imported, or one that is needed is missing.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    due = wanted(binaries["kubeadm"])
    sandbox = re.findall(r'sandbox_image = "(.+)"', (root / "etc/containerd/config.toml").read_text())
    due["pause"], pauses = due["pause"], sorted({due["pause"], *sandbox})
    try:
        made = [
            *(_static(folder, binaries[name], [due[name]]) for name in _STATIC),
            _static(folder, binaries["coredns"], [due["coredns"]], at="coredns", config={"Entrypoint": ["/coredns"]}),
            _pause(folder, kubernetes, pauses),
            _proxy(folder, root, binaries["kube-proxy"], due["kube-proxy"]),
        ]
        with _containerd(root, binaries) as ctr:
            for part in made:
                packed = folder / "image.tar"
                archive.pack(part.root, packed, part.names, config=part.config, compress=archive.ZSTD)
                _run(
                    *(*ctr, "images", "import", "--label=io.cri-containerd.pinned=pinned", "--all-platforms"),
                    *("--no-unpack", "--digests", str(packed)),
                )
            have = set(_run(*ctr, "images", "list", "--quiet").split())
    finally:
        shutil.rmtree(folder)
    if missing := {*due.values(), *pauses} - have:
        raise KindError(f"images that the node will ask for are not in its store: {', '.join(sorted(missing))}")


def _static(
    folder: Path, binary: Path, names: Sequence[str], *, at: str = "", config: Mapping[str, Any] | None = None
) -> Part:
    name = names[0].rpartition("/")[2].partition(":")[0]
    target = folder / name / (at or f"usr/local/bin/{name}")
    target.parent.mkdir(parents=True)
    shutil.copyfile(binary, target)
    target.chmod(0o755)
    return Part(folder / name, names, config or {})


def _pause(folder: Path, kubernetes: Path, names: Sequence[str]) -> Part:
    root = folder / "pause"
    root.mkdir()
    code = kubernetes / "build" / "pause" / "linux" / "pause.c"
    _run("gcc", "-Os", "-static", f"-DVERSION={KUBERNETES}", "-o", str(root / "pause"), str(code))
    return Part(root, names, {"Entrypoint": ["/pause"], "User": "65535:65535"})


def _proxy(folder: Path, node: Path, binary: Path, name: str) -> Part:
    """kube-proxy with what it calls, and all libraries of that, from the node's own file system."""
    root = folder / "kube-proxy"
    for part in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / part).mkdir(parents=True)
        (root / part).symlink_to(f"usr/{part}")
    for part in ("run", "etc", "tmp", "usr/local/bin"):
        (root / part).mkdir(parents=True)
    extensions = next(node.glob(_EXTENSIONS)).relative_to(node)
    linked = [*_PROGRAMS, *(str(path.relative_to(node)) for path in (node / extensions).glob("*.so"))]
    libraries = {
        found
        for program in linked
        for found in re.findall(r"/\S+", _run("chroot", str(node), "ldd", f"/{program}", check=False))
        if not found.endswith(":")
    }
    files = [*_PROGRAMS, str(extensions), *(path.lstrip("/") for path in sorted(libraries))]
    packed = subprocess.run(["tar", "-chf", "-", *files], cwd=node, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-xf", "-"], cwd=root, input=packed, check=True)
    for family in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            (root / "usr/sbin" / f"{family}{suffix}").symlink_to("xtables-nft-multi")
    shutil.copyfile(binary, root / "usr/local/bin/kube-proxy")
    (root / "usr/local/bin/kube-proxy").chmod(0o755)
    _run("chroot", str(root), "iptables", "--version")
    return Part(root, [name])


@contextmanager
def _containerd(root: Path, binaries: Mapping[str, Path]) -> Iterator[list[str]]:
    """The node's containerd on the node's store, without what runs containers; yields the command of its client."""
    with tempfile.TemporaryDirectory(prefix="penstock-") as state:
        config = Path(state, "config.toml")
        disabled = ", ".join(f'"io.containerd.{name}.v1.{part}"' for name, part in _DISABLED)
        config.write_text(
            f'version = 2\nroot = "{root}/var/lib/containerd"\nstate = "{state}/run"\ndisabled_plugins = [{disabled}]\n'
            f'[grpc]\naddress = "{state}/socket"\n[ttrpc]\naddress = "{state}/ttrpc"\n'
        )
        command = [str(binaries["containerd"]), "--config", str(config)]
        with (
            Path(state, "log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as process,
        ):
            try:
                deadline = time.monotonic() + _UP_SECONDS
                while not Path(state, "socket").exists():
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise KindError(f"containerd did not start: {Path(state, 'log').read_text()[-800:]}")
                    time.sleep(0.05)
                yield [str(binaries["ctr"]), f"--address={state}/socket", f"--namespace={_NAMESPACE}"]
            finally:
                process.terminate()


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise KindError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
