"""Every command of README.md and docs/*.md is run here, in the order of its page, on the cluster that it speaks of.

A page says what its commands need in a comment, `<!-- commands: SETTING -->`:

- `from a checkout` (without a comment): a checkout after `make setup`, and nothing else.
- `after the quickstart`: the shell of docs/quickstart.md before its clean-up, which `<!-- run last -->` marks.
- `on a cluster`: kubectl and helm, pointed at a cluster without Penstock.

A block that no test can run is preceded by `<!-- not run: WHY -->`, and stands in NOT_RUN below with the same reason.
Output that a `console` block shows is compared with what is printed: `…` stands for anything, and after
`<!-- numbers vary -->` a number stands for any number.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pages import ROOT, Block, Page, pages
from penstock_lab.cluster import LocalCluster
from visitor import Shell

PATTERNS = ("README.md", "docs/*.md", "examples/README.md")
QUICKSTART = "docs/quickstart.md"
BARE, AFTER_QUICKSTART, ON_A_CLUSTER = "from a checkout", "after the quickstart", "on a cluster"
MARKERS = ("", "not run", "run last", "numbers vary", "commands")
NOT_RUN = {
    ("README.md", "make demo"): "takes minutes; CI runs it as a step of its own",
    ("README.md", "make test"): "runs this very test",
    (QUICKSTART, "make setup"): "has been run, or no test could run",
    ("docs/install.md", "penstock doctor"): "asks for a cluster with a Prometheus; the quickstart runs it",
    ("docs/install.md", "kubectl port-forward -n penstock-system deployment/penstock-operator 8080"): (
        "needs a kubelet, which the local cluster does not have"
    ),
    ("docs/install.md", "kubectl create configmap prometheus-ca -n penstock-system --from-file=ca.crt"): (
        "needs the certificate of your CA"
    ),
}


def with_setting(setting: str) -> list[Page]:
    return [page for page in pages(*PATTERNS) if page.commands and page.setting == setting]


def runnable(page: Page, *, last: bool) -> list[Block]:
    return [
        block for block in page.commands if block.marker[0] != "not run" and (block.marker[0] == "run last") == last
    ]


def by_name(page: Page) -> str:
    return page.name


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as a visitor has it: what is written goes elsewhere."""
    folder = tmp_path_factory.mktemp("checkout")
    for entry in ROOT.iterdir():
        if entry.name not in ("out", ".git"):
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a visitor, whose clusters and settings are apart from those of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("home")
    mine = {key: value for key, value in os.environ.items() if not key.startswith(("HELM_", "KUBE", "PENSTOCK_TICK"))}
    mine |= {f"HELM_{kind}_HOME": str(folder / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    return mine | {
        "XDG_STATE_HOME": str(folder / "state"),
        "KUBECACHEDIR": str(folder / "kubectl"),
        "KUBECONFIG": str(folder / "no-cluster-yet"),
    }


@pytest.fixture(scope="module")
def quickstart(checkout: Path, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The shell of somebody who has followed the quickstart, before cleaning up."""
    page = Page(ROOT / QUICKSTART)
    with Shell(checkout, scratch=tmp_path_factory.mktemp("quickstart"), env=env) as shell:
        try:
            for block in runnable(page, last=False):
                shell.follow(block)
            yield shell
        finally:
            penstock(checkout, env, "cluster", "down")


def penstock(checkout: Path, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(checkout / ".venv/bin/penstock"), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_what_is_not_run_is_known():
    """A marker is a promise that somebody looked: it stands here too, so that none comes unseen."""
    marked = {
        (block.page, block.first_line): block.marker[1]
        for page in pages(*PATTERNS)
        for block in page.commands
        if block.marker[0] == "not run"
    }
    assert marked == NOT_RUN


def test_every_block_says_what_it_is():
    """A command in a block without a language, or an indented one, would be a command that nobody runs."""
    for page in pages(*PATTERNS):
        for block in page.blocks:
            assert block.language in ("sh", "console", "yaml", "json", "text"), f"{block.place}: {block.language!r}"
            assert block.marker[0] in ("", "not run", "run last", "numbers vary", "commands"), (
                f"{block.place}: {block.marker}"
            )


def test_every_page_has_a_setting_that_is_known():
    for page in pages(*PATTERNS):
        assert page.setting in (BARE, AFTER_QUICKSTART, ON_A_CLUSTER), page.name


@pytest.mark.parametrize("page", [page for page in with_setting(BARE) if page.name != QUICKSTART], ids=by_name)
def test_commands_from_a_checkout(page: Page, checkout: Path, env: dict[str, str], tmp_path: Path):
    with Shell(checkout, scratch=tmp_path, env=env) as shell:
        for block in (*runnable(page, last=False), *runnable(page, last=True)):
            shell.follow(block)
    assert penstock(checkout, env, "cluster", "status").returncode == 3, "the page leaves its cluster running"


@pytest.mark.cluster
@pytest.mark.slow
def test_quickstart(quickstart: Shell):
    """Its blocks have been run by the fixture."""


@pytest.mark.cluster
@pytest.mark.slow
def test_commands_after_the_quickstart(quickstart: Shell):
    for page in with_setting(AFTER_QUICKSTART):
        for block in (*runnable(page, last=False), *runnable(page, last=True)):
            quickstart.follow(block)


@pytest.mark.cluster
@pytest.mark.slow
def test_quickstart_leaves_nothing(quickstart: Shell, checkout: Path, env: dict[str, str]):
    last = runnable(Page(ROOT / QUICKSTART), last=True)
    assert last
    for block in last:
        quickstart.follow(block)
    assert penstock(checkout, env, "cluster", "status").returncode == 3


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("page", with_setting(ON_A_CLUSTER), ids=by_name)
def test_commands_on_a_cluster(page: Page, checkout: Path, env: dict[str, str], tmp_path: Path):
    with LocalCluster(f"docs-{os.getpid()}", prometheus=False, state_dir=tmp_path / "cluster") as cluster:
        mine = env | {"KUBECONFIG": str(cluster.kubeconfig), "PATH": f"{checkout}/.venv/bin:{env['PATH']}"}
        with Shell(checkout, scratch=tmp_path, env=mine) as shell:
            for block in (*runnable(page, last=False), *runnable(page, last=True)):
                shell.follow(block)
