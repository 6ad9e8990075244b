"""Facts of upstream's own unit tests, the same inputs and outputs: the HPA (kubernetes 003e86297d) and the KPA.

The KPA's are of knative/serving 01f103ef3c.
"""

import dataclasses

import pytest

from penstock_lab.simulate.policies.base import Bounds
from penstock_lab.simulate.policies.hpa import Behaviour, HorizontalPodAutoscaler, Metric, Rate
from penstock_lab.simulate.policies.kpa import Decider, Scaler


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


def test_a_desired_count_through_the_hpa_is_the_count() -> None:
    """WVA's path: AverageValue 1 gives `ceil(m / 1)`; from 11 replicas on the tolerance swallows one."""
    for tolerance, expected in ((0.0, 12), (0.1, 11)):
        scaler = hpa(behaviour=Behaviour(tolerance=tolerance))
        metric = Metric(lambda _: None, 1.0)
        assert scaler.proposal(metric, 12.0, current=11, ready=11) == expected
