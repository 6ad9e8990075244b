# ruff: noqa: INP001, T201 - a script that talks to a person, no module of a package
"""Run the checks of this repository and end with one verdict line.

`verify.py [STEP…] [-- PYTEST_ARGS…]`: all steps by default. The tests, which wait for most of their first minutes, run
beside the other steps; what one of those says is shown once it has ended. A failing step does not hide the ones after
it. The exit status is 0 only if every step passed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
# Of a whole run only, by the tests of the core itself (tests/conftest.py).
COVERAGE = ("--cov=penstock_operator.core", "--cov-branch", "--cov-fail-under=95", "--cov-report=")
# Files of tests side by side: most of them wait for clusters and emulated devices half of the time, so one more than
# there are cores. They begin in the order of tests/conftest.py, the longest first; tests/support/chains.py says which
# of them stay together.
SIDE_BY_SIDE = ("-n", str(min(4, 1 + (os.cpu_count() or 1))), "--dist", "loadfile", "--no-loadscope-reorder")
SOURCES = ("contract", "operator", "gateway", "worker", "lab", "tests", "benchmarks", "scripts")


@dataclass(frozen=True)
class Step:
    """One check: what it is called, what it looks at, its command line, how long it usually takes."""

    name: str
    what: str
    command: tuple[str, ...]
    usual: str


@dataclass(frozen=True)
class Outcome:
    """How a step went; `summary` is what it said last."""

    step: Step
    code: int
    seconds: float
    summary: str = ""


def steps(pytest_args: Sequence[str]) -> list[Step]:
    """All checks, the quick ones first."""
    sources = tuple(folder for folder in SOURCES if (ROOT / folder).is_dir())
    python = sys.executable
    whole = (*COVERAGE, *SIDE_BY_SIDE)
    return [
        Step("lint", "ruff check", (str(BIN / "ruff"), "check", *sources), "1 s"),
        Step("format", "ruff format --check", (str(BIN / "ruff"), "format", "--check", *sources), "1 s"),
        Step("types", "mypy --strict", (str(BIN / "mypy"),), "30 s, 5 s when cached"),
        Step("imports", "layers and import contracts", (str(BIN / "lint-imports"), "--no-cache"), "3 s"),
        Step("crds", "crds/ agrees with the models", (python, "-m", "penstock_operator.api.crd", "--check"), "2 s"),
        Step("pages", "docs/reference agrees", (python, "-m", "penstock_operator.api.reference", "--check"), "2 s"),
        Step("metrics", "docs/reference agrees", (python, "-m", "penstock_contract.reference", "--check"), "1 s"),
        Step(
            "tests",
            "pytest",
            (python, "-m", "pytest", *(pytest_args or whole)),
            "10 minutes on two cores",
        ),
    ]


def main(arguments: Sequence[str]) -> int:
    """Run the steps that were asked for; return the exit status."""
    chosen, pytest_args = split(arguments)
    every = steps(pytest_args)
    unknown = [name for name in chosen if name not in {step.name for step in every}]
    if unknown:
        print(f"no step {', '.join(unknown)}; there are {', '.join(step.name for step in every)}", file=sys.stderr)
        return 2
    due = [step for step in every if not chosen or step.name in chosen]
    began = time.monotonic()
    outcomes = run_all(due)
    return conclude(outcomes, time.monotonic() - began)


def run_all(due: Sequence[Step]) -> list[Outcome]:
    """Run the steps: the tests and, beside them, the others one after the other."""
    tests = [step for step in due if step.name == "tests"]
    others = [step for step in due if step.name != "tests"]
    if not tests:
        return [run(step) for step in others]
    with ThreadPoolExecutor(1) as aside:
        first = [aside.submit(run, step, at_once=False) for step in others]
        last = [run(step) for step in tests]
        return [future.result() for future in first] + last


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Step names before `--`, arguments of pytest after it."""
    if "--" not in arguments:
        return list(arguments), []
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def run(step: Step, *, at_once: bool = True) -> Outcome:
    """Run one step, passing its output on as it comes, or all of it when it has ended."""
    began = time.monotonic()
    title = f"\n=== {step.name}: {step.what} (usually {step.usual})\n".encode()
    show(title if at_once else b"")
    colour = {"PY_COLORS": "1", "FORCE_COLOR": "1"} if sys.stdout.isatty() else {}
    process = subprocess.Popen(
        step.command,
        cwd=ROOT,
        env={**os.environ, **colour},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    kept, last = [title], b""
    try:
        for line in process.stdout:
            if at_once:
                show(line)
            kept.append(line)
            last = line if line.strip() else last
        code = process.wait()
    except KeyboardInterrupt:
        process.wait()  # it got the same signal; let it clean up
        code = 130
    show(b"" if at_once else b"".join(kept))
    summary = re.sub(r"\x1b\[[0-9;]*m", "", last.decode(errors="replace")).strip(" =\r\n")
    return Outcome(step, code, time.monotonic() - began, summary)


def show(text: bytes) -> None:
    """Write at once."""
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def conclude(outcomes: Sequence[Outcome], seconds: float) -> int:
    """Print a line per step and the verdict."""
    print(f"\n{'=' * 100}")
    for outcome in outcomes:
        word = "ok" if outcome.code == 0 else f"FAILED (exit code {outcome.code})"
        told = f"  {outcome.summary}" if outcome.step.name == "tests" or outcome.code else ""
        print(f"{outcome.step.name:<8} {word:<8} {outcome.seconds:6.1f} s{told}")
    failed = [outcome.step.name for outcome in outcomes if outcome.code]
    took = f"{seconds // 60:.0f} min {seconds % 60:.0f} s" if seconds >= 60 else f"{seconds:.0f} s"
    if failed:
        print(f"VERDICT: FAIL in {took}: {', '.join(failed)} ({len(failed)} of {len(outcomes)} steps)", flush=True)
        return 1
    print(f"VERDICT: PASS in {took}: all {len(outcomes)} steps", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
