"""Every command of README.md, docs/ and the chart's notes is run here, in the order of its page, where it belongs.

A page says what its commands need in a comment, `<!-- commands: SETTING -->`:

- `from a checkout` (without a comment): a checkout after `make setup`, and nothing else.
- `after the quickstart`: the shell of docs/quickstart.md before its clean-up, which `<!-- run last -->` marks.
- `on a cluster`: kubectl and helm, pointed at a cluster without Penstock.

A block that no test can run is preceded by `<!-- not run: WHY -->`, and stands in NOT_RUN below with the same reason.
A command in running text is one that a block runs, or its beginning, or stands there too.
Output that a `console` block shows is compared with what is printed: `…` stands for anything, and after
`<!-- numbers vary -->` a number stands for any number.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from pages import ROOT, Block, Page, pages
from penstock_lab.cluster import LocalCluster
from visitor import Shell, commands

PATTERNS = ("README.md", "docs/*.md", "docs/evidence/*.md", "examples/README.md")
TEXTS = ("README.md", "docs/**/*.md", "examples/README.md")
QUICKSTART = "docs/quickstart.md"
BARE, AFTER_QUICKSTART, ON_A_CLUSTER = "from a checkout", "after the quickstart", "on a cluster"
MARKERS = ("", "not run", "run last", "numbers vary", "commands")
NO_KUBELET = "needs a kubelet, which the local cluster does not have"
ENGINE = "needs a container engine; tests/kind does the same"
ON_KIND = "needs a kubelet; tests/kind runs it"
BENCHMARK = "a benchmark, minutes"
NOT_RUN = {
    "make demo": "takes minutes; CI runs it beside the tests",
    "KEEP=1 make demo": "as `make demo`; tests/lab/demo/test_keep.py looks at what it says to type next",
    "make test": "runs this very test",
    ".ci/run": "runs this very test",
    "make test-kind": ENGINE,
    ".venv/bin/python -m scripts.kind *": ENGINE,
    "kubectl create namespace monitoring": ON_KIND,
    "kubectl apply -f examples/chat.yaml": ON_KIND,
    ".venv/bin/pytest *": "part of what runs this very test",
    "make setup": "has been run, or no test could run",
    "make bench-*": BENCHMARK,
    "PENSTOCK_TRACES=* make bench-*": BENCHMARK,
    "PENSTOCK_PROFILES=* .venv/bin/pytest *": "needs files of measured steps; without them those tests are skipped",
    "python -m benchmarks.policy*": "needs the public traces, and most of an hour",
    "python FOLDER/sample_servegen.py *": "needs the public traces, and minutes",
    ".venv/bin/python -m benchmarks.*": BENCHMARK,
    "nice -n -15 .venv/bin/python -m benchmarks.*": BENCHMARK,
    "export PENSTOCK_VLLM_VENV=*": "three gigabytes of packages, then a benchmark, minutes",
    "penstock load --rate 100 --duration 10m *": BENCHMARK,
    "penstock load --rate 20 --duration 31m *": BENCHMARK,
    "penstock simulate*": "needs a public trace; tests/lab/simulate runs it on made ones",
    "penstock doctor": "asks for a cluster with a Prometheus; the quickstart runs it",
    "helm test*": "asks for a cluster with a Prometheus; tests/chart runs it",
    "make images": "needs docker or podman; tests/images looks at what it would do",
    "kubectl port-forward -n penstock-system deployment/penstock-operator 8080": NO_KUBELET,
    "kubectl logs": NO_KUBELET,
    "kubectl drain": "names an action; the benchmark of faults evicts by the same API",
    "kubectl get pods -w": "ends with Ctrl-C only",
    "kubectl create configmap prometheus-ca -n penstock-system --from-file=ca.crt": "needs the certificate of your CA",
}
NOTES_NOT_RUN = {
    "kubectl port-forward -n penstock-system service/penstock-gateway 8080:80": NO_KUBELET,
    "curl http://localhost:8080/v1/models": "goes through that port-forward; the quickstart asks the gateway's pod",
}


def why_not_run(command: str) -> str | None:
    """The reason why a command is not run, if it has one."""
    return next((why for pattern, why in NOT_RUN.items() if fnmatchcase(command, pattern)), None)


def begins(command: str, mention: str) -> bool:
    """Whether a command begins with the words of a mention, in which a word in capitals stands for any."""
    said, done = mention.split(), command.split()
    return len(said) <= len(done) and all(a in (b, b.upper()) or a.isupper() for a, b in zip(said, done, strict=False))


def with_setting(setting: str) -> list[Page]:
    return [page for page in pages(*PATTERNS) if page.commands and page.setting == setting]


def runnable(page: Page, *, last: bool) -> list[Block]:
    return [
        block for block in page.commands if block.marker[0] != "not run" and (block.marker[0] == "run last") == last
    ]


def run_blocks(page: Page) -> list[Block]:
    return [*runnable(page, last=False), *runnable(page, last=True)]


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
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_what_is_not_run_is_known():
    """A marker is a promise that somebody looked: it stands here too, so that none comes unseen."""
    for page in pages(*PATTERNS):
        for block in page.commands:
            if block.marker[0] == "not run":
                assert why_not_run(block.first_line) == block.marker[1], block.place


def test_what_is_not_run_is_still_said():
    said = [mention for page in pages(*TEXTS) for mention in page.mentions]
    said += [block.first_line for page in pages(*PATTERNS) for block in page.commands if block.marker[0] == "not run"]
    assert [pattern for pattern in NOT_RUN if not any(fnmatchcase(command, pattern) for command in said)] == []


def test_commands_in_running_text_are_run():
    run = [command for page in pages(*PATTERNS) for block in run_blocks(page) for command in commands(block)]
    assert any(begins(command, "penstock explain NAME") for command in run)
    for page in pages(*TEXTS):
        for mention in page.mentions:
            known = why_not_run(mention) or any(begins(command, mention) for command in run)
            assert known, f"{page.name}: `{mention}` is run by no block: show it in one, or say in NOT_RUN why not"


def test_tests_that_pages_name_exist():
    for page in pages(*TEXTS):
        for mention in page.mentions:
            if not mention.startswith(".venv/bin/pytest "):
                continue
            targets, _, words = mention.partition(" -k ")
            paths = [ROOT / word for word in targets.split()[1:]]
            assert paths, f"{page.name}: `{mention}`"
            assert all(path.exists() for path in paths), f"{page.name}: `{mention}`"
            texts = [path.read_text() for path in paths if path.is_file()]
            assert not words or any(re.search(rf"def test_\w*{words}", text) for text in texts), (
                f"{page.name}: `{mention}` selects no test"
            )


def test_every_block_says_what_it_is():
    """A command in a block without a language, or an indented one that is no mention, would be one that nobody runs."""
    for page in pages(*PATTERNS):
        for block in page.blocks:
            indented = not block.language and set(block.text.splitlines()) <= set(page.mentions)
            known = block.language in ("sh", "console", "yaml", "json", "text")
            assert known or indented, f"{block.place}: {block.language!r}"
            assert block.marker[0] in MARKERS, f"{block.place}: {block.marker}"


def test_every_page_has_a_setting_that_is_known():
    for page in pages(*PATTERNS):
        assert page.setting in (BARE, AFTER_QUICKSTART, ON_A_CLUSTER), page.name


@pytest.mark.parametrize("page", [page for page in with_setting(BARE) if page.name != QUICKSTART], ids=by_name)
def test_commands_from_a_checkout(page: Page, checkout: Path, env: dict[str, str], tmp_path: Path):
    with Shell(checkout, scratch=tmp_path, env=env) as shell:
        for block in run_blocks(page):
            shell.follow(block)
    assert penstock(checkout, env, "cluster", "status").returncode == 3, "the page leaves its cluster running"


@pytest.mark.cluster
@pytest.mark.slow
def test_quickstart(quickstart: Shell):
    """Its blocks have been run by the fixture."""


@pytest.mark.cluster
@pytest.mark.slow
def test_commands_that_helm_prints(quickstart: Shell, checkout: Path):
    """The notes of the chart, as the quickstart's installation shows them, for a manifest that the reader has."""
    (checkout / "inferenceservice.yaml").write_text((ROOT / "examples" / "static.yaml").read_text())
    notes = quickstart.run("helm get notes penstock -n penstock-system")
    found = [line.split(" #")[0].strip() for line in notes.splitlines() if line.startswith("   ")]
    assert len(found) >= 6, notes
    assert set(NOTES_NOT_RUN) <= set(found), notes
    for command in found:
        if command not in NOTES_NOT_RUN:
            quickstart.run(command)
    quickstart.run("kubectl delete -n default -f inferenceservice.yaml")


@pytest.mark.cluster
@pytest.mark.slow
def test_commands_after_the_quickstart(quickstart: Shell):
    for page in with_setting(AFTER_QUICKSTART):
        for block in run_blocks(page):
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
            for block in run_blocks(page):
                shell.follow(block)
