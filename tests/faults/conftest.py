"""A cluster of its own with the chart on it: other tests run operators that watch every namespace of theirs."""

import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `benchmarks` is a folder of the checkout, not installed

from benchmarks.faults.stage import world, write_profile
from benchmarks.faults.world import World

from penstock_lab.cluster import LocalCluster


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[LocalCluster]:
    """The cluster; its logs stay in pytest's temporary folder."""
    folder = tmp_path_factory.mktemp("faults")
    shutil.copytree(tiny, folder / "models" / "tiny")
    write_profile(folder / "models")
    with LocalCluster(
        f"faults-{os.getpid()}", nodes=2, gpus_per_node=4, models=folder / "models", state_dir=folder / "state"
    ) as cluster:
        yield cluster


@pytest.fixture
async def faulty(stage: LocalCluster) -> AsyncIterator[World]:
    """Operator and two gateways as pods."""
    async with world(stage) as made:
        yield made
