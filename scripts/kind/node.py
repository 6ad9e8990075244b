"""The node image, made from Debian's packages and Go modules where no image registry answers.

A root file system of Debian with systemd, kind's own files from its Go module, and our static binaries. The images that
kubeadm will ask for are in the node's store already (`parts.py`). The tag says what it was made from, so that a change
here makes another.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock_lab.cluster.catalog import KUBERNETES

from . import archive, debian, parts
from .catalog import CNI_PLUGINS, CONTAINERD_PARTS, MODULES
from .engine import Engine
from .errors import KindError

_RELEASE: Final = "bookworm"
_PACKAGES: Final = (
    *("systemd", "systemd-sysv", "dbus", "conntrack", "iptables", "nftables", "iproute2", "ethtool", "util-linux"),
    *("mount", "kmod", "libseccomp2", "procps", "bash", "ca-certificates", "jq", "runc", "gzip", "zstd"),
)
_CONFIG: Final = {
    "Entrypoint": ["/usr/local/bin/entrypoint", "/sbin/init"],
    "Env": ["container=docker"],
    "StopSignal": "SIGRTMIN+3",
}
_SERVICES: Final = ("kubelet", "containerd", "undo-mount-hacks")
# Units that have no business in a container; those of the last line start only when somebody asks for them.
_NOT_WANTED: Final = (
    "lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
    "lib/systemd/system/multi-user.target.wants/*",
    "etc/systemd/system/*.wants/*",
    "lib/systemd/system/local-fs.target.wants/*",
    "lib/systemd/system/basic.target.wants/*",
    "lib/systemd/system/sockets.target.wants/*udev*",
    "lib/systemd/system/sockets.target.wants/*initctl*",
)
_FOLDERS: Final = (
    *("etc/kubernetes/manifests", "opt/cni/bin", "etc/cni/net.d", "kind/manifests", "var/lib/kubelet"),
    "etc/systemd/system/multi-user.target.wants",
)
# containerd's wish for a lower OOM score, and kubelet's for cgroup v2, are no reasons to refuse to run here.
_EDITS: Final = (
    ("etc/containerd/config.toml", "restrict_oom_score_adj = false", "restrict_oom_score_adj = true"),
    ("etc/default/kubelet", "KUBELET_EXTRA_ARGS=", "KUBELET_EXTRA_ARGS=--fail-cgroupv1=false "),
)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a node image is made with.

    Attributes:
        cache: folder for root file systems and archives.
        binaries: paths by name, the control plane's among them.
        report: called with a line per step.
    """

    cache: Path
    binaries: Mapping[str, Path]
    report: Callable[[str], None]


def name() -> str:
    """Name and tag of the image that this code makes."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    code = (here / one for one in ("node.py", "parts.py", "debian.py", "catalog.py", "cni.yaml"))
    for path in sorted([*code, *MODULES.glob("*/go.sum")]):
        digest.update(path.read_bytes())
    return f"penstock/node:v{KUBERNETES}-{digest.hexdigest()[:10]}"


def make(engine: Engine, shop: Workshop) -> str:
    """Make the image unless the engine has it; return its name.

    Raises:
        KindError: a step failed.
    """
    wanted = name()
    if has(engine, wanted):
        return wanted
    base, root = shop.cache / "roots" / "node", shop.cache / "node"
    debian.bootstrap(base, _RELEASE, _PACKAGES, report=shop.report)
    shop.report(f"making the node image {wanted}")
    shutil.rmtree(root, ignore_errors=True)
    try:
        subprocess.run(["cp", "-a", str(base), str(root)], check=True)
        _furnish(root, shop)
        parts.store(root, shop.cache / "parts", shop.binaries, source("kubernetes", "k8s.io/kubernetes"))
        packed = shop.cache / "node.tar"
        archive.pack(root, packed, [wanted], config=_CONFIG)
        engine.run("docker", "load", "--quiet", "--input", str(packed))
        packed.unlink()
    except subprocess.CalledProcessError as error:
        raise KindError(f"making the node image: {error}\n{(error.stderr or b'')!r}") from error
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return wanted


def has(engine: Engine, image: str) -> bool:
    """Whether the engine has an image."""
    return bool(engine.run("docker", "images", "--quiet", image).strip())


def source(module: str, package: str) -> Path:
    """Folder of a Go module that `tools/<module>` pins.

    Raises:
        KindError: there is no Go, or it cannot be fetched.
    """
    done = subprocess.run(
        ["go", "mod", "download", "-json", package], cwd=MODULES / module, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise KindError(f"go mod download {package}: {done.stderr.strip() or done.stdout.strip()}")
    return Path(json.loads(done.stdout)["Dir"])


def _furnish(root: Path, shop: Workshop) -> None:
    files = source("kind", "sigs.k8s.io/kind") / "images" / "base" / "files"
    for part in ("etc", "kind", "usr"):  # Go's module cache is read-only, and modes would come along
        subprocess.run(["cp", "-rL", "--no-preserve=all", str(files / part), f"{root}/"], check=True)
    for program in (root / "usr/local/bin/entrypoint", *(root / "kind/bin").iterdir()):
        program.chmod(0o755)
    for pattern in _NOT_WANTED:
        for unit in root.glob(pattern):
            unit.unlink()
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    with (root / "etc/systemd/journald.conf").open("a") as journald:
        journald.write("ReadKMsg=no\n")
    for service in _SERVICES:
        link = root / "etc/systemd/system/multi-user.target.wants" / f"{service}.service"
        link.symlink_to(f"/etc/systemd/system/{service}.service")
    (root / "etc/systemd/system/systemd-binfmt.service").symlink_to("/dev/null")  # those formats are the machine's
    (root / "usr/local/sbin/runc").symlink_to("/usr/sbin/runc")
    _put(shop.binaries, ("kubelet", "kubeadm", "kubectl"), root / "usr/bin")
    _put(shop.binaries, CONTAINERD_PARTS, root / "usr/local/bin")
    _put(shop.binaries, CNI_PLUGINS, root / "opt/cni/bin")
    for path, before, after in _EDITS:
        text = (root / path).read_text()
        if before not in text:
            raise KindError(f"kind's own {path} has no {before!r} any more")
        (root / path).write_text(text.replace(before, after))
    (root / "kind/version").write_text(f"v{KUBERNETES}")
    (root / "etc/containerd/cri-base.json").write_text(json.dumps(_runtime_spec(shop.binaries["ctr"])))
    network = Path(__file__).with_name("cni.yaml").read_text()
    proxy = parts.wanted(shop.binaries["kubeadm"])["kube-proxy"]
    (root / "kind/manifests/default-cni.yaml").write_text(network.replace("@KUBE_PROXY@", proxy))


def _put(binaries: Mapping[str, Path], names: tuple[str, ...], folder: Path) -> None:
    for each in names:
        shutil.copyfile(binaries[each], folder / each)
        (folder / each).chmod(0o755)


def _runtime_spec(ctr: Path) -> dict[str, object]:
    """What every container of a pod starts from: containerd's default, with kind's hook and no limits of its own."""
    spec = json.loads(subprocess.run([ctr, "oci", "spec"], check=True, capture_output=True).stdout)
    spec["process"].pop("rlimits", None)
    spec.setdefault("hooks", {}).setdefault("createContainer", []).append({"path": "/kind/bin/mount-product-files.sh"})
    return dict(spec)
