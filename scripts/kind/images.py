"""The images that the cluster runs: ours by the project's Dockerfile, a Prometheus, and a worker that holds a model."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from penstock_lab.cluster.catalog import PROMETHEUS

from . import archive, debian, node
from .engine import Engine
from .errors import KindError
from .settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
WORKER: Final = "penstock/worker:dev"
"""With a model below `/models`: the name that the examples ask for."""
PROMETHEUS_IMAGE: Final = f"prom/prometheus:v{PROMETHEUS}"
PREVIOUS: Final = "previous"
"""Tag of the images of another version, to be upgraded from."""
_RELEASE: Final = "trixie"
_PYTHON: Final = ("python3", "python3-venv", "python3-pip", "ca-certificates")
_TORCH: Final = (*_PYTHON, "python3-torch")
_AUTHORITIES: Final = "/etc/ssl/certs/ca-certificates.crt"
_CONFIG: Final = {
    "Cmd": ["/bin/sh"],
    "Env": ["LANG=C.UTF-8", f"PIP_CERT={_AUTHORITIES}", f"SSL_CERT_FILE={_AUTHORITIES}"],
}
_BUILD_SECONDS: Final = 1800.0


@dataclass(frozen=True, slots=True)
class More:
    """What the tests want beyond what people get.

    Attributes:
        previous: a checkout of another version, whose operator and gateway are built by its own Dockerfile.
        programs: static binaries, by the name of the image that each is the entrypoint of.
    """

    previous: Path | None = None
    programs: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bases:
    """What our images stand on.

    Attributes:
        python: of operator and gateway; empty is the Dockerfile's own.
        torch: of the worker; empty is the Dockerfile's own.
        torch_index: where a CPU build of torch comes from; empty where the base has one.
    """

    python: str = ""
    torch: str = ""
    torch_index: str = ""


def version() -> str:
    """Of the project, which its images are tagged with."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def names(more: More) -> list[str]:
    """Every image that goes to the nodes."""
    tags = [version(), *([PREVIOUS] if more.previous else [])]
    ours = [f"penstock/{part}:{tag}" for tag in tags for part in ("operator", "gateway")]
    return [*ours, WORKER, PROMETHEUS_IMAGE, *more.programs]


def official(settings: Settings) -> Bases:
    """The bases where a registry answers."""
    return Bases(settings.base, settings.base, settings.torch_index)


def made(engine: Engine, settings: Settings, *, report: Callable[[str], None]) -> Bases:
    """Bases of Debian packages, made unless the engine has them; Debian's torch is a build for CPUs.

    Raises:
        KindError: debootstrap failed.
    """
    if settings.base:
        return Bases(settings.base, settings.base, settings.torch_index)
    found = []
    for name, packages in (("python", _PYTHON), ("torch", _TORCH)):
        digest = hashlib.sha256(repr((_RELEASE, packages, _CONFIG)).encode()).hexdigest()[:10]
        image = f"penstock/{name}:{_RELEASE}-{digest}"
        if not node.has(engine, image):
            root, packed = settings.cache / "roots" / name, settings.cache / f"{name}.tar"
            debian.bootstrap(root, _RELEASE, packages, report=report)
            archive.pack(root, packed, [image], config=_CONFIG)
            engine.run("docker", "load", "--quiet", "--input", str(packed), seconds=_BUILD_SECONDS)
            packed.unlink()
            debian.discard(root)
        found.append(image)
    return Bases(found[0], found[1])


def build(
    engine: Engine,
    bases: Bases,
    binaries: Mapping[str, Path],
    *,
    report: Callable[[str], None],
    more: More,
) -> None:
    """Build all images of `names`; what has not changed comes from the engine's cache.

    Raises:
        KindError: a build failed.
    """
    for part, base in (("operator", bases.python), ("gateway", bases.python), ("worker", bases.torch)):
        report(f"building penstock/{part}")
        _ours(engine, ROOT, part, base=base, torch_index=bases.torch_index)
    if more.previous is not None:
        for part in ("operator", "gateway"):
            report(f"building penstock/{part}:{PREVIOUS}")
            _ours(engine, more.previous, part, base=bases.python, tag=PREVIOUS)
    with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
        _with_model(engine, Path(folder, "worker"))
        programs = {PROMETHEUS_IMAGE: binaries["prometheus"], **more.programs}
        for number, (image, binary) in enumerate(programs.items()):
            _program(engine, Path(folder, str(number)), binary, image)


def _ours(engine: Engine, checkout: Path, part: str, *, base: str = "", torch_index: str = "", tag: str = "") -> None:
    env = {
        "CONTAINER_ENGINE": "docker",
        "VARIANT": "cpu",
        "BASE": base,
        "TORCH_INDEX": torch_index,
        "IMAGE_TAG": tag,
        "BUILD_ARGS": "--network=host --quiet",
    }
    done = subprocess.run(
        engine.command(str(checkout / "scripts" / "images"), part),
        env=engine.environment() | {name: value for name, value in env.items() if value},
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD_SECONDS,
    )
    if done.returncode:
        tail = "\n".join(f"{done.stdout}{done.stderr}".splitlines()[-20:])
        raise KindError(f"scripts/images {part} in {checkout} failed:\n{tail}")


def _with_model(engine: Engine, folder: Path) -> None:
    models = folder / "models"
    models.mkdir(parents=True)
    command = [sys.executable, "-m", "penstock_operator.cli", "model", "make-tiny", str(models / "tiny")]
    subprocess.run(command, check=True, capture_output=True, env=os.environ)
    shutil.copy(ROOT / "examples" / "models" / "demo-profile.json", models)
    _image(engine, folder, f"FROM penstock/worker:{version()}-cpu\nCOPY models /models\n", WORKER)


def _program(engine: Engine, folder: Path, binary: Path, image: str) -> None:
    """An image as its project has it: nothing but the program, below /bin, and a folder to work in."""
    name = image.rpartition("/")[2].partition(":")[0]
    folder.mkdir()
    shutil.copy(binary, folder / name)
    lines = f"FROM scratch\nCOPY {name} /bin/{name}\nUSER 65534:65534\n"
    _image(engine, folder, f'{lines}WORKDIR /prometheus\nENTRYPOINT ["/bin/{name}"]\n', image)


def _image(engine: Engine, folder: Path, dockerfile: str, name: str) -> None:
    (folder / "Dockerfile").write_text(dockerfile)
    engine.run("docker", "build", "--quiet", f"--tag={name}", str(folder), seconds=_BUILD_SECONDS)
