"""`LocalCluster`: a real control plane on this machine, as an object.

The object only talks: a supervisor process owns the cluster (see `supervisor`). Unless `detach` is called, the cluster
ends with the process that started it, in whatever way that process ends.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from penstock_lab.cluster.binaries import Resolver
from penstock_lab.cluster.catalog import TOOLS
from penstock_lab.cluster.control import ask
from penstock_lab.cluster.errors import ClusterError, MismatchError, StartError
from penstock_lab.cluster.images import default_images
from penstock_lab.cluster.lifecycle import Leash, attach, launch, take_down
from penstock_lab.cluster.settings import Settings
from penstock_lab.cluster.spec import ClusterSpec, Layout, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
CONTROL_PLANE: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "prometheus")
HAND_OVER_SECONDS: Final = 90.0
_POLL_SECONDS: Final = 0.05


class LocalCluster:
    """etcd, kube-apiserver, controller-manager, scheduler, node agent and Prometheus as processes.

    Use it as a context manager, or call `up` and `down`. Entering a cluster that runs already uses it and leaves it
    running; `down` always takes it down.

    Attributes:
        name: Of the cluster.
        state_dir: Folder of everything it writes.
        models: Folder that containers of Penstock's images see as `/models`.
    """

    def __init__(
        self,
        name: str = "default",
        *,
        nodes: int = 1,
        gpus_per_node: int = 8,
        prometheus: bool = True,
        node_agent: bool = True,
        audit: bool = True,
        scrape_interval_seconds: float = 1.0,
        images: Mapping[str, Mapping[str, Any]] | None = None,
        more_images: Mapping[str, Mapping[str, Any]] | None = None,
        models: Path | None = None,
        state_dir: Path | None = None,
        settings: Settings | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Describe a cluster; nothing is started.

        Args:
            name: Lower-case letters, digits and dashes. One cluster runs per name, or per `state_dir`.
            nodes: How many Nodes.
            gpus_per_node: `nvidia.com/gpu` of each.
            prometheus: Whether to run Prometheus.
            node_agent: Whether to run the node agent; without it, there are no Nodes and pods stay Pending.
            audit: Whether the API server writes an audit log (level Metadata).
            scrape_interval_seconds: Of Prometheus.
            images: Image glob to `{argv, args, env, paths}`; by default Penstock's own images.
            more_images: Further images, which go before those.
            models: What containers of the default images see as `/models`; by default a folder of the cluster.
            state_dir: Instead of `~/.local/state/penstock/clusters/<name>`; its `logs` outlive the cluster.
            settings: Where binaries and state lie; by default from the environment.
            report: Called with one line per step.

        Raises:
            ClusterError: A value makes no sense.
        """
        if not NAME.fullmatch(name):
            raise ClusterError(f"name {name!r}: use up to 63 lower-case letters, digits and dashes")
        for field, value in (("nodes", nodes), ("gpus_per_node", gpus_per_node)):
            if value < 0:
                raise ClusterError(f"{field} is {value}: it must be 0 or more")
        if scrape_interval_seconds < 0.1:
            raise ClusterError(f"scrape_interval_seconds is {scrape_interval_seconds}: it must be 0.1 or more")
        self.name = name
        self._settings = settings or Settings.from_environment()
        self.state_dir = Path(state_dir).absolute() if state_dir else self._settings.state_root / name
        self._layout = Layout(self.state_dir)
        self._report = report
        self._keep_logs = state_dir is not None
        self._resolver = Resolver(self._settings, report=report)
        self.models = (models or self._layout.models).absolute()
        table = default_images(models=self.models) if images is None else images
        self._options: dict[str, Any] = {
            "nodes": nodes,
            "gpus_per_node": gpus_per_node,
            "prometheus": prometheus,
            "node_agent": node_agent,
            "audit": audit,
            "scrape_interval_seconds": scrape_interval_seconds,
            "images": {glob: dict(image) for glob, image in {**(more_images or {}), **table}.items()},
        }
        self._description: dict[str, Any] = {}
        self._leash: Leash | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._leash is not None:
            self.down()

    # What it is -----------------------------------------------------------------------------------------------

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; complete in itself, it may be copied."""
        return self._layout.kubeconfig

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON event a line."""
        return self._layout.audit_log

    @property
    def pod_logs(self) -> Path:
        """Folder with the containers' output: `<namespace>_<pod>_<container>.log`."""
        return self._layout.node_agent / "logs"

    @property
    def api_url(self) -> str:
        """Of the API server."""
        return str(self._fact("api_url"))

    @property
    def prometheus_url(self) -> str:
        """Of Prometheus.

        Raises:
            ClusterError: This cluster has none.
        """
        url = self._fact("prometheus_url")
        if url is None:
            raise ClusterError(f"cluster {self.name} runs without Prometheus")
        return str(url)

    @property
    def address_prefix(self) -> str:
        """First two numbers of the addresses of this cluster's pods, such as `127.81`."""
        return str(self._fact("address_prefix"))

    def log(self, component: str) -> Path:
        """Log file of one component."""
        return self._layout.log(component)

    def bin(self, name: str) -> Path:
        """Path of a binary of the catalog, such as `kubectl`; it is fetched when missing.

        Raises:
            ClusterError: There is no such tool, or it cannot be had.
        """
        if name not in TOOLS:
            raise ClusterError(f"no tool {name!r}; there are {', '.join(TOOLS)}")
        return self._resolver.resolve(TOOLS[name]).path

    def status(self) -> dict[str, Any]:
        """What runs, with `health` by component and `nodes` by name.

        Raises:
            NotRunningError: It does not run.
        """
        return self._ask({"op": "status"})

    # What it does ---------------------------------------------------------------------------------------------

    def up(self) -> bool:
        """Start the cluster and wait until it is ready for pods.

        Returns:
            Whether it was started; False when it ran already.

        Raises:
            BinaryNotFoundError: A binary cannot be had.
            StartError: A component did not get ready; nothing is left running.
            MismatchError: A cluster of this name runs, with other settings.
        """
        end = time.monotonic() + HAND_OVER_SECONDS
        while time.monotonic() < end:
            if description := attach(self._layout, deadline=end):
                self._check(description)
                self._description = description
                self._report(f"cluster {self.name} runs already")
                return False
            spec = self._spec()
            self._leash = launch(spec, self._layout, report=self._report)
            if self._leash is not None:
                return True
            time.sleep(_POLL_SECONDS)  # another process brings it up or down at this moment
        raise StartError(f"{self.state_dir} is held by a supervisor that does not answer; try `down` first")

    def down(self) -> bool:
        """Take the cluster down, whoever started it, and remove its data.

        Returns:
            Whether there was anything to take down.
        """
        found = take_down(self._layout, keep_logs=self._keep_logs)
        if self._leash is not None:
            self._leash.let_go()
        self._leash = None
        self._description = {}
        return found

    def detach(self) -> None:
        """Let the cluster outlive this process and this object's context."""
        if self._leash is not None:
            self._leash.detach()
        self._leash = None

    def wait(self) -> None:
        """Wait until somebody takes the cluster down; only of use where this object started it."""
        if self._leash is not None:
            self._leash.wait()

    def start(self, component: str) -> None:
        """Start a stopped or killed component and wait until it is ready."""
        self._ask({"op": "start", "component": component})

    def stop(self, component: str) -> None:
        """End a component in order and wait until it is gone."""
        self._ask({"op": "stop", "component": component})

    def kill(self, component: str) -> None:
        """SIGKILL a component and wait until it is gone."""
        self._ask({"op": "kill", "component": component})

    # How ------------------------------------------------------------------------------------------------------

    def _spec(self) -> ClusterSpec:
        names = [name for name in CONTROL_PLANE if name != "prometheus" or self._options["prometheus"]]
        binaries = self._resolver.resolve_all(names)
        return ClusterSpec(
            name=self.name,
            cluster_id=new_id(self.state_dir),
            state_dir=str(self.state_dir),
            binaries={name: str(binary.path) for name, binary in binaries.items()},
            keep_logs=self._keep_logs,
            **self._options,
        )

    def _check(self, description: dict[str, Any]) -> None:
        differing = [
            f"{option} is {description['shape'][option]!r}, not {value!r}"
            for option, value in self._options.items()
            if description["shape"][option] != value
        ]
        if differing:
            raise MismatchError(
                f"cluster {self.name} runs already with other settings ({'; '.join(differing)}); take it down "
                "first, or choose another name"
            )

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return ask(self._layout, request)

    def _fact(self, name: str) -> Any:
        if not self._description:
            self._description = self._ask({"op": "describe"})
        return self._description[name]
