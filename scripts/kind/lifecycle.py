"""From nothing to a cluster whose nodes hold every image, and back; how long each step took is kept."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from penstock_lab.cluster.binaries import Resolver
from penstock_lab.cluster.catalog import TOOLS
from penstock_lab.cluster.settings import Settings as LabSettings

from . import engine as engines
from . import images, node
from .catalog import CLIENT, CONTROL_PLANE, MODULES, NODE
from .cluster import Cluster
from .engine import Engine
from .errors import CannotRunError, KindError
from .settings import PREFIX, Settings

_NO_MORE: Final = images.More()
_NO_TORCH: Final = (
    f"the worker's image needs a CPU build of torch: set {PREFIX}TORCH_INDEX to the URL of a package index that "
    f"has one, or {PREFIX}BASE to an image with Python and torch"
)


@dataclass(slots=True)
class Build:
    """How a cluster came to be.

    Attributes:
        report: called with a line per step.
        seconds: by step, in order.
        origin: where node and base images are from, for people.
    """

    report: Callable[[str], None] = lambda _: None
    seconds: dict[str, float] = field(default_factory=dict)
    origin: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a step."""
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began
        self.report(f"{name}: {self.seconds[name]:.0f} s")


def up(settings: Settings, build: Build, more: images.More = _NO_MORE) -> Cluster:
    """Make images and cluster; what is there already is used.

    Args:
        settings: of this machine.
        build: keeps how long each step took.
        more: images that are wanted too.

    Raises:
        CannotRunError: this machine cannot.
        KindError: a step failed.
    """
    engine = engines.ordinary(settings)
    if engine is None and (why := engines.obstacle()):
        raise CannotRunError(why)
    if engine is None:
        with build.step("binaries"):
            binaries = _binaries(build, ["prometheus", "helm", "kubectl"], node_too=not settings.node_image)
        engine = engines.attach(settings)
        if engines.docker_answers(engine):
            try:
                image = _made(engine, settings, build, binaries, more)
            except KindError as error:
                hint = "While a cluster is up, builds reach no network: `down` first, then `up`."
                raise KindError(f"{error}\n{hint}") from error
        else:
            with engines.builder(settings) as builder:
                image = _made(builder, settings, build, binaries, more)
        engine = engines.start(settings)
    else:
        registry = _registry_answers(engine, settings)
        if not registry and os.geteuid() != 0:
            raise CannotRunError("no image registry answers, and only root can make the images without one")
        if registry and not settings.base and not settings.torch_index:
            raise CannotRunError(_NO_TORCH)
        with build.step("binaries"):
            ours = not registry and not settings.node_image
            binaries = _binaries(build, ["prometheus", "helm", "kubectl"], node_too=ours)
        if registry:
            build.origin = "Node and base images are the official ones"
            image = settings.node_image
            with build.step("images"):
                images.build(engine, images.official(settings), binaries, report=build.report, more=more)
        else:
            image = _made(engine, settings, build, binaries, more)
    cluster = _cluster(settings, engine, binaries)
    if not cluster.exists():
        with build.step("kind create cluster"):
            cluster.create(image)
    with build.step("kind load"):
        cluster.load(images.names(more))
    return cluster


def attach(settings: Settings) -> Cluster:
    """The cluster that `up` made.

    Raises:
        KindError: there is none.
    """
    engine = engines.ordinary(settings) or engines.attach(settings)
    if not engines.docker_answers(engine):
        raise KindError("there is no cluster: `up` makes one")
    cluster = _cluster(settings, engine, _binaries(Build(), ["helm", "kubectl"], node_too=False))
    if not cluster.exists():
        raise KindError("there is no cluster: `up` makes one")
    return cluster


def down(settings: Settings) -> None:
    """Delete the cluster, and end the engine if it is ours.

    Raises:
        KindError: one of them does not go.
    """
    engine = engines.ordinary(settings) or engines.attach(settings)
    if engines.docker_answers(engine):
        cluster = _cluster(settings, engine, _binaries(Build(), ["helm", "kubectl"], node_too=False))
        if cluster.exists():
            cluster.delete()
        if engine.private and not cluster.neighbours():
            engines.stop(settings)
    elif engine.private:
        engines.stop(settings)


def _made(engine: Engine, settings: Settings, build: Build, binaries: dict[str, Path], more: images.More) -> str:
    build.origin = "No image registry answered: node and base images were made from Debian packages and Go modules"
    image = settings.node_image
    if not image:
        with build.step("node image"):
            image = node.make(engine, node.Workshop(settings.cache, binaries, build.report))
    with build.step("base images"):
        bases = images.made(engine, settings, report=build.report)
    with build.step("images"):
        images.build(engine, bases, binaries, report=build.report, more=more)
    return image


def _registry_answers(engine: Engine, settings: Settings) -> bool:
    """Whether the image that ours are to stand on can be pulled: the one that is set, or the Dockerfile's."""
    found = re.search(r"^ARG BASE=(\S+)$", (images.ROOT / "images" / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None
    try:
        engine.run("docker", "pull", "--quiet", settings.base or found[1], seconds=600.0)
    except KindError:
        return False
    return True


def _binaries(build: Build, names: list[str], *, node_too: bool) -> dict[str, Path]:
    lab = LabSettings.from_environment()
    if node_too:
        names = [*dict.fromkeys([*CONTROL_PLANE, *names])]
    found = Resolver(lab, report=build.report).resolve_all(TOOLS[name].name for name in names)
    resolver = Resolver(lab, report=build.report, modules=MODULES)
    found |= {tool.name: resolver.resolve(tool) for tool in (CLIENT, *(NODE if node_too else ()))}
    return {name: binary.path for name, binary in found.items()}


def _cluster(settings: Settings, engine: Engine, binaries: dict[str, Path]) -> Cluster:
    folder = settings.cache / "clusters" / settings.cluster
    programs = folder.parent / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name in ("kind", "kubectl", "helm"):  # under their plain names, for people
        link = programs / name
        link.unlink(missing_ok=True)
        link.symlink_to(binaries[name])
    return Cluster(settings.cluster, engine, folder, {name: programs / name for name in ("kind", "kubectl", "helm")})
