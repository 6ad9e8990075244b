"""Every policy in the same short world, at its bounds, and without the metrics that it lives on."""

import dataclasses
import math
from collections import deque
from typing import Any

import numpy as np
import pytest

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.simulate.policies import registry, token_aware
from penstock_lab.simulate.policies.base import Bounds, Door, Glance, Policy
from penstock_lab.simulate.policies.hpa import USUAL, HorizontalPodAutoscaler, Metric
from penstock_lab.simulate.policies.keda import Keda
from penstock_lab.simulate.policies.registry import NAMES, OURS, PolicyError, build, defaults, grid, tuned_names
from penstock_lab.simulate.policies.static import Static
from penstock_lab.simulate.policies.token_scale import TokenScale
from penstock_lab.simulate.policies.wva import Wva
from penstock_lab.simulate.score import Objectives
from penstock_lab.simulate.scrapes import KV_USED, QUEUED_TOKENS, RUNNING, WAITING, Page, Sums
from penstock_lab.simulate.state import Counter, Requests
from penstock_lab.simulate.world import Run, Setting, World

PROFILE = Profile("small", StepModel(0.01, 2e-4, 2e-7, 2e-5, 0.0), 16_000, 64, 2048, 1, 20.0, "made up")
OBJECTIVES = Objectives(ttft_seconds=2.0, tpot_seconds=0.05)
BOUNDS = (1, 6)
PHASES = ((2.0, 200.0), (40.0, 700.0), (1.0, 2000.0))
RIVALS = tuple(name for name in NAMES if name != "penstock")


def made(name: str, **settings: float) -> Policy:
    return build(
        name, profile=PROFILE, objectives=OBJECTIVES, minimum=BOUNDS[0], maximum=BOUNDS[1], settings=settings or None
    )


def traffic() -> Requests:
    dice, arrival, start = np.random.default_rng(7), [], 0.0
    for rate, seconds in PHASES:
        arrival.append(start + np.sort(dice.uniform(0, seconds, dice.poisson(rate * seconds))))
        start += seconds
    every = np.concatenate(arrival)
    prompt = np.clip(dice.lognormal(4.5, 0.5, len(every)), 1, 1000)
    return Requests.of(every, prompt, np.clip(dice.lognormal(4.9, 0.4, len(every)), 1, 600))


def run(policy: Policy, **setting: Any) -> Run:
    base: dict[str, Any] = {"startup_seconds": 20.0, "initial_replicas": 2, "max_replicas": 20}
    return World(traffic(), Setting(PROFILE, **(base | setting)), policy).run()


BROKEN = "aibrix-kpa-shipped"  # the mean of a pod against a target for all: it cannot grow


@pytest.mark.parametrize("name", [name for name in NAMES if name != BROKEN])
def test_it_grows_under_overload_and_shrinks_afterwards_within_its_bounds(name: str) -> None:
    done = run(made(name))
    asked = [(point[0], point[1]) for point in done.points]
    high = max(count for at, count in asked if 200 <= at < 900)
    low = [count for at, count in asked if at < 2800][-1]
    assert np.isfinite(done.finish).all()
    assert all(BOUNDS[0] <= count <= BOUNDS[1] for _, count in asked)
    assert high >= 3, "two replicas carry less than that"
    assert low < high


def test_aibrix_kpa_as_shipped_does_not_grow_under_overload() -> None:
    done = run(made(BROKEN))
    assert max(point[1] for point in done.points) <= 2


def page(pod: int, at: float, *, running: float = 0.0, waiting: float = 0.0, kv: float = 0.0, **counted: float) -> Page:
    values = np.zeros(len(Counter) + 4)
    values[RUNNING], values[WAITING], values[KV_USED], values[QUEUED_TOKENS] = running, waiting, kv, waiting * 100
    for name, value in counted.items():
        values[Counter[name]] = value
    return Page(at, values, pod)


def glance(now: float, replicas: int, pages: list[Page], *, held: float = 0.0, **changes: Any) -> Glance:
    """A tick at which all replicas are ready, and those with a page report."""
    totals = sum((one.values for one in pages), np.zeros(len(Counter) + 4))
    seen = Sums(
        np.zeros(len(Counter)),
        totals[RUNNING],
        totals[WAITING],
        totals[KV_USED],
        len(pages),
        max((one.at for one in pages), default=None),
    )
    whole = Glance(
        now=now,
        replicas=replicas,
        ready=replicas,
        starting=0,
        unschedulable=0,
        scraped=seen,
        pages=pages,
        window_seconds=60.0,
        door=Door(None, None, held, 0.0, 15.0),
        startup_seconds=None,
        asked=replicas,
        history=[deque([one]) for one in pages],
        probe=lambda: pages,
    )
    return dataclasses.replace(whole, **changes)


BY_THE_DOOR = {"kpa", "ray-serve"}  # they see what the gateways count, which is no scrape
EMPTY_IS_ZERO = {"keda", "keda-epp", "llm-d-token-aware"}  # `ignoreNullValues` is true upstream
ERROR_IS_ZERO = {"aibrix-apa-shipped", "aibrix-kpa-shipped"}


@pytest.mark.parametrize("name", sorted(set(RIVALS) - BY_THE_DOOR - EMPTY_IS_ZERO - ERROR_IS_ZERO))
def test_without_a_metric_it_holds(name: str) -> None:
    policy, count, now = made(name), 4, 0.0
    while now < 1800:
        count = policy.desired(glance(now, count, []))
        now += policy.period_seconds
    assert count == 4


@pytest.mark.parametrize("name", ["keda", *sorted(ERROR_IS_ZERO)])
def test_upstream_takes_nothing_for_zero_where_it_does(name: str) -> None:
    policy, count, now = made(name), 4, 0.0
    while now < 1800:
        count = policy.desired(glance(now, count, []))
        now += policy.period_seconds
    assert count == 1


def test_keda_can_be_told_that_nothing_is_not_zero() -> None:
    policy, count = Keda(ignore_null=False, bounds=Bounds(*BOUNDS)), 4
    for step in range(120):
        count = policy.desired(glance(15.0 * step, count, []))
    assert count == 4


def test_keda_activates_from_zero_and_goes_back_after_its_cooldown() -> None:
    policy = Keda(bounds=Bounds(0, 6), cooldown_seconds=60.0)
    assert policy.desired(glance(0.0, 0, [])) == 0
    assert policy.desired(glance(15.0, 0, [], held=3.0)) == 1
    quiet = [policy.desired(glance(15.0 * step, 1, [page(1, 15.0 * step)])) for step in range(2, 6)]
    assert quiet == [1, 1, 1, 0]


def test_of_several_metrics_one_that_is_missing_allows_no_smaller_count() -> None:
    metrics = [Metric(lambda one: one.door.held, 1.0), Metric(lambda _: None, 1.0)]
    policy = HorizontalPodAutoscaler(metrics=metrics, bounds=Bounds(1, 20))
    assert policy.desired(glance(0.0, 4, [], held=1.0)) == 4
    assert policy.desired(glance(15.0, 4, [], held=7.0)) == 7


def test_hpa_adds_no_more_in_a_period_than_its_limit() -> None:
    """Two syncs in one period share what may be added since its start."""
    policy = HorizontalPodAutoscaler(target=1.0, bounds=Bounds(1, 100))
    assert policy.sync([100.0], current=10, ready=10, now=0.0) == 20
    assert policy.sync([100.0], current=20, ready=10, now=5.0) == 20
    assert policy.sync([100.0], current=20, ready=10, now=15.0) == 40


def test_a_rival_counts_no_pod_that_drains() -> None:
    """What our drain keeps alive is gone to one who scaled it away."""
    pages = [page(number, 0.0, running=10.0, kv=1000.0) for number in range(4)]
    seen = glance(0.0, 4, pages, asked=3, draining=frozenset({3}))
    assert (seen.current, seen.serving) == (3, 3)
    assert [one.pod for one in seen.staying(pages)] == [0, 1, 2]


def test_wva_remembers_a_peak_for_a_minute() -> None:
    policy = Wva(profile=PROFILE, bounds=Bounds(1, 20))
    counters = {"PROMPT_TOKENS": 1000.0, "ARRIVED": 10.0, "GENERATED_TOKENS": 1000.0, "FINISHED": 10.0}
    before = page(0, 0.0)
    full = page(0, 15.0, kv=16_000.0, **counters)
    calm = [page(0, 30.0 + 15.0 * step, kv=100.0, **counters) for step in range(4)]
    assert policy.desired(glance(15.0, 1, [full], history=[[before, full]])) == 2
    assert policy.desired(glance(60.0, 1, [calm[2]], history=[[before, full, *calm[:3]]])) == 2
    assert policy.desired(glance(80.0, 1, [calm[3]], history=[[before, full, *calm]])) == 1


@pytest.mark.parametrize("name", ["dynamo-load", "dynamo-easy", "dynamo-easy-latency"])
def test_dynamo_waits_for_a_pod_on_its_way_but_not_for_one_without_a_node(name: str) -> None:
    policy = made(name)
    pages = [page(number, 0.0) for number in range(3)]  # idle: it would shrink
    assert policy.desired(glance(0.0, 4, pages, ready=3)) == 4
    assert policy.desired(glance(5.0, 4, pages, ready=3, unschedulable=1)) == 3
    assert policy.desired(glance(10.0, 3, pages[:2])) == 3, "an engine does not report"
    assert policy.desired(glance(15.0, 3, pages)) == 2


def test_policies_by_name() -> None:
    assert set(defaults()) <= set(NAMES)
    assert defaults()[0] == OURS
    assert {made(name).name for name in RIVALS} == set(RIVALS)
    fixed = made("static-9")
    assert isinstance(fixed, Static)
    assert fixed.desired(glance(0.0, 1, [])) == 6, "the maximum holds for it too"
    for name in ("kap", "kap-tuned"):
        with pytest.raises(PolicyError, match=r"no policy kap; there are .*kpa"):
            build(name, profile=PROFILE, objectives=OBJECTIVES, minimum=1, maximum=6)
    with pytest.raises(PolicyError, match="kpa has no parameter threshold; there are: share, stable_seconds"):
        made("kpa", threshold=3.0)


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_a_grid_can_be_set(name: str) -> None:
    values = grid(name)
    assert len(values) <= 2
    for parameter, choices in values.items():
        assert len(set(choices)) == len(choices)
        for choice in choices:
            assert math.isfinite(choice)
            made(name, **{parameter: choice})


def test_a_policy_that_was_not_tuned_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(registry.resources, "files", lambda _: tmp_path)
    assert tuned_names() == []
    with pytest.raises(PolicyError, match=r"hpa has no tuned values in tuned\.json"):
        made("hpa-tuned")
    (tmp_path / "tuned.json").write_text('{"hpa": {"share": 0.5}}')
    assert tuned_names() == ["hpa-tuned"]
    tuned, plain = made("hpa-tuned"), made("hpa")
    assert (tuned.name, plain.name) == ("hpa-tuned", "hpa")
    busy = [page(0, 0.0, running=32.0)]
    assert (tuned.desired(glance(0.0, 1, busy)), plain.desired(glance(0.0, 1, busy))) == (1, 2)


def test_committed_tuned_values_are_of_the_grid() -> None:
    for name in tuned_names():
        base = name.removesuffix(registry.TUNED)
        for parameter, value in registry.parameters(name).items():
            assert value in grid(base)[parameter]


def test_llm_d_takes_the_larger_of_prefill_backlog_and_caches_in_use() -> None:
    """The rule of the guide, max(ceil(backlog / 1.5 s), ceil(caches / 0.8)), and its calibration: a full step alone."""
    read = token_aware.backlog(15928.0)
    busy = [page(number, 0.0, waiting=1593.0) for number in range(3)]  # 100 tokens each
    seen = glance(0.0, 3, busy)
    assert read(seen) == pytest.approx(30.0, rel=1e-3)
    policy = token_aware.token_aware(profile=PROFILE, bounds=Bounds(1, 50), behaviour=USUAL)
    per_second = token_aware.peak_prefill(PROFILE)
    assert per_second == pytest.approx(2048 / (0.01 + 2048 * 2e-5))
    few = [page(0, 0.0, waiting=per_second * 4.4 / 100)]
    assert policy.desired(glance(0.0, 2, few)) == 3, "4.4 s of backlog at 1.5 s each"
    full = [page(number, 0.0, kv=16_000.0) for number in range(4)]
    assert policy.desired(glance(15.0, 4, full)) == 5, "four full caches at 0.8 each"
    slow = token_aware.token_aware(profile=PROFILE, bounds=Bounds(1, 50))
    assert slow.desired(glance(0.0, 4, full)) == 5
    assert slow.desired(glance(15.0, 5, [*full, page(4, 15.0, kv=16_000.0)])) == 5, "one pod in three minutes"


def test_tokenscale_adds_the_shares_of_prefill_and_release() -> None:
    policy = TokenScale(profile=PROFILE, itl=0.05, bounds=Bounds(1, 100))
    prefill = policy.needed(100.0, 100.0 * 1000, 1e-9)
    shares = 100_000 / token_aware.peak_prefill(PROFILE), 100_000 / policy.release(1000.0, 1e-9)
    assert prefill == math.ceil(sum(shares))
    assert policy.release(100.0, 200.0) == pytest.approx(64 * 300 / (200 * (0.01 + 64 * (2e-4 + 2e-7 * 200))))
    assert policy.needed(0.0, 0.0, 100.0) == 0
    careful = TokenScale(profile=PROFILE, itl=0.05, share=0.5, bounds=Bounds(1, 100))
    assert careful.needed(50.0, 5000.0, 200.0) >= 2 * policy.needed(50.0, 5000.0, 200.0) - 1
