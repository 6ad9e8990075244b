"""Binaries that a kind cluster takes beyond those of the local cluster; pinned in `scripts/kind/tools`.

Kubernetes' own have the version of the local cluster. kind and containerd belong together: containerd is the version
in that kind's own node image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from penstock_lab.cluster.catalog import KUBERNETES, TOOLS, Release, Tool

KIND: Final = "0.33.0"
CONTAINERD: Final = "2.3.4"
CNI: Final = "1.9.1"
COREDNS: Final = "1.14.2"
MODULES: Final = Path(__file__).parent / "tools"

_CONTAINERD: Final = "github.com/containerd/containerd/v2"
_PLUGINS: Final = "github.com/containernetworking/plugins/plugins"
_KUBERNETES_RELEASE: Final = f"https://dl.k8s.io/release/v{KUBERNETES}/bin/linux/{{arch}}"
_KIND_RELEASE: Final = f"https://github.com/kubernetes-sigs/kind/releases/download/v{KIND}/kind-linux-{{arch}}"


def _kubernetes(name: str, build_seconds: int) -> Tool:
    return Tool(
        name=name,
        version=KUBERNETES,
        module="kubernetes",
        module_version=f"v{KUBERNETES}",
        package=f"k8s.io/kubernetes/cmd/{name}",
        build_seconds=build_seconds,
        release=Release(f"{_KUBERNETES_RELEASE}/{name}", f"{_KUBERNETES_RELEASE}/{name}.sha256"),
        variables=TOOLS["kubectl"].variables,
    )


def _containerd(name: str, build_seconds: int) -> Tool:
    return Tool(
        name=name,
        version=CONTAINERD,
        module="containerd",
        module_version=f"v{CONTAINERD}",
        package=f"{_CONTAINERD}/cmd/{name}",
        build_seconds=build_seconds,
        tags="no_aufs,no_zfs,no_btrfs,no_devmapper",
        variables=(f"{_CONTAINERD}/version.Version=v{CONTAINERD}",),
    )


def _plugin(folder: str) -> Tool:
    return Tool(
        name=folder.partition("/")[2],
        version=CNI,
        module="cni",
        module_version=f"v{CNI}",
        package=f"{_PLUGINS}/{folder}",
        build_seconds=5,
    )


CLIENT: Final = Tool(
    name="kind",
    version=KIND,
    module="kind",
    module_version=f"v{KIND}",
    package="sigs.k8s.io/kind",
    build_seconds=20,
    release=Release(_KIND_RELEASE, f"{_KIND_RELEASE}.sha256sum"),
)
NODE: Final = (
    _kubernetes("kubelet", 120),
    _kubernetes("kubeadm", 15),
    _kubernetes("kube-proxy", 10),
    _containerd("containerd", 50),
    _containerd("ctr", 5),
    _containerd("containerd-shim-runc-v2", 5),
    *(_plugin(folder) for folder in ("ipam/host-local", "main/loopback", "main/ptp", "meta/portmap")),
    Tool(
        name="coredns",
        version=COREDNS,
        module="coredns",
        module_version=f"v{COREDNS}",
        package="github.com/coredns/coredns",
        build_seconds=90,
    ),
)
"""What the node image holds beside the control plane, in the order in which it is best built."""
CONTAINERD_PARTS: Final = tuple(tool.name for tool in NODE if tool.module == "containerd")
CNI_PLUGINS: Final = tuple(tool.name for tool in NODE if tool.module == "cni")
CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
"""Of the local cluster's catalog, in the node image too."""
