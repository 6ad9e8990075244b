"""The binaries that a cluster is made of: versions, official releases, and how to build each from source.

Versions here and in `lab/tools/*/go.mod` must agree; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KUBERNETES: Final = "1.36.3"
ETCD: Final = "3.6.6"
PROMETHEUS: Final = "3.15.0"
HELM: Final = "3.22.0"


@dataclass(frozen=True, slots=True)
class Release:
    """A project's own download of one binary, for one architecture.

    Attributes:
        url: Of the binary itself, or of a `.tar.gz` that holds it.
        checksums_url: Of the SHA-256 that the project publishes beside it, alone or in a list of files.
        member: Path of the binary in the archive; None when `url` is the binary.
    """

    url: str
    checksums_url: str
    member: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One binary.

    Attributes:
        name: Its file name.
        version: Without a leading `v`.
        module: Folder below `lab/tools` that pins the source.
        module_version: What `go.mod` calls this version.
        package: Go package of its `main`.
        build_seconds: How long a build takes on two cores, when its module was not built before.
        release: Template of its release; `{arch}` stands for `amd64` or `arm64`.
        tags: Build tags.
        variables: Linker variables, which the version command and API discovery show.
    """

    name: str
    version: str
    module: str
    module_version: str
    package: str
    build_seconds: int
    release: Release | None = None
    tags: str = ""
    variables: tuple[str, ...] = ()

    @property
    def cached_name(self) -> str:
        """Its file name in the cache."""
        return f"{self.name}-{self.version}"

    def release_for(self, arch: str) -> Release | None:
        """The release for one architecture, `amd64` or `arm64`."""
        if self.release is None:
            return None
        member = self.release.member
        return Release(
            self.release.url.format(arch=arch),
            self.release.checksums_url.format(arch=arch),
            None if member is None else member.format(arch=arch),
        )


def _kubernetes(name: str, build_seconds: int) -> Tool:
    url = f"https://dl.k8s.io/release/v{KUBERNETES}/bin/linux/{{arch}}/{name}"
    major, minor, _ = KUBERNETES.split(".")
    version = "k8s.io/component-base/version"
    return Tool(
        name=name,
        version=KUBERNETES,
        module="kubernetes",
        module_version=f"v{KUBERNETES}",
        package=f"k8s.io/kubernetes/cmd/{name}",
        build_seconds=build_seconds,
        release=Release(url, f"{url}.sha256"),
        variables=(
            f"{version}.gitVersion=v{KUBERNETES}",
            f"{version}.gitMajor={major}",
            f"{version}.gitMinor={minor}",
            f"k8s.io/client-go/pkg/version.gitVersion=v{KUBERNETES}",
        ),
    )


_ETCD_RELEASE = f"https://github.com/etcd-io/etcd/releases/download/v{ETCD}"
_PROMETHEUS_RELEASE = f"https://github.com/prometheus/prometheus/releases/download/v{PROMETHEUS}"
_PROMETHEUS_FOLDER = f"prometheus-{PROMETHEUS}.linux-{{arch}}"
_HELM_ARCHIVE = f"https://get.helm.sh/helm-v{HELM}-linux-{{arch}}.tar.gz"

TOOLS: Final = {
    tool.name: tool
    for tool in (
        Tool(
            name="etcd",
            version=ETCD,
            module="etcd",
            module_version=f"v{ETCD}",
            package="go.etcd.io/etcd/server/v3",
            build_seconds=20,
            release=Release(
                f"{_ETCD_RELEASE}/etcd-v{ETCD}-linux-{{arch}}.tar.gz",
                f"{_ETCD_RELEASE}/SHA256SUMS",
                f"etcd-v{ETCD}-linux-{{arch}}/etcd",
            ),
        ),
        _kubernetes("kube-apiserver", 180),
        _kubernetes("kube-controller-manager", 45),
        _kubernetes("kube-scheduler", 5),
        _kubernetes("kubectl", 20),
        Tool(
            name="prometheus",
            version=PROMETHEUS,
            module="prometheus",
            module_version="v0.315.0",  # how Prometheus numbers its module: 3.15.0
            package="github.com/prometheus/prometheus/cmd/prometheus",
            build_seconds=100,
            tags="remove_all_sd,enable_kubernetes_sd",
            release=Release(
                f"{_PROMETHEUS_RELEASE}/{_PROMETHEUS_FOLDER}.tar.gz",
                f"{_PROMETHEUS_RELEASE}/sha256sums.txt",
                f"{_PROMETHEUS_FOLDER}/prometheus",
            ),
            variables=(f"github.com/prometheus/common/version.Version={PROMETHEUS}",),
        ),
        Tool(
            name="helm",
            version=HELM,
            module="helm",
            module_version=f"v{HELM}",
            package="helm.sh/helm/v3/cmd/helm",
            build_seconds=45,
            release=Release(_HELM_ARCHIVE, f"{_HELM_ARCHIVE}.sha256sum", "linux-{arch}/helm"),
            variables=(
                f"helm.sh/helm/v3/internal/version.version=v{HELM}",
                # What `helm template` and `helm lint` take for the cluster's version; helm's own default is 1.20.
                f"helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor={KUBERNETES.split('.')[0]}",
                f"helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor={KUBERNETES.split('.')[1]}",
            ),
        ),
    )
}
"""By name, in the order in which they are best built."""
