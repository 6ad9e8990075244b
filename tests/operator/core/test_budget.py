"""The error-budget loop: misses widen the reserve that could have helped, calm narrows it, and nothing runs away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core.scaling.budget import Margins, Missed, adjust, begin

MISSED = Missed("TTFT", allowed=0.01, met=90.0, missed=10.0)
MET = Missed("TTFT", allowed=0.01, met=100.0, missed=0.0)
START = begin(0.01)


def after(
    *seen: Missed, short: bool = False, seconds: float = 60.0, unavoidable: float = 0.0, crowded: float = 1.0
) -> Margins:
    return adjust(START, seen, short=short, elapsed_seconds=seconds, unavoidable=unavoidable, crowded=crowded)


def test_the_first_reserve_follows_from_what_may_miss() -> None:
    assert begin(0.01).sigmas == pytest.approx(2.326, abs=0.001)
    assert begin(0.1).sigmas == pytest.approx(1.282, abs=0.001)
    assert begin(None).sigmas == 0.0
    assert begin(0.0).sigmas <= 4.0


def test_misses_for_want_of_replicas_widen_the_forecast_alone() -> None:
    found = after(MISSED, short=True)
    assert found.sigmas > START.sigmas
    assert found.tail == START.tail


def test_misses_with_room_to_spare_make_replicas_emptier() -> None:
    found = after(MISSED)
    assert found.tail > START.tail
    assert found.sigmas == START.sigmas


def test_calm_narrows_both() -> None:
    found = after(MET)
    assert found.tail < START.tail
    assert found.sigmas < START.sigmas


def test_requests_in_time_though_replicas_were_short_say_that_the_model_is_too_careful() -> None:
    found = after(MET, short=True)
    assert found.tail < START.tail
    assert found.sigmas < START.sigmas


def test_one_objective_that_is_missed_outweighs_another_that_is_met() -> None:
    assert after(MET, Missed("TPOT", 0.01, 50.0, 50.0)).tail > START.tail


def test_at_the_share_that_is_meant_nothing_moves() -> None:
    found = after(Missed("TPOT", 0.01, 99.25, 0.75), seconds=600.0)
    assert (found.sigmas, found.tail) == (pytest.approx(START.sigmas), pytest.approx(START.tail))


@pytest.mark.parametrize("allowed", [0.01, 0.05, 0.1])
def test_misses_that_come_in_crowds_count_also_where_many_are_allowed(allowed: float) -> None:
    """In a tick of five six times the budget misses, and nothing in the others: a fifth more than the budget."""
    margins = begin(allowed)
    crowd = Missed("TPOT", allowed, 100.0 * (1.0 - 6.0 * allowed), 600.0 * allowed)
    for tick in range(60):
        seen = crowd if tick % 5 == 0 else Missed("TPOT", allowed, 100.0, 0.0)
        margins = adjust(margins, (seen,), short=False, elapsed_seconds=5.0)
    assert margins.tail > begin(allowed).tail


def _calm_after(*, rate: float) -> Margins:
    """Half an hour at ten requests a second, a minute of a rate at which a tenth misses, and one minute in time."""
    margins = START
    for _ in range(360):
        margins = adjust(margins, (Missed("TTFT", 0.01, 9.95, 0.05),), short=False, elapsed_seconds=5.0)
    for _ in range(12):
        margins = adjust(margins, (Missed("TTFT", 0.01, 0.9 * rate, 0.1 * rate),), short=False, elapsed_seconds=5.0)
    return margins


def test_misses_count_by_requests_and_what_is_overspent_is_saved() -> None:
    """A minute of the same share costs a large crowd more of the budget than a small one."""
    few, many = _calm_after(rate=1.0), _calm_after(rate=100.0)
    assert few.aim(0.01) == pytest.approx(0.0075)
    assert many.aim(0.01) == pytest.approx(0.001)
    fallen = [adjust(one, (MET,), short=False, elapsed_seconds=60.0).tail / one.tail for one in (few, many)]
    assert fallen[0] < fallen[1] < 1.0


@pytest.mark.parametrize("allowed", [0.02, 0.05, 0.1])
def test_an_objective_that_many_may_miss_is_not_unlearned_in_minutes(allowed: float) -> None:
    """A minute in time takes as much as at 99 %, though far more of the requests may miss."""
    begun, calm = begin(allowed), Missed("TPOT", allowed, 100.0, 0.0)
    found = adjust(begun, (calm,), short=False, elapsed_seconds=60.0)
    assert begun.sigmas - found.sigmas == pytest.approx(START.sigmas - after(MET).sigmas)
    assert found.tail / begun.tail == pytest.approx(after(MET).tail / START.tail)


def test_a_loose_objective_that_misses_more_does_not_hide_a_tight_one() -> None:
    tight, loose = Missed("TTFT", 0.01, 95.0, 5.0), Missed("E2E", 0.05, 88.0, 12.0)
    assert after(tight, loose).tail == pytest.approx(after(tight).tail)


@pytest.mark.parametrize(("share", "aim"), [(0.007, 0.0075), (0.008, 0.006), (0.009, 0.003), (0.01, 0.001)])
def test_each_share_that_was_overspent_is_saved_three_times(share: float, aim: float) -> None:
    spent = Margins(seconds=1e9, judged=1e6, missed=share * 1e6)
    assert spent.aim(0.01) == pytest.approx(aim, rel=1e-3)


def test_what_was_overspent_is_forgotten_in_a_day() -> None:
    margins = _calm_after(rate=100.0)

    def later(hours: int, margins: Margins) -> Margins:
        for _ in range(720 * hours):
            margins = adjust(margins, (Missed("TTFT", 0.01, 9.95, 0.05),), short=False, elapsed_seconds=5.0)
        return margins

    assert later(1, margins).aim(0.01) < 0.003, "an hour later it counts still"
    assert later(24, margins).aim(0.01) == pytest.approx(0.0075)


def test_prompts_that_are_too_long_for_any_replica_ask_for_none() -> None:
    assert after(MISSED, unavoidable=0.1).tail < START.tail
    assert after(Missed("TPOT", 0.01, 90.0, 10.0), unavoidable=0.1).tail > START.tail


def test_those_too_long_for_any_replica_may_come_in_crowds() -> None:
    crowd, none = Missed("TTFT", 0.01, 4.0, 4.0), Missed("TTFT", 0.01, 8.0, 0.0)

    def later(unavoidable: float) -> Margins:
        margins = START
        for tick in range(720):
            one = none if tick % 10 else crowd  # one in twenty over ten ticks
            margins = adjust(margins, (one,), short=False, elapsed_seconds=5.0, unavoidable=unavoidable)
        return margins

    assert later(0.05).tail == 1.2, "as many as no replica serves in time, whenever they come"
    assert later(0.05).missed == pytest.approx(0.0, abs=30.0), "of 28,800: the first crowd, before any was expected"
    assert later(0.03).tail > START.tail, "two in a hundred more than that"


def test_what_is_excused_is_soon_spent() -> None:
    def crowd(after_seconds: int) -> float:
        margins = START
        for _ in range(after_seconds // 5):
            margins = adjust(
                margins, (Missed("TTFT", 0.01, 10.0, 0.0),), short=False, elapsed_seconds=5.0, unavoidable=0.05
            )
        late = (Missed("TTFT", 0.01, 0.0, 10.0),)
        return adjust(margins, late, short=False, elapsed_seconds=60.0, unavoidable=0.05).missed

    assert crowd(7200) == crowd(300) < 600.0, "five minutes of them at most"
    assert crowd(300) > 400.0, "600 requests miss, 150 are excused"


def test_misses_of_requests_that_found_an_idle_replica_ask_for_none() -> None:
    assert after(MISSED, crowded=0.0).tail < START.tail
    assert START.tail < after(MISSED, crowded=0.05).tail < after(MISSED).tail


def test_nothing_judged_changes_nothing() -> None:
    assert after() == START
    assert after(Missed("TTFT", 0.01, 0.0, 0.0)) == START
    assert after(MISSED, seconds=0.0) == START


shares = st.floats(0, 100)


@given(
    seen=st.lists(st.builds(Missed, st.sampled_from(["TTFT", "TPOT"]), st.floats(0, 0.5), shares, shares), max_size=4),
    short=st.booleans(),
    seconds=st.floats(0, 60),
    unavoidable=st.floats(0, 1),
    crowded=st.floats(0, 1),
)
def test_it_stays_inside_its_bounds(
    seen: list[Missed], short: bool, seconds: float, unavoidable: float, crowded: float
) -> None:
    margins = START
    for _ in range(50):
        margins = adjust(
            margins, tuple(seen), short=short, elapsed_seconds=seconds, unavoidable=unavoidable, crowded=crowded
        )
    assert 0.25 <= margins.sigmas <= 4.0
    assert 1.2 <= margins.tail <= 8.0
