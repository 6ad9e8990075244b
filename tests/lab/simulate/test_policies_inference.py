"""Facts of upstream's own unit tests, the same inputs and outputs: WVA, AIBrix and Dynamo.

Versions: llm-d-workload-variant-autoscaler 88d6832989 (V2), 763b1bde0d (V1) and c760bb79e0 (queueing model),
ai-dynamo/dynamo 0c6da1ec76 and 165e9c4368, vllm-project/aibrix 2aff67a4cb.
"""

import pytest

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.simulate.policies import aibrix, dynamo
from penstock_lab.simulate.policies.dynamo_engine import Engine as DynamoEngine
from penstock_lab.simulate.policies.dynamo_engine import Mix
from penstock_lab.simulate.policies.wva import Analyzer, Engine, Replica
from penstock_lab.simulate.policies.wva1 import judged
from penstock_lab.simulate.policies.wva_queueing import Queue


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(5000, 0, 100, 50)], 12800),  # k1 when k2 is unknown
        ([(8000, 6, 100, 50)], 8000),  # k2 when the queue is full
        ([(4000, 10, 100, 50)], 4000),
        ([(8000, 6, 100, 50), (6000, 2, 100, 50)], 8000),  # from history
        ([(8000, 6, 100, 50), (6000, 2, 100, 600)], 12800),  # of another length of output
        ([(5000, 0, 0, 0)], 12800),
    ],
)
def test_wva_v2_capacity(steps: list[tuple[int, int, float, float]], expected: int) -> None:
    analyzer = Analyzer(Engine(16000))
    found = [analyzer.capacity([Replica(*step)]) for step in steps]
    assert found[-1] == expected


@pytest.mark.parametrize(
    ("batched", "sequences", "prompt", "output", "expected"),
    [(4096, 256, 500, 100, 140800), (2048, 256, 500, 100, 140800), (8192, 64, 100, 200, 12800), (8192, 256, 500, 0, 0)],
)
def test_wva_v2_derives_capacity_from_arguments(
    batched: int, sequences: int, prompt: float, output: float, expected: int
) -> None:
    """estimateCapacityFromParams."""
    assert Engine(0, batched, sequences).derived(prompt, output) == expected


def test_wva_v2_demand_with_the_schedulers_queue() -> None:
    """Scheduler queue demand, counted; our gateway gives no bytes."""
    analyzer = Analyzer(Engine(16000))
    assert analyzer.demand([Replica(5000, 0, 100, 50)]) == 5000
    assert analyzer.demand([Replica(5000, 0, 100, 50)], held=10) == 6500
    assert analyzer.demand([Replica(5000, 0, 100, 50, hit=0.5)], held=10) == 6000


@pytest.mark.parametrize(
    ("replicas", "current", "pending", "expected"),
    [
        ([Replica(11000, 3, 100, 50)], 1, 0, 2),  # demand exceeds the threshold
        ([Replica(1000, 0, 100, 50)] * 2, 2, 0, 1),  # below the boundary
        ([Replica(10000, 0, 100, 50)], 1, 0, 1),  # between them
        ([Replica(10000, 0, 100, 50)], 2, 1, 2),  # pending counts for more
        ([Replica(1000, 0, 100, 50)], 2, 1, 2),  # and not for less: 12800 - 1000 / 0.7 is less than one
    ],
)
def test_wva_v2_signals(replicas: list[Replica], current: int, pending: int, expected: int) -> None:
    assert Analyzer(Engine(16000)).desired(replicas, current=current, pending=pending) == expected


@pytest.mark.parametrize(
    ("pods", "up", "safe"),
    [
        ([(0.75, 2), (0.76, 2)], True, False),
        ([(0.5, 3), (0.5, 3)], True, False),
        ([(0.5, 1), (0.5, 1)], False, None),
        ([(0.2, 1), (0.3, 1), (0.25, 1)], False, True),
        ([(0.7, 2), (0.75, 2)], True, False),
        ([(0.5, 2)], None, False),
        ([], False, False),
        ([(0.85, 2), (0.5, 6), (0.9, 7)], True, False),
    ],
)
def test_wva_v1_analysis(pods: list[tuple[float, float]], up: bool | None, safe: bool | None) -> None:
    """TestAnalyzeModelSaturation_*; None where upstream's case does not say."""
    found = judged(pods)
    assert up is None or found[0] is up
    assert safe is None or found[1] is safe


@pytest.mark.parametrize(
    ("current", "use", "changes", "expected"),
    [
        (2, 45, {}, 3),
        (2, 35, {}, 3),
        (2, 90, {}, 4),
        (2, 90, {"up": 2.5}, 5),
        (6, 20, {}, 4),
        (6, 18, {}, 4),
        (6, 10, {}, 3),
        (6, 5, {"down": 2.5}, 2),
        (2, 33, {}, 2),
        (2, 27, {}, 2),
    ],
)
def test_aibrix_apa(current: int, use: float, changes: dict[str, float], expected: int) -> None:
    """TestAPAAlgorithm_ComputeTargetReplicas."""
    assert aibrix.apa(current, use, 30.0, aibrix.Rates(**changes)) == expected


@pytest.mark.parametrize(
    ("current", "stable", "panic", "most", "up", "expected"),
    [
        (2, 20, 20, None, 2.0, 2),
        (2, 30, 40, 2, 2.0, 4),
        (5, 20, 20, 5, 2.0, 5),
        (1, 0, 0, None, 2.0, 0),
        (2, 100, 100, None, 1.5, 3),
        (4, 5, 5, None, 2.0, 2),
    ],
)
def test_aibrix_kpa(*, current: int, stable: float, panic: float, most: int | None, up: float, expected: int) -> None:
    """TestKPAAlgorithm_ComputeTargetReplicas, without activation scale."""
    found = aibrix.kpa(current, stable=stable, panic=panic, target=10.0, rates=aibrix.Rates(up=up), most=most)
    assert found == expected


@pytest.mark.parametrize(("shipped", "expected"), [(False, [8, 8, 8, 2]), (True, [8, 2, 2, 2])])
def test_aibrix_remembers_the_highest_as_intended_and_the_lowest_as_shipped(shipped: bool, expected: list[int]) -> None:
    memory, found = aibrix.Memory(shipped=shipped), []
    for now, wanted in ((0.0, 8), (10.0, 2), (20.0, 5), (330.0, 2)):
        found.append(memory.settle(wanted, current=8, now=now))
    assert found == expected


def engine(**model: float) -> DynamoEngine:
    coefficients = {"c0": 1e-3, "cB": 0.0, "cKV": 1e-5, "cP": 1e-4, "cPP": 0.0} | model
    profile = Profile("facts", StepModel(**coefficients), 100_000, 256, 2048, 1, 60.0, "upstream's made-up regression")
    return DynamoEngine(profile)


@pytest.mark.parametrize(("ttft", "kv", "expected"), [(0.5, 30_000, 0), (2.0, 10_000, -1)])
def test_dynamo_consolidation_of_aggregated_engines(ttft: float, kv: float, expected: int) -> None:
    """TestAggConsolidationAwareScaleDown."""
    mix, sla = Mix(prompt=300, context=2500, prefill_per_step=300), dynamo.Sla(ttft, 1.0)
    assert dynamo.under_sla([dynamo.Load(kv, 0)] * 2, engine(), mix, sla) == expected


@pytest.mark.parametrize(
    ("itl", "kv", "expected"), [(0.1, 1500, -1), (0.1, 8000, 0), (10.0, 60_000, 0), (0.005, 30_000, 1)]
)
def test_dynamo_consolidation_by_decode(itl: float, kv: float, expected: int) -> None:
    """TestDecodeConsolidationAwareScaleDown, TestDecodeLoadScaling; a generous TTFT leaves the other side out."""
    mix, sla = Mix(prompt=1, context=1000, prefill_per_step=0), dynamo.Sla(1000.0, itl)
    assert dynamo.under_sla([dynamo.Load(kv, 0)] * 2, engine(cP=0.0), mix, sla) == expected


@pytest.mark.parametrize(
    ("ttft", "prompt", "queued", "workers", "expected"),
    [
        (0.1, 1500, 30_000, 2, 1),
        (0.1, 1500, 0, 2, -1),
        (0.1, 1500, 2000, 10, -1),
        (0.05, 2000, 1000, 2, -1),
        (0.015, 2000, 0, 2, 1),
        (0.005, 1500, 10_000, 1, 1),
    ],
)
def test_dynamo_consolidation_by_prefill(
    ttft: float, prompt: float, queued: float, workers: int, expected: int
) -> None:
    """TestPrefillConsolidationAwareScaleDown, TestPrefillQueueBudgetRefinement, TestPrefillLoadScaling."""
    mix, sla = Mix(prompt=prompt, context=1, prefill_per_step=0), dynamo.Sla(ttft, 1000.0)
    loads = [dynamo.Load(0, queued)] * workers
    assert dynamo.under_sla(loads, engine(cP=1e-5, cKV=0.0), mix, sla) == expected


@pytest.mark.parametrize(
    ("loads", "target", "expected"),
    [
        ([(80_000, 30_000)], "throughput", 1),
        ([(40_000, 0)] * 2, "throughput", -1),
        ([(70_000, 0)] * 2, "throughput", 0),
        ([(45_000, 0)], "latency", 1),
        ([(5000, 0)] * 2, "latency", -1),
        ([(50_000, 0), (80_000, 30_000)], "throughput", 1),
        ([(20_000, 0), (70_000, 0)], "throughput", 0),
        ([(0, 0)], "throughput", 0),
    ],
)
def test_dynamo_easy(loads: list[tuple[float, float]], target: str, expected: int) -> None:
    """test_easy_scaling.py: decode, and any up, all down."""
    given = [dynamo.Load(*load) for load in loads]
    assert dynamo.easy(given, kv_tokens=100_000, target=dynamo.Target(target)) == expected


def test_dynamo_engine_rate() -> None:
    """test_find_best_engine_agg_rps and its discount for cached prompts."""
    made = engine(cKV=1e-4, cP=1e-3)
    assert made.rate(prompt=2048, output=150, hit=0.0, ttft=0.5, itl=0.05) > 0
    assert made.rate(prompt=0, output=150, hit=0.0, ttft=0.5, itl=0.05) == 0
    plain, cached = (made.rate(prompt=4000, output=200, hit=hit, ttft=10.0, itl=10.0) for hit in (0.0, 0.8))
    assert cached > plain
    # one sequence, though it breaks both: 1 / (output x step)
    alone = 1 / (150 * (1e-3 + 1e-4 * (2048 + 75) + 1e-3 * 2048 / 150))
    assert made.rate(prompt=2048, output=150, hit=0.0, ttft=0.5, itl=0.05) == pytest.approx(alone)


def test_wva_queueing_with_one_in_service_is_the_known_queue() -> None:
    """M/M/1 with 100 places to wait, whose mean is known in closed form."""
    profile = Profile("one", StepModel(0.01, 0.0, 0.0, 1e-4, 0.0), 100_000, 1, 2048, 1, 60.0, "made up")
    queue = Queue(profile, 100, 10)
    rates = queue.rates()
    service = queue.prefill(1) + 10 * queue.decode(1)
    assert rates == pytest.approx([1 / service])
    load, places = 0.8, 101
    ttft, itl = queue.means(load / service, rates)
    inside = load / (1 - load) - (places + 1) * load ** (places + 1) / (1 - load ** (places + 1))
    taken = load / service * (1 - load**places * (1 - load) / (1 - load ** (places + 1)))
    busy = taken * service
    own = queue.prefill(busy)
    assert itl == pytest.approx((service - own) / 10)
    assert ttft == pytest.approx(inside / taken - service + own + itl)


@pytest.mark.parametrize(("ttft", "itl"), [(2.0, 0.05), (0.2, 0.05), (2.0, 0.015), (1e9, 1e9)])
def test_wva_queueing_finds_the_largest_rate_under_both_targets(ttft: float, itl: float) -> None:
    """TestQueueAnalyzer_Size, and TestBuildModel: a rate is positive and below the fastest service."""
    profile = Profile("facts", StepModel(0.01, 5e-5, 3e-8, 4e-5, 0.0), 600_000, 256, 8192, 1, 60.0, "made up")
    queue = Queue(profile, 500, 150)
    most, rates = queue.most(ttft=ttft, itl=itl), queue.rates()
    assert 0 < most < rates[-1]
    first, between = queue.means(most, rates)
    assert first <= ttft
    assert between <= itl
    first, between = queue.means(min(most * 1.02, rates[-1]), rates)
    assert first > ttft or between > itl or most > 0.99 * rates[-1]
