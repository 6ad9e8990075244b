"""What the images are made of, as far as it can be told without building one: part of the lock, Dockerfile, script.

That an environment of only these packages runs operator and gateway is tried for real, by hiding all others.
"""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest

from pages import ROOT
from penstock_lab.install import CHART

DOCKERFILE = (ROOT / "images" / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PARTS = ("operator", "gateway", "worker")


def lines(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, ROOT / "images" / "locked.py", *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def locked(*arguments: str) -> set[str]:
    return {found[0].lower() for line in lines(*arguments) if (found := re.match(r"[\w.-]+", line))}


@pytest.mark.parametrize("part", [*PARTS, "build"])
def test_every_package_has_its_hashes(part: str) -> None:
    text = "\n".join(lines(part)).replace("\\\n", " ")
    for line in text.splitlines():
        assert re.search(r"==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


def test_only_the_worker_has_torch() -> None:
    assert not {"torch", "triton", "numpy"} & (locked("operator") | locked("gateway"))
    assert {"torch", "numpy", "tokenizers"} <= locked("worker")
    without = locked("worker", "--without", "torch")
    assert {name for name in without if name.startswith(("torch", "nvidia", "cuda", "triton"))} == set()
    assert without < locked("worker")


# Runs in an interpreter of its own: a package outside of the lock's part is not there.
BLOCKED = """
import importlib, importlib.machinery, sys
hidden = set(sys.argv[1].split(","))
class Image:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            return None
        return importlib.machinery.PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [Image if one is importlib.machinery.PathFinder else one for one in sys.meta_path]
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


@pytest.mark.parametrize(
    ("part", "modules"),
    [
        ("operator", ["penstock_operator.__main__", "penstock_operator.commands.doctor"]),
        ("gateway", ["penstock_gateway.__main__"]),
    ],
)
def test_what_is_in_the_image_is_enough(part: str, modules: list[str]) -> None:
    inside = locked(part) | {"penstock"}
    hidden = {
        module
        for module, owners in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & inside
    }
    assert {"pytest", "hypothesis"} <= hidden
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, ",".join(sorted(hidden)), *modules], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("part", PARTS)
def test_nothing_that_is_needed_here_is_left_out(part: str) -> None:
    """Against the metadata of what is installed, not against the comments that the part was found by."""
    inside = locked(part)
    for name in inside:
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # for another platform
        for line in required:
            child, _, marker = line.partition(";")
            if not marker.strip():
                assert re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", child)[0]).lower() in inside, f"{name} needs {line}"


def stages() -> dict[str, list[str]]:
    joined = DOCKERFILE.replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    name = ""
    for line in joined.splitlines():
        if match := re.match(r"FROM (\S+) AS (\S+)$", line):
            name = match[2]
            found[name] = [match[1]]
        elif name and line and not line.startswith("#"):
            found[name].append(line)
    return found


def test_every_stage_stands_on_the_one_base_that_can_be_given() -> None:
    known = stages()
    assert "ARG BASE=" in DOCKERFILE.split("FROM", 1)[0]
    assert {lines[0] for lines in known.values()} - known.keys() == {"${BASE}"}
    assert ":latest" not in DOCKERFILE


@pytest.mark.parametrize("part", PARTS)
def test_an_image_holds_one_environment_and_runs_as_nobody_in_particular(part: str) -> None:
    known = stages()
    above, *steps = known[part]
    assert above == "runtime"
    assert "USER 1000:1000" in known["runtime"]
    assert " USER=" in " ".join(known["runtime"]), "libraries ask for a name, and user 1000 has none"
    assert not [step for step in steps + known["runtime"] if step.startswith(("RUN", "ADD"))]
    assert [step for step in steps if step.startswith("COPY")] == [
        f"COPY --from={part}-environment /opt/penstock /opt/penstock"
    ]
    entry = f"penstock-{part}"
    assert f'ENTRYPOINT ["/opt/penstock/bin/{entry}"]' in steps
    assert entry in PROJECT["project"]["scripts"]


def test_pods_run_as_the_user_of_the_image() -> None:
    assert "runAsUser: 1000\n" in (CHART / "templates" / "_helpers.tpl").read_text()
    assert "/opt/penstock/bin/penstock" in (CHART / "templates" / "tests" / "doctor-pod.yaml").read_text()
    assert "penstock" in PROJECT["project"]["scripts"]


def test_what_is_copied_reaches_the_builder() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in kept, source
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert package.split("/")[0] in kept


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A program in docker's place that notes what it is asked for: what the script says, not what an engine does."""
    program = tmp_path / "podman"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    program.chmod(0o755)
    return program


def images(*parts: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / "images", *parts],
        env={"PATH": os.environ["PATH"]} | env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_builds_each_image_by_name(engine: Path) -> None:
    done = images(CONTAINER_ENGINE=str(engine), VARIANT="cpu", BASE="mine:1", IMAGE_PREFIX="registry.example/")
    assert done.returncode == 0, done.stderr
    builds = [line for line in (engine.parent / "asked").read_text().splitlines() if line.startswith("build")]
    version = PROJECT["project"]["version"]
    for part, suffix in (("operator", ""), ("gateway", ""), ("worker", "-cpu")):
        (build,) = [line for line in builds if f"--target {part} " in line]
        assert f"-t registry.example/{part}:{version}{suffix} " in build
        assert "--build-arg BASE=mine:1 --build-arg VARIANT=cpu" in build


@pytest.mark.parametrize(
    ("parts", "env", "said"),
    [
        ([], {"CONTAINER_ENGINE": "no-such-engine"}, "no-such-engine info fails"),
        ([], {"CONTAINER_ENGINE": "true", "VARIANT": "rocm"}, "VARIANT is cuda or cpu, not 'rocm'"),
        (["lab"], {"CONTAINER_ENGINE": "true"}, "there is no image 'lab'"),
    ],
)
def test_the_script_says_what_is_wrong(parts: list[str], env: dict[str, str], said: str) -> None:
    done = images(*parts, **env)
    assert done.returncode == 2
    assert said in done.stderr
