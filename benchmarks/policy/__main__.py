"""`python -m benchmarks.policy`: every policy on every case, and the page of it.

What was run before with the same traffic, parameters, policy and simulator is kept in `results/runs.jsonl` and is not
run again: after a change of one policy only that one is. It can be interrupted at any time; the page is written from
what there is.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Final

from benchmarks.policy import fingerprint
from benchmarks.policy.cases import QUICK, every
from benchmarks.policy.compare import kept, policies
from benchmarks.policy.page import page
from benchmarks.policy.pool import RUNS, named_round, run
from benchmarks.policy.store import Key, Store
from benchmarks.policy.timed import timed
from benchmarks.policy.traffic import ROOT

_PAGE: Final = ROOT / "docs" / "evidence" / "policy-table.md"


def main() -> int:
    options = _options()
    if options.timed:
        return timed(arguments=sys.argv[1:], hours=options.timed_hours, processes=options.processes)
    store = Store(RUNS)
    usual = [one.name for one in every() if not options.quick or one.name in QUICK]
    cases = usual if options.cases is None else options.cases.split(",")
    names = policies(more=options.more) if options.policies is None else options.policies.split(",")
    seeds = 1 if options.quick else options.seeds
    startups = [60.0] if options.quick else [float(one) for one in options.startups.split(",")]
    wanted = [(case, startup, seed) for seed in range(seeds) for case in cases for startup in startups]
    if not options.render:
        run(wanted, names, store, options.processes)
    rounds = [named_round(*one) for one in wanted]
    missing = sum(store.find(one.key(name)) is None for one in rounds for name in names)
    rows = kept(rounds, names, store)
    if options.prune:
        store.prune(_current)
    command = shlex.join(
        ["python", "-m", "benchmarks.policy", *(one for one in sys.argv[1:] if one not in ("--render", "--prune"))]
    )
    text = page(rows, command=command, seeds=seeds, simulator=fingerprint.simulator(), missing=missing)
    where = ROOT / "out" / "policy" / "quick.md" if options.quick else options.page
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(text, encoding="utf-8")
    print(f"{len(rows)} runs, {missing} missing; written to {where}")
    return 0


def _current(key: Key) -> bool:
    """Whether the code that a run depends on is still the same."""
    return key.simulator == fingerprint.simulator() and key.code == fingerprint.policy(key.policy)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy", description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three cases, one seed, one start-up time; to out/policy")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--startups", default="60,180", help="seconds with commas between, such as 5,60,180,420")
    parser.add_argument("--cases", help="names with commas between; default: all")
    parser.add_argument("--policies", help="names with commas between; default: the first comparison")
    parser.add_argument("--more", action="store_true", help="with every port of a rival that there is")
    parser.add_argument("--processes", type=int, default=None, help="at the same time; default: one per core")
    parser.add_argument("--render", action="store_true", help="run nothing, write the page from what is kept")
    parser.add_argument("--prune", action="store_true", help="forget what other code has made")
    parser.add_argument("--page", type=Path, default=_PAGE, help="where the page is written")
    parser.add_argument(
        "--timed", action="store_true", help="only: how long eight policies and the oracle take on a trace"
    )
    parser.add_argument("--timed-hours", type=float, default=24.0, help="of that trace; fewer for a first look")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
