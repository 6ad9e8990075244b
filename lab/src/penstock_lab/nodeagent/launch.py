"""Everything that one start of a container needs: command line, environment, folders, CPU weight.

Made anew for each start, as a kubelet does, so that a restart sees changed config maps, labels and image table.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from penstock_lab.nodeagent import environment
from penstock_lab.nodeagent.paths import PathMap
from penstock_lab.nodeagent.quantity import parse_quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp

    from penstock_lab.kube import Kube
    from penstock_lab.nodeagent.addresses import AddressPool
    from penstock_lab.nodeagent.configs import ConfigSource
    from penstock_lab.nodeagent.events import EventRecorder
    from penstock_lab.nodeagent.images import Image, ImageTable
    from penstock_lab.nodeagent.sandbox import Sandbox
    from penstock_lab.nodeagent.settings import Settings
    from penstock_lab.nodeagent.starter import Starter
    from penstock_lab.nodeagent.volumes import Volumes

_TERMINATION_PATH: Final = "/dev/termination-log"
_NICEST: Final = 15


@dataclass(frozen=True, slots=True)
class Machine:
    """What all pods of one agent share."""

    settings: Settings
    kube: Kube
    session: aiohttp.ClientSession
    images: ImageTable
    configs: ConfigSource
    events: EventRecorder
    addresses: AddressPool
    starter: Starter


@dataclass(frozen=True, slots=True)
class Launch:
    """One start of a container."""

    container_id: str
    image: Image
    argv: list[str]
    environment: Mapping[str, str]
    paths: PathMap
    folder: Path
    termination_log: Path
    nice: int

    @property
    def mark(self) -> str:
        """What every process of this run has in its environment."""
        return f"{environment.CONTAINER_MARK}={self.container_id}"


async def prepare(container: dict[str, Any], *, sandbox: Sandbox, volumes: Volumes, machine: Machine) -> Launch:
    """Resolve everything that a start of `container` needs.

    Raises:
        ImageError: the image is unknown.
        ConfigError: the environment refers to something absent.
        MountError: a mount has an unsupported form.
    """
    image = machine.images.find(container["image"])
    variables = await environment.declared(container, sandbox=sandbox, configs=machine.configs)
    termination_log = sandbox.folder / "termination" / container["name"]
    inside = container.get("terminationMessagePath", _TERMINATION_PATH)
    paths = PathMap({**image.paths, inside: str(termination_log), **volumes.mounts(container)})
    container_id = uuid.uuid4().hex
    folder = sandbox.folder / "work" / container["name"]
    full = environment.assemble(
        machine={**machine.settings.environment, "HOME": str(folder)},
        image=image.env,
        variables=variables,
        fixed={
            environment.CLUSTER_MARK: machine.settings.cluster_id,
            environment.CONTAINER_MARK: container_id,
            environment.TERMINATION_LOG: str(termination_log),
        },
        kubeconfig=volumes.kubeconfig(container),
        sandbox=sandbox,
        paths=paths,
    )
    argv = image.command_line(
        *(
            [paths.rewrite(environment.expand(word, variables)) for word in container.get(key, ())]
            for key in ("command", "args")
        )
    )
    return Launch(
        container_id=container_id,
        image=image,
        argv=argv,  # the image's own words name real programs, wherever this checkout lies
        environment=full,
        paths=paths,
        folder=_working_folder(container, folder, paths),
        termination_log=termination_log,
        nice=niceness(container.get("resources", {}).get("limits", {}).get("cpu")),
    )


def niceness(cpu_limit: str | None) -> int:
    """Return the `nice` value for a CPU limit: 0 for none or four cores, 15 for an eighth of a core and less.

    One step of `nice` changes a task's weight by a factor of 1.25 (`sched_prio_to_weight` in the Linux kernel). A
    weight is not a cap: an idle machine gives every container all it can use.
    """
    if cpu_limit is None:
        return 0
    cores = max(float(parse_quantity(cpu_limit)), 0.001)
    return min(_NICEST, max(0, round(math.log(4.0 / cores, 1.25))))


def _working_folder(container: dict[str, Any], default: Path, paths: PathMap) -> Path:
    """Return the folder to start in: `workingDir` if this machine has it, else an empty one of the container."""
    default.mkdir(parents=True, exist_ok=True)
    wanted = container.get("workingDir")
    real = Path(paths.rewrite(wanted)) if wanted else default
    return real if real.is_dir() else default
