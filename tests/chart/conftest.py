"""The chart as the real helm sees it, without a cluster."""

import functools
import json
import subprocess
from collections.abc import Callable

import pytest

from chart import Helm, Manifest, Rendered
from penstock_lab.cluster.binaries import Resolver
from penstock_lab.cluster.catalog import KUBERNETES, TOOLS
from penstock_lab.cluster.settings import Settings
from penstock_lab.install import CHART


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Runs helm with settings of its own; the caller looks at the exit status."""
    binary = Resolver(Settings.from_environment()).resolve(TOOLS["helm"]).path
    home = tmp_path_factory.mktemp("helm")

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        env = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
        command = [str(binary), *arguments]
        return subprocess.run(command, input=stdin, env=env, capture_output=True, text=True, check=False, timeout=60)

    return run


@pytest.fixture(scope="session")
def template(helm: Helm) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`helm template` as release penstock in penstock-system, with values over those of `ci/minimal-values.yaml`."""

    @functools.cache
    def cached(values: str, ci: str) -> subprocess.CompletedProcess[str]:
        return helm(
            *("template", "penstock", str(CHART), "--namespace=penstock-system", f"--kube-version={KUBERNETES}"),
            *("--api-versions=monitoring.coreos.com/v1", f"--values={CHART}/ci/{ci}-values.yaml", "--values=-"),
            stdin=values,
        )

    def run(values: Manifest | None = None, *, ci: str = "minimal") -> subprocess.CompletedProcess[str]:
        return cached(json.dumps(values or {}), ci)

    return run


@pytest.fixture(scope="session")
def render(template: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Rendered]:
    """`template` for values that the chart accepts."""

    def run(values: Manifest | None = None, *, ci: str = "minimal") -> Rendered:
        done = template(values, ci=ci)
        assert done.returncode == 0, done.stderr
        return Rendered(done.stdout)

    return run
