"""The past of a service: bounded, gaps kept, constant stretches folded."""

from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core.state.ring import HISTORY_SECONDS, MOST_POINTS, WIDTH, Ring, spacing

NONE = (None,) * (WIDTH - 2)


def test_what_stays_the_same_keeps_two_points() -> None:
    ring = Ring()
    for tick in range(100):
        ring.add(1000.0 + 5 * tick, (2.0, *NONE))
    ring.add(1500.0, (3.0, *NONE))
    assert [point[:2] for point in ring.points(1500.0)] == [(1000.0, 2.0), (1495.0, 2.0), (1500.0, 3.0)]


def test_what_is_not_known_is_none_and_no_number() -> None:
    ring = Ring()
    ring.add(10.0, (1.23456, *NONE))
    assert ring.points(10.0) == ((10.0, 1.235, *NONE),)


def test_a_stretch_that_began_before_the_window_begins_with_it() -> None:
    ring = Ring()
    for at in (0.0, 10.0, HISTORY_SECONDS + 600.0):
        ring.add(at, (1.0, *NONE))
    assert [point[0] for point in ring.points(HISTORY_SECONDS + 600.0)] == [600.0, HISTORY_SECONDS + 600.0]


@given(st.lists(st.tuples(st.floats(0.5, 60.0), st.floats(0.0, 9.0)), max_size=900))
def test_it_is_bounded_and_in_order(steps: list[tuple[float, float]]) -> None:
    ring, at = Ring(), 0.0
    for step, value in steps:
        at += step
        ring.add(at, (value, *NONE))
    points = ring.points(at)
    times = [point[0] for point in points]
    assert len(points) <= MOST_POINTS
    assert times == sorted(times)
    assert all(time >= at - HISTORY_SECONDS for time in times)
    assert not steps or times[-1] == at


def test_many_services_share_the_points() -> None:
    assert spacing(1) == HISTORY_SECONDS / MOST_POINTS
    assert spacing(5_000) > spacing(1_000)
    assert spacing(10**9) == 60.0
    ring = Ring()
    assert ring.due(0.0, spacing_seconds=5.0)
    ring.add(0.0, (1.0, *NONE))
    assert not ring.due(4.0, spacing_seconds=5.0)
    assert ring.due(4.9, spacing_seconds=5.0)
