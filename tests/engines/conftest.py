"""A real Prometheus that scrapes the metrics pages of four engines."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator

import pytest
import requests
import yaml

import enginepages
from penstock_lab.cluster.binaries import Resolver
from penstock_lab.cluster.catalog import TOOLS
from penstock_lab.cluster.settings import Settings
from waiting import eventually

_SCRAPE_INTERVAL = f"{enginepages.SCRAPE_SECONDS * 1000:.0f}ms"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of what needs a real vLLM."""
    config.addinivalue_line("markers", "vllm: runs a real vLLM from the environment that PENSTOCK_VLLM_VENV names")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Prometheus that scrapes them under the labels of services."""
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        str(Resolver(Settings.from_environment()).resolve(TOOLS["prometheus"]).path),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    times = {"scrape_interval": _SCRAPE_INTERVAL, "scrape_timeout": _SCRAPE_INTERVAL}
    with enginepages.served() as target, (folder / "log").open("wb") as log:
        config = {"global": times, "scrape_configs": enginepages.jobs(target)}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            eventually(lambda: requests.get(f"http://{address}/-/ready", timeout=2).ok, what="Prometheus is ready")
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait()
