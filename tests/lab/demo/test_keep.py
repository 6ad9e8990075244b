"""What a kept demo says to type next, and what a second one says."""

import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock_lab.cluster import LocalCluster
from penstock_lab.demo import cli
from penstock_lab.demo.closing import next_steps
from penstock_lab.demo.errors import StageError
from penstock_lab.demo.stage import refuse_if_up
from penstock_operator.cli import main


def test_it_prints_commands_that_exist() -> None:
    lines = next_steps(name="demo", gateway="http://127.1.2.3:8080/demo/chat", operator="http://127.1.2.4:8080")
    used = [match for line in lines for match in re.findall(r"(\S*/penstock) ([a-z]+)(?: ([a-z]+))?", line)]
    assert {(command, sub) for _, command, sub in used} >= {("cluster", "kubeconfig"), ("cluster", "down")}
    for _, command, sub in used:
        arguments = [command, *([sub] if command == "cluster" else []), "--help"]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, (arguments, done.output)
    for line in lines:
        for tool in re.findall(r"\S*/(?:penstock|kubectl)\b", line):
            assert Path(tool.removeprefix("KUBECONFIG=$(")).is_file(), tool
    curl = next(line for line in lines if "curl" in line)
    assert shlex.split(curl)[1] == "http://127.1.2.3:8080/demo/chat/v1/completions"


def test_a_second_demo_beside_a_kept_one_is_refused_and_told_how_to_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").write_text('{"verdict": "passed"}')

    def run() -> Result:
        return CliRunner().invoke(main, ["demo", "--name", "demo-kept", "--out", str(out)])

    def run_interrupted() -> Result:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(cli, "_run", interrupt)
            return run()

    refuse_if_up("demo-kept")
    assert "nothing is left running" in run_interrupted().output
    with LocalCluster("demo-kept", nodes=0, node_agent=False, prometheus=False):
        with pytest.raises(StageError, match="cluster down --name demo-kept"):
            refuse_if_up("demo-kept")
        done, interrupted = run(), run_interrupted()
    assert done.exit_code == 1
    assert "DEMO FAILED" in done.output
    assert "--name=demo-kept-2" in done.output
    assert not (out / "summary.json").exists(), "of an earlier run, which passed"
    assert interrupted.exit_code == 130
    assert "nothing is left running" not in interrupted.output
    assert "cluster down --name demo-kept" in interrupted.output


def test_the_command_is_there() -> None:
    assert any(entry.name == "demo" for entry in entry_points(group="penstock.commands"))
