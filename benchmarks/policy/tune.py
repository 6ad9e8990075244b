"""`python -m benchmarks.policy.tune`: one configuration per rival for all traces, from the first halves alone.

Every rival gets the same number of trials. A trial runs all the tuning cases, half of them with a start-up of 60 s and
half with 180 s. Its cost is the mean over the cases of GPU-hours / fluid lower bound + 100 x shortfall of attainment
below 99 %: a percentage point that is missing costs as much as the whole bound, so attaining comes first. Trials are a
coordinate search: each parameter of the rival's grid in turn over all its values, the others at the best found so far.
A trial is given up as soon as it cannot win any more. Results go to `policies/tuned.json`, all trials to
`results/tuning.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.policy import fingerprint
from benchmarks.policy.store import RESULTS
from benchmarks.policy.traffic import OBJECTIVES, PROFILE, Stretch, cut, stretches

from penstock_lab.simulate import oracle
from penstock_lab.simulate.policies import registry
from penstock_lab.simulate.score import Objectives, score
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Setting, World

MAX_REPLICAS: Final = 50
TRIALS: Final = 10
RIVALS: Final = tuple(name for name in registry.defaults() if name != registry.OURS)
_TUNED: Final = Path(registry.__file__).with_name("tuned.json")
_CHOSEN: Final = (  # cheap ones first, so that hopeless trials end early
    ("mooncake_conversation", "whole", 60.0),
    ("azure2024_code_tue_sampled", "rise", 180.0),
    ("azure2024_code_wed_sampled", "fall", 60.0),
    ("azure2023_code", "whole", 180.0),
    ("azure2023_conv", "whole", 60.0),
    ("servegen_m_large_day1", "rise", 180.0),
)

Settings = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Case:
    """Traffic and the world around it."""

    name: str
    requests: Requests
    setting: Setting
    bound_hours: float


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting and what it came to.

    Attributes:
        settings: parameters.
        cost: mean over the cases; when it was given up, what it is at least.
        whole: all cases were run.
        attainment: by case.
        hours: GPU-hours / fluid lower bound, by case.
    """

    settings: Settings
    cost: float
    whole: bool
    attainment: tuple[float, ...]
    hours: tuple[float, ...]


def case(stretch: Stretch, startup: float) -> Case:
    """A tuning case: seed 0, and the replicas at the start that a smooth plan has in its first 10 minutes."""
    requests = cut(stretch, 0)
    followed = oracle.plan(requests, PROFILE, OBJECTIVES, startup_seconds=startup, smoothing=6, packing=0.6)
    begin = int(followed.ready[: int(600 / oracle.GRID_SECONDS)].max(initial=1))
    setting = Setting(PROFILE, startup_seconds=startup, initial_replicas=begin, max_replicas=MAX_REPLICAS)
    bound = oracle.lower_bound_seconds(requests, PROFILE, OBJECTIVES) * PROFILE.accelerators / 3600
    return Case(f"{stretch.name} {startup:g} s", requests, setting, bound)


def cases() -> list[Case]:
    """All of them, from first halves."""
    found = {(one.trace, one.kind): one for one in stretches("tuning")}
    return [case(found[trace, kind], startup) for trace, kind, startup in _CHOSEN]


def cost(attainment: float, hours: float, objectives: Objectives = OBJECTIVES) -> float:
    """Of one case."""
    return hours + 100.0 * max(0.0, objectives.attainment - attainment)


def trial(name: str, settings: Settings, over: Sequence[Case], *, limit: float = math.inf) -> Trial:
    """Run a setting; give up once the mean over all cases must be above a limit."""
    attained, hours, total = [], [], 0.0
    for one in over:
        policy = registry.build(
            name, profile=PROFILE, objectives=OBJECTIVES, minimum=1, maximum=MAX_REPLICAS, settings=settings
        )
        run = World(one.requests, replace(one.setting), policy).run()
        figures = score(run, one.setting.profile, OBJECTIVES)
        attained.append(round(figures.attainment, 5))
        hours.append(round(figures.gpu_hours / one.bound_hours, 4))
        total += cost(figures.attainment, hours[-1])
        if total / len(over) > limit:
            break
    return Trial(dict(settings), total / len(over), len(hours) == len(over), tuple(attained), tuple(hours))


def search(
    grid: Mapping[str, Sequence[float]], run: Callable[[Settings, float], Trial], *, trials: int
) -> Iterator[Trial]:
    """Coordinate search over a grid, from the middle of every parameter, until nothing is left or trials are used up.

    Args:
        grid: values by parameter.
        run: a trial, given up above a limit.
        trials: at most.
    """
    at = {name: values[len(values) // 2] for name, values in grid.items()}
    seen: dict[tuple[float, ...], Trial] = {}
    best: Trial | None = None
    improved = True
    while improved:
        improved = False
        for name, values in grid.items():
            for value in values:
                tried = at | {name: value}
                if tuple(tried.values()) in seen or len(seen) >= trials:
                    continue
                found = seen[tuple(tried.values())] = run(tried, best.cost if best else math.inf)
                yield found
                if found.whole and (best is None or found.cost < best.cost):
                    best, improved = found, True
            at = dict(best.settings) if best else at


def best(trials: Sequence[Trial]) -> Trial:
    """The cheapest that was run over all cases."""
    return min((one for one in trials if one.whole), key=lambda one: one.cost)


def write(name: str, found: Sequence[Trial], over: Sequence[Case], seconds: float) -> None:
    """Keep what was chosen and all that was tried."""
    table = RESULTS / "tuning.json"
    known: dict[str, Any] = json.loads(table.read_text(encoding="utf-8")) if table.exists() else {}
    known[name] = {
        "chosen": dict(best(found).settings),
        "cases": [one.name for one in over],
        "requests": sum(len(one.requests) for one in over),
        "simulator": fingerprint.simulator(),
        "cpu_seconds": round(seconds),
        "trials": [asdict(one) for one in found],
    }
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    chosen = {key: value["chosen"] for key, value in known.items() if key in registry.NAMES}
    _TUNED.write_text(json.dumps(chosen, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy.tune", description=__doc__.split("\n")[0])
    parser.add_argument("--policies", default=",".join(RIVALS), help="names with commas between")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of each")
    options = parser.parse_args()
    over = cases()
    print(f"{len(over)} cases, {sum(len(one.requests) for one in over):,} requests a trial", flush=True)
    for name in options.policies.split(","):
        grid, found, begun = registry.grid(name), [], time.process_time()
        if not grid:
            print(f"{name}: nothing to tune")
            continue

        def run(settings: Settings, limit: float, name: str = name) -> Trial:
            return trial(name, settings, over, limit=limit)

        for one in search(grid, run, trials=options.trials):
            found.append(one)
            print(
                f"{name} {dict(one.settings)}: {'' if one.whole else '>= '}{one.cost:.3f} {one.attainment}", flush=True
            )
        write(name, found, over, time.process_time() - begun)
        print(f"{name}: {dict(best(found).settings)}", flush=True)


if __name__ == "__main__":
    main()
