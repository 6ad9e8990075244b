"""Every signal of every engine, from its metrics page through a real Prometheus to what the policy is given."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import astuple
from datetime import UTC, datetime

import pytest

from enginepages import NAMESPACE, PODS, SPANS
from penstock_operator.adapters.prometheus import PrometheusSource
from penstock_operator.core.enginemetrics import KINDS, METRICS
from penstock_operator.core.observe import from_view
from penstock_operator.core.ports import Unavailable
from penstock_operator.core.scaling import Memory, Observation, Policy, capacity, decide
from penstock_operator.core.scaling.signals import View, by_service, queries
from penstock_operator.core.scaling.types import SignalState
from penstock_operator.core.sla import quantile
from penstock_operator.runtime.measure import Measure

_WINDOW = 6.0
_VLLM = 2 / SPANS["vllm"]  # two replicas play the same recording
# Per second: arrivals, prompt tokens, generated tokens, finished; then requests waiting and running, use of the cache.
SIGNALS = {
    "vllm": (32 * _VLLM, 6741 * _VLLM, 2880 * _VLLM, 32 * _VLLM, 100, 32, 0.0056166),
    "sglang": (4, 2000, 484, 4, 3, 12, 0.42),
    "tgi": (5, 2500, 240, 4, 2, 9, None),
    "tensorrtllm": (6, 3000, 900, 6, 5, 20, 0.61),
}
# Per second: steps, seconds in them, decoded sequences, prefill tokens, generated tokens.
STEPS = {
    "vllm": tuple(x * _VLLM for x in (180, 180 * 73.81786658 / 2848, 2848, 2005, 2880)),
    "sglang": (44, 0.8, 480, 1500, 484),
    "tgi": (33, 30 * 0.025 + 3 * 0.05, 236, 2500, 240),
    "tensorrtllm": None,
}
# Seconds below which the median and the maximum lie, by the buckets of the engine; None where it measures nothing.
LATENCIES = {
    "sglang": {"TTFT": 0.4, "TPOT": 0.02, "ITL": 0.02, "QueueWait": 0.2, "E2E": 4.0},
    "tgi": {"TTFT": None, "TPOT": 0.0438, "ITL": None, "QueueWait": 0.0986, "E2E": 2.5252},
    "tensorrtllm": {"TTFT": 0.25, "TPOT": 0.025, "ITL": None, "QueueWait": 0.3, "E2E": 5.0},
}


@pytest.fixture(scope="module")
def view(prometheus: str) -> View:
    """The answers of one tick, when a whole window of scrapes is there."""
    return asyncio.run(_whole(prometheus))


@pytest.fixture
def source(prometheus: str) -> Iterator[PrometheusSource]:
    made = PrometheusSource(prometheus)
    yield made
    made.close()


async def _whole(url: str) -> View:
    source, began, deadline = PrometheusSource(url), None, time.monotonic() + 60
    while time.monotonic() < deadline:
        seen = await _ask(source)
        reporting = seen.answers["reporting"]
        assert not isinstance(reporting, Unavailable), reporting
        whole = all(reporting.get((NAMESPACE, service)) == pods for service, pods in PODS.items())
        if whole and began is not None and time.monotonic() - began > _WINDOW + 1:
            source.close()
            return seen
        began = (began or time.monotonic()) if whole else None
        await asyncio.sleep(0.3)
    raise AssertionError(f"not all pages were scraped within a minute: {reporting}")


async def _ask(source: PrometheusSource) -> View:
    texts, now = queries(_WINDOW), datetime.now(UTC).timestamp()
    answers = await asyncio.gather(*(source.instant(text) for text in texts.values()))
    return View({kind: by_service(one) for kind, one in zip(texts, answers, strict=True)}, now, _WINDOW)


def observed(view: View, service: str) -> Observation:
    return from_view((NAMESPACE, service), view, replicas=PODS[service], ready=PODS[service])


def roughly(value: float | None) -> object:
    return None if value is None else pytest.approx(value, rel=0.15)


@pytest.mark.parametrize("engine", SIGNALS)
async def test_every_signal_comes_out_right(view: View, engine: str) -> None:
    seen = observed(view, engine)
    assert seen.kv_use is not None
    found = (
        seen.arrivals, seen.prompt_tokens, seen.generated_tokens, seen.finished, seen.waiting, seen.running, seen.kv_use
    )  # fmt: skip
    assert tuple(one.value if one.fresh else None for one in found) == tuple(roughly(one) for one in SIGNALS[engine])
    assert (seen.reporting.state, seen.reporting.value) == (SignalState.FRESH, PODS[engine])


@pytest.mark.parametrize("engine", STEPS)
async def test_the_step_model_is_fitted_where_steps_are_counted(view: View, engine: str) -> None:
    seen, expected = observed(view, engine), STEPS[engine]
    if expected is None:
        assert seen.work is None
        assert capacity.learn_step(None, seen, view.now) is None
        return
    assert seen.work is not None
    assert astuple(seen.work) == tuple(roughly(one) for one in expected)
    fit = capacity.learn_step(None, seen, view.now)
    assert fit is not None
    assert fit.mean_step_seconds == roughly(expected[1] / expected[0])


async def test_what_an_engine_does_not_export_is_absent_and_not_zero(view: View) -> None:
    for metrics in METRICS.values():
        service = metrics.engine.lower()
        for kind in set(KINDS) - set(metrics.kinds):
            answer = view.answers[kind]
            assert not isinstance(answer, Unavailable)
            assert (NAMESPACE, service) not in answer, (service, kind)


async def test_arrivals_of_vllm_are_what_finishes_and_what_piles_up(view: View) -> None:
    seen = observed(view, "queue")
    assert seen.arrivals.value == pytest.approx(2.0, rel=0.15)
    assert seen.generated_tokens.state is SignalState.ABSENT


async def test_without_steps_a_replica_is_judged_by_its_queue_or_by_a_target(view: View) -> None:
    seen = observed(view, "tensorrtllm")
    policy = Policy(min_replicas=1, max_replicas=9, tpot_seconds=0.03, allowed=0.05)
    memory = Memory()
    for tick in range(8):
        decision, memory = decide(policy, seen, memory, view.now + 5.0 * tick)
    assert decision.capacity_tokens_per_second == pytest.approx(capacity.SATURATION_MARGIN * 900, rel=0.15)
    told = Policy(min_replicas=1, max_replicas=9, target_tokens_per_second=300)
    decision, _ = decide(told, seen, memory, view.now + 60)
    assert (decision.capacity_tokens_per_second, decision.replicas > 1) == (300, True)


@pytest.mark.parametrize("engine", LATENCIES)
async def test_latencies_come_from_the_histograms_of_the_engine(
    view: View, source: PrometheusSource, engine: str
) -> None:
    assert view
    wanted = [(metric, 6) for metric in LATENCIES[engine]]
    found = await Measure(source).histograms(wanted)
    for metric, bound in LATENCIES[engine].items():
        buckets = found[metric, 6]
        assert not isinstance(buckets, Unavailable)
        median = quantile(buckets.get((NAMESPACE, engine), {}), 50.0)
        assert median is None if bound is None else median is not None and median <= bound * 1.001
