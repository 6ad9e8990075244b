"""Facts of upstream's own unit tests, the same inputs and outputs: kthena, Ray Serve and SkyServe.

Versions: volcano-sh/kthena 0250f2c75a and 2513a525be, ray 01624ad4ba; SkyServe's is its code.
"""

import dataclasses

import pytest

from penstock_lab.simulate.policies import kthena
from penstock_lab.simulate.policies.ray_serve import Delay
from penstock_lab.simulate.policies.skyserve import Hysteresis


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
