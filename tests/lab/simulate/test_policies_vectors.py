"""Facts of the upstream projects' own unit tests: the same inputs give the same outputs in our ports.

Versions: kubernetes 003e86297d, knative/serving 01f103ef3c, llm-d-workload-variant-autoscaler 88d6832989 (V2) and
763b1bde0d (V1), ai-dynamo/dynamo 0c6da1ec76 and 165e9c4368, vllm-project/aibrix 2aff67a4cb, volcano-sh/kthena
0250f2c75a and 2513a525be, ray 01624ad4ba.
"""

import dataclasses

import pytest

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.simulate.policies import aibrix, dynamo, kthena
from penstock_lab.simulate.policies.base import Bounds
from penstock_lab.simulate.policies.dynamo_engine import Engine as DynamoEngine
from penstock_lab.simulate.policies.dynamo_engine import Mix
from penstock_lab.simulate.policies.hpa import Behaviour, HorizontalPodAutoscaler, Metric, Rate
from penstock_lab.simulate.policies.kpa import Decider, Scaler
from penstock_lab.simulate.policies.ray_serve import Delay
from penstock_lab.simulate.policies.skyserve import Hysteresis
from penstock_lab.simulate.policies.wva import Analyzer, Engine, Replica
from penstock_lab.simulate.policies.wva1 import judged
from penstock_lab.simulate.policies.wva_queueing import Queue


def hpa(*, behaviour: Behaviour | None = None, least: int = 1, most: int = 1000) -> HorizontalPodAutoscaler:
    return HorizontalPodAutoscaler(behaviour=behaviour or Behaviour(), bounds=Bounds(least, most))


@pytest.mark.parametrize(
    ("current", "ready", "level", "target", "average", "expected"),
    [
        (1, 1, 8600, 4400, False, 2),  # TestReplicaCalcScaleUpCMExternal
        (3, 1, 8600, 4400, False, 2),  # …IgnoresUnreadyPods
        (5, 5, 8600, 14334, False, 3),  # …ScaleDownCMExternal
        (3, 3, 8600, 8888, False, 3),  # …ToleranceCMExternal
        (3, 3, 8600, 2150, True, 4),  # …ScaleUpPerPodCMExternal
        (5, 5, 8600, 2867, True, 3),  # …ScaleDownPerPodCMExternal
        (3, 3, 8600, 2900, True, 3),  # …TolerancePerPodCMExternal
    ],
)
def test_hpa_replica_calculator(
    *, current: int, ready: int, level: float, target: float, average: bool, expected: int
) -> None:
    metric = Metric(lambda _: None, target, average=average)
    assert hpa().proposal(metric, level, current=current, ready=ready) == expected


def uniform(changes: list[int], seconds: float = 120.0) -> list[tuple[float, int]]:
    """`generateEventsUniformDistribution`: (time, change), the oldest first, now being 0."""
    part = seconds / len(changes)
    return [(-(seconds - part * (index + 1) + part / 2), change) for index, change in enumerate(changes)]


def rules(*, up: Rate | None = None, down: Rate | None = None) -> Behaviour:
    base = Behaviour(stabilization_seconds=0.0)
    return dataclasses.replace(base, up=up or base.up, down=down or base.down)


@pytest.mark.parametrize(
    ("current", "wanted", "bounds", "behaviour", "up", "down", "expected"),
    [
        (5, 7, (3, 8), rules(), [], [], 7),
        (3, 1, (2, 8), rules(), [], [], 2),
        (1, 0, (0, 10), rules(), [], [], 0),
        (20, 1000, (1, 10), rules(), [], [], 10),
        (100, 1000, (100, 150), rules(), [], [], 150),
        (3, 1000, (1, 2000), rules(up=Rate(percent=1, seconds=60)), [], [], 4),
        (10, 50, (1, 1000), rules(), [], [], 20),
        (10, 500, (1, 1000), rules(up=Rate(100, 100, 60)), [], [], 110),
        (10, 500, (1, 1000), rules(up=Rate(2, 100, 60)), [], [], 20),
        (10, 50, (1, 1000), rules(up=Rate(30, None, 60)), [], [], 40),
        (10, 50, (1, 1000), rules(up=Rate(None, 200, 60)), [], [], 30),
        (100, 2, (1, 1000), rules(down=Rate(20, 1, 60)), [], [], 80),
        (100, 2, (1, 1000), rules(down=Rate(2, 1, 60)), [], [], 98),
        (10, 2, (1, 1000), rules(down=Rate(5, None, 60)), [], [], 5),
        (10, 5, (1, 1000), rules(down=Rate(None, 50, 60)), [], [], 5),
        (100, 500, (1, 200), rules(up=Rate(300, None, 60)), [1, 5, 9], [], 200),
        (100, 500, (1, 1000), rules(up=Rate(5, None, 120)), [1, 5, 9], [], 100),
        (100, 500, (1, 1000), rules(up=Rate(150, None, 120)), [1, 5, 9], [], 235),
        (100, 500, (1, 1000), rules(up=Rate(None, 200, 120)), [1, 5, 9], [], 255),
        (6, 24, (1, 1000), rules(up=Rate(None, 300, 300)), [4], [2], 16),
        (10, 5, (1, 1000), rules(), [], [1, 5, 9], 5),
        (100, 2, (1, 1000), rules(down=Rate(5, None, 120)), [], [1, 5, 9], 100),
        (100, 0, (1, 1000), rules(down=Rate(None, 50, 120)), [], [2, 4, 6], 56),
        (10, 1, (1, 1000), rules(down=Rate(None, 50, 180)), [2], [4], 6),
        (100, 0, (1, 1000), rules(down=Rate(None, 10, 120)), [], [10, 10, 10], 100),
        (10, 5, (1, 1000), rules(down=Rate(None, 1000, 120)), [], [10, 10, 10], 5),
    ],
)
def test_hpa_limits_hold_against_the_start_of_the_period(
    *,
    current: int,
    wanted: int,
    bounds: tuple[int, int],
    behaviour: Behaviour,
    up: list[int],
    down: list[int],
    expected: int,
) -> None:
    """TestScalingWithRules."""
    scaler = hpa(behaviour=behaviour, least=bounds[0], most=bounds[1])
    for window, changes in ((scaler._up, up), (scaler._down, down)):
        for at, change in uniform(changes) if changes else []:
            window.add(at, change)
    assert scaler.normalized(wanted, current=current, now=0.0) == expected


@pytest.mark.parametrize(
    ("seen", "wanted", "expected"),
    [
        ([], 5, 5),
        ([(-120, 4), (-60, 5)], 3, 5),
        ([(-120, 1), (-60, 2)], 3, 3),
        ([(-600, 10), (-540, 9)], 3, 3),
        ([(-600, 10), (-540, 9), (-120, 5), (-60, 4)], 3, 5),
    ],
)
def test_hpa_stabilisation(seen: list[tuple[float, int]], wanted: int, expected: int) -> None:
    """TestNormalizeDesiredReplicas, from a count above all of them."""
    scaler = hpa()
    for at, count in seen:
        scaler._recommended.add(at, count)
    assert scaler.normalized(wanted, current=20, now=0.0) == expected


def knative(target: float = 10.0, **changes: float) -> Scaler:
    base: dict[str, float] = {"panic_threshold": 2.0, "up_rate": 10.0, "down_rate": 10.0, "stable_seconds": 60.0}
    return Scaler(Decider(target=target, **(base | changes)))


@pytest.mark.parametrize(
    ("target", "stable", "panic", "ready", "changes", "expected"),
    [
        (10, 0, 0, 1, {}, 0),  # AutoscalerNoDataAtZeroNoAutoscale
        (181, 21, 26, 1, {}, 1),
        (10, 50, 49, 1, {}, 5),
        (10, 50, 50, 5, {}, 5),
        (1, 3, 3.1, 2, {"up_rate": 1.1}, 3),
        (10, 1, 1, 100, {"down_rate": 1.1}, 90),
        (10, 50, 100, 1, {}, 10),
        (10, 1000, 888, 0, {}, 10),
        (10, 1000, 1001, 10, {}, 100),
        (10, 1, 1, 100, {}, 10),
        (10, 1, 1, 10, {}, 1),
    ],
)
def test_kpa_scale(
    *, target: float, stable: float, panic: float, ready: int, changes: dict[str, float], expected: int
) -> None:
    """TestAutoscalerScale, TestAutoscalerRateLimitScaleUp, …Down, …UseOnePodAsMinimumIfEndpointsNotFound."""
    assert knative(target, **changes).scale(stable, panic, ready=ready, now=1000.0) == expected


@pytest.mark.parametrize(("stable", "expected"), [(50, 50), (20, 30)])
def test_kpa_takes_the_larger_of_both_windows_in_panic(stable: float, expected: int) -> None:
    scaler = knative(1)
    scaler.panic_at, scaler.most = 995.0, 5
    assert scaler.scale(stable, 30, ready=5, now=1000.0) == expected


def test_kpa_leaves_panic_after_a_slow_increase_and_extends_it_while_it_surges() -> None:
    """TestAutoscalerUnpanicAfterSlowIncrease, TestAutoscalerExtendPanicWindow."""
    slow, surging = knative(1), knative(1)
    assert slow.scale(11, 25, ready=10, now=0.0) == surging.scale(11, 25, ready=10, now=0.0) == 25
    assert (slow.scale(30, 41, ready=40, now=30.0), slow.panic_at) == (41, 0.0)
    assert (surging.scale(30, 80, ready=40, now=30.0), surging.panic_at) == (80, 30.0)
    assert (slow.scale(50, 56, ready=55, now=62.0), slow.panic_at) == (50, None)


def test_kpa_does_not_shrink_in_panic() -> None:
    """TestAutoscalerPanicThenUnPanicScaleDown."""
    scaler = knative()
    assert scaler.scale(100, 100, ready=1, now=0.0) == 10
    assert scaler.scale(100, 1000, ready=10, now=0.0) == 100
    assert scaler.scale(1, 1, ready=10, now=30.0) == 100
    assert scaler.scale(1, 1, ready=10, now=61.0) == 1


def test_kpa_delays_a_smaller_count() -> None:
    """TestAutoscalerScaleDownDelay, gradual; a sample that is exactly as old as the window counts with us."""
    scaler = knative(panic_threshold=100.0, delay_seconds=299.0)
    counts = [(9, 40, 4), (10, 30, 4), (11, 0, 4), (14, 0, 3), (15, 0, 0)]
    assert [scaler.scale(value, value, ready=0, now=60.0 * at) for at, value, _ in counts] == [
        expected for _, _, expected in counts
    ]


def test_kpa_starts_in_panic_with_more_than_one_pod() -> None:
    """TestStartInPanicMode."""
    for ready in range(3):
        scaler = knative()
        scaler.begin(ready, 7.0)
        assert (scaler.panic_at, scaler.most) == ((7.0 if ready > 1 else None), ready)


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


@pytest.mark.parametrize(
    ("current", "values", "changes", "expected"),
    [
        (7, [], {"target": 0.5}, None),
        (3, [500.0] * 3, {"target": 5.0}, 300),
        (3, [19.1, 3.1, 7.1], {}, 30),
        (9, [0.51] * 10, {"tolerance": 0.5}, 9),
        (9, [0.49] * 10, {"tolerance": 0.5}, 5),
        (9, [1.49] * 10, {"tolerance": 0.5}, 9),
        (9, [1.51] * 10, {"tolerance": 0.5}, 16),
        (58, [0.15] * 8, {"unready": 50}, 2),
        (18, [3.9] * 8, {"unready": 10}, 32),
        (58, [3.9] * 8, {"unready": 50}, 58),
        (10, [105.0], {"target": 10.0, "tolerance": 0.1}, 11),
        (10, [0.5] * 8, {"missing": 2}, 6),
        (10, [2.9] * 8, {"missing": 2}, 24),
        (58, [2.9] * 8, {"missing": 50}, 58),
        (58, [2.9] * 8, {"missing": 4}, 58),
        (1, [1.0], {"target": 0.0}, 1_000_000_000),
    ],
)
def test_kthena_recommendation(
    current: int, values: list[float], changes: dict[str, float], expected: int | None
) -> None:
    """TestGetRecommendedInstances, before its bounds."""
    base: dict[str, float] = {"target": 1.0, "tolerance": 0.0}
    given = base | changes
    found = kthena.recommended(current, total=sum(values), reporters=len(values), **given)  # type: ignore[arg-type]
    assert found == expected


@pytest.mark.parametrize(
    ("wanted", "current", "changes", "advised", "set_", "panic", "expected"),
    [
        (7, 7, {}, [], [], False, 7),
        (5, 10, {"down_instances": 1, "down_percent": 40}, [], [], False, 6),
        (5, 10, {"down_instances": 2, "down_percent": 20}, [9], [], False, 9),
        (3, 10, {"down_instances": 3, "down_percent": 25}, [], [12], False, 9),
        (20, 5, {"up_instances": 3}, [], [], False, 10),
        (50, 10, {"up_instances": 2, "up_percent": 50}, [], [6], False, 10),
        (15, 5, {}, [], [], True, 15),
        (15, 5, {"panic_percent": 100}, [], [], True, 10),
        (30, 10, {"panic_percent": 100}, [], [6], True, 12),
        (5, 0, {"panic_percent": 100}, [], [], True, 5),
        (3, 10, {}, [], [], True, 10),
        (5, 10, {}, [], [], False, 5),
    ],
)
def test_kthena_correction(
    *,
    wanted: int,
    current: int,
    changes: dict[str, float],
    advised: list[int],
    set_: list[int],
    panic: bool,
    expected: int,
) -> None:
    """TestGetCorrectedInstances, policy Or."""
    corrector = kthena.Corrector(dataclasses.replace(kthena.Behaviour(), **changes))  # type: ignore[arg-type]
    for window, values in ((corrector.advised, advised), (corrector.set, set_)):
        for value in values:
            window.add(0.0, value)
    found = corrector.in_panic(wanted, current, 0.0) if panic else corrector.in_peace(wanted, current, 0.0)
    assert found == expected


def test_ray_serve_waits_for_the_direction_to_hold() -> None:
    """_run_upscale_downscale_flow: 30 s up, 600 s down, again from the start when it is interrupted."""
    delay = Delay(30.0, 600.0)
    assert [delay.follow(2, target=1, now=now) for now in (0.0, 10.0, 20.0, 30.0)] == [1, 1, 1, 2]
    assert [delay.follow(0, target=2, now=now) for now in (40.0, 630.0, 640.0)] == [2, 2, 1]
    assert delay.follow(2, target=1, now=650.0) == 1
    assert delay.follow(0, target=1, now=660.0) == 1
    assert [delay.follow(2, target=1, now=now) for now in (670.0, 690.0, 700.0)] == [1, 1, 2]


def test_ray_serve_goes_to_one_before_it_goes_to_zero() -> None:
    """test_scaling_factor_scale_down_to_0_replicas."""
    delay = Delay(0.0, 0.0)
    assert delay.follow(0, target=5, now=0.0) == 1
    assert delay.follow(0, target=1, now=1.0) == 0


def test_skyserve_counts_decisions_in_one_direction() -> None:
    """`RequestRateAutoscaler._get_desired_num_replicas`: the first is followed, then 15 up and 60 down in a row."""
    hysteresis = Hysteresis(15, 60)
    assert hysteresis.follow(3, target=1) == 3
    assert [hysteresis.follow(5, target=3) for _ in range(15)] == [3] * 14 + [5]
    assert [hysteresis.follow(1, target=5) for _ in range(59)] == [5] * 59
    assert hysteresis.follow(5, target=5) == 5
    assert [hysteresis.follow(1, target=5) for _ in range(60)][-1] == 1


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


def test_a_desired_count_through_the_hpa_is_the_count() -> None:
    """WVA's path: AverageValue 1 gives `ceil(m / 1)`; from 11 replicas on the tolerance swallows one."""
    for tolerance, expected in ((0.0, 12), (0.1, 11)):
        scaler = hpa(behaviour=Behaviour(tolerance=tolerance))
        metric = Metric(lambda _: None, 1.0)
        assert scaler.proposal(metric, 12.0, current=11, ready=11) == expected
