"""The days before: what they tell of the load soon, what they do not, and that they cost a bounded memory."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observations import observation
from penstock_operator.core.scaling import Decision, Memory, Observation, Policy, decide
from penstock_operator.core.scaling.forecast import Forecast
from penstock_operator.core.scaling.forecast import follow as foresee
from penstock_operator.core.scaling.season import (
    BIN_SECONDS,
    BINS,
    DAY_SECONDS,
    EARLY_SECONDS,
    LATE_SECONDS,
    Recollection,
    Season,
    follow,
    priced,
    rescaled,
)

HORIZON = 60.0
NINE = 9 * 3600.0
MONDAY = 20_000 * DAY_SECONDS
Load = Callable[[float], float]


def office(at: float) -> float:
    """Three times as much from nine to five."""
    return 3.0 if NINE <= at % DAY_SECONDS < 17 * 3600.0 else 1.0


def lived(
    load: Load, *, until: float, begin: float = MONDAY, tick: float = 20.0, known: Season | None = None
) -> Season:
    for number in range(round((until - begin) / tick) + 1):
        known = follow(known, load(begin + number * tick - 1.0), now=begin + number * tick)  # the load of until now
    assert known is not None
    return known


@pytest.fixture(scope="module")
def yesterday() -> Season:
    """A working day, up to its midnight."""
    return lived(office, until=MONDAY + DAY_SECONDS)


def before_nine(yesterday: Season, seconds: float, *, load: Load = office) -> Season:
    """The next day, so many seconds before nine."""
    begin = MONDAY + DAY_SECONDS
    return lived(load, until=begin + NINE - seconds, begin=begin + NINE - 3600.0, known=yesterday)


def test_a_step_of_yesterday_is_expected_one_horizon_and_a_little_before_its_time(yesterday: Season) -> None:
    for seconds, expected in ((HORIZON + EARLY_SECONDS + 60.0, None), (HORIZON + EARLY_SECONDS, 3.0), (20.0, 3.0)):
        found = before_nine(yesterday, seconds).expect(1.0, at=MONDAY + DAY_SECONDS + NINE - seconds + HORIZON)
        assert (None if found is None else found[1]) == pytest.approx(expected)


def test_what_may_come_early_or_late_is_a_range_and_what_is_over_is_not_expected_again(yesterday: Season) -> None:
    nine = MONDAY + DAY_SECONDS + NINE
    early = before_nine(yesterday, HORIZON)
    assert early.expect(1.0, at=nine) == pytest.approx((1.0, 3.0))
    assert early.expect(1.0, at=nine + LATE_SECONDS) == pytest.approx((3.0, 3.0))
    late = before_nine(yesterday, -LATE_SECONDS - BIN_SECONDS, load=lambda _: 1.0)
    assert late.expect(1.0, at=late.at + HORIZON) is None, "today is a holiday"


def test_only_the_change_counts_not_the_level(yesterday: Season) -> None:
    """Twice the load of yesterday, an hour of it: twice the step."""
    twice = before_nine(yesterday, HORIZON, load=lambda at: 2.0 * office(at))
    found = twice.expect(2.0, at=twice.at + HORIZON)
    assert found is not None
    assert found[1] == pytest.approx(6.0)


def test_no_more_is_expected_than_there_was_by_the_measure_of_today(yesterday: Season) -> None:
    """The step came early today: what is there already is not expected once more."""
    known = before_nine(yesterday, HORIZON)
    assert known.expect(3.0, at=known.at + HORIZON) == pytest.approx((3.0, 3.0))
    found = known.expect(2.9, at=known.at + HORIZON)
    assert found is not None
    assert found[1] <= 3.0 + 1e-6


def test_a_few_days_without_it_and_a_step_is_expected_still_but_smaller(yesterday: Season) -> None:
    off = lived(lambda _: 1.0, until=MONDAY + 3 * DAY_SECONDS, begin=MONDAY + DAY_SECONDS, known=yesterday)
    assert 1.5 < off.of(int((MONDAY + NINE + 600.0) // BIN_SECONDS)) < 2.0


def test_noise_and_slow_changes_tell_nothing() -> None:
    wave = lived(lambda at: 2.0 + math.sin(2.0 * math.pi * at / DAY_SECONDS), until=MONDAY + 1.4 * DAY_SECONDS)
    assert wave.expect(1.0, at=wave.at + HORIZON) is None
    wild = lived(lambda at: 1.0 + (at // BIN_SECONDS) % 2, until=MONDAY + 1.4 * DAY_SECONDS)
    assert wild.expect(1.0, at=wild.at + HORIZON) is None


def test_what_was_not_seen_is_not_expected() -> None:
    """The operator was away around nine: what comes then is unknown, not zero."""
    morning = lived(office, until=MONDAY + NINE - 600.0)
    known = lived(office, until=MONDAY + DAY_SECONDS + NINE - HORIZON, begin=MONDAY + NINE + 600.0, known=morning)
    assert math.isnan(known.of(int((MONDAY + NINE) // BIN_SECONDS)))
    assert known.expect(1.0, at=known.at + HORIZON) is None
    assert known.of(int((MONDAY + NINE + 700.0) // BIN_SECONDS)) == pytest.approx(3.0)


@given(loads=st.lists(st.floats(0, 1e6), min_size=2, max_size=200), gap=st.floats(1.0, 90.0), level=st.floats(0, 1e6))
def test_on_the_first_day_nothing_is_expected_and_memory_is_bounded(
    loads: list[float], gap: float, level: float
) -> None:
    known, again = None, None
    for number, load in enumerate(loads):
        known = follow(known, load, now=MONDAY + number * gap)
        again = follow(again, load, now=MONDAY + number * gap)
        assert known.expect(level, at=known.at + HORIZON) is None
        assert len(known.bins) == 4 * BINS
    assert known == again


@given(
    loads=st.lists(st.floats(0.01, 1e4), min_size=4, max_size=30),
    unit=st.floats(1e-4, 1e4),
    level=st.floats(0.01, 1e4),
    more=st.floats(1.0, 10.0),
)
def test_another_unit_changes_nothing_but_the_unit(loads: list[float], unit: float, level: float, more: float) -> None:
    """And more load now never means that less is expected, nor anything beyond what was seen then."""

    def day(at: float) -> float:
        return loads[int(at // 60.0) % len(loads)]

    known = lived(day, until=MONDAY + 40 * 60.0, tick=60.0)
    known = replace(follow(known, 1.0, now=MONDAY + DAY_SECONDS + 600.0), noise=0.0)
    found, other = (
        one.expect(level * by, at=known.at + HORIZON) for one, by in ((known, 1.0), (rescaled(known, unit), unit))
    )
    assert (found is None) == (other is None)
    if found is None or other is None:
        return
    assert other == pytest.approx((found[0] * unit, found[1] * unit), rel=1e-5)
    assert found[0] <= found[1] <= max(level, *loads) * (1.0 + 1e-5)
    higher = known.expect(level * more, at=known.at + HORIZON)
    assert higher is not None
    assert higher[1] >= found[1]


def test_a_day_that_somebody_else_has_kept() -> None:
    """In requests per second, every second minute, until it is known what one costs."""
    made = Recollection()
    for end in range(120, int(DAY_SECONDS) + 1, 120):
        made.note(office(end - 120.0), end=MONDAY + end, seconds=120.0)
    known = priced(made.season(now=MONDAY + DAY_SECONDS), 50.0)
    assert not math.isnan(known.of(0) + known.of(BINS - 1))
    known = before_nine(known, HORIZON, load=lambda at: 50.0 * office(at))
    assert known.expect(50.0, at=known.at + HORIZON) == pytest.approx((50.0, 150.0), rel=1e-3)
    assert priced(known, 9.0) == known
    assert math.isnan(Recollection().season(now=MONDAY).of(0))


def mornings(days: int, begin: float, end: float, *, tick: float = 10.0) -> Iterator[float]:
    """Times between two times of each day: what is not looked at costs no test its time."""
    for day in range(days):
        for number in range(int((end - begin) / tick)):
            yield MONDAY + day * DAY_SECONDS + begin + number * tick


def foreseen(load: Load, times: Iterable[float], *, blind: bool = False) -> dict[float, Forecast]:
    """Forecasts by their time."""
    season: Season | None = None
    known: Forecast | None = None
    found = {}
    for now in times:
        season = follow(season, load(now - 1.0), now=now)
        expected = None if blind else season.expect(load(now), at=now + HORIZON)
        known = found[now] = foresee(known, load(now), now=now, horizon_seconds=HORIZON, season=expected)
    return found


@functools.cache
def known_by_heart() -> tuple[Season, Forecast]:
    """A working day, and a forecast of a load that hardly moved."""
    known = foreseen(lambda at: 1.0 + 0.1 * math.sin(at), mornings(1, 0.0, 7200.0))[MONDAY + 7190.0]
    return lived(office, until=MONDAY + DAY_SECONDS), replace(known, pending=(), since=0.0, at=MONDAY)


def test_a_step_that_comes_every_day_is_prepared_for_and_is_no_surprise() -> None:
    times, nine = list(mornings(2, NINE - 1800.0, NINE + 1800.0)), MONDAY + DAY_SECONDS + NINE
    told, blind = foreseen(office, times), foreseen(office, times, blind=True)
    before = [at for at in times if nine - HORIZON <= at < nine]
    assert all(told[at].told and told[at].level * told[at].growth(sigmas=2.0) >= 3.0 for at in before)
    assert all(blind[at].growth(sigmas=2.0) < 2.5 for at in before)
    after = [at for at in times if nine + 600.0 < at]
    assert all(told[at].sigma < 0.6 * blind[at].sigma for at in after), "what was expected asks for no reserve"


def test_a_season_that_does_not_hold_is_soon_believed_no_more() -> None:
    """Batches at every full hour, which stop: each that does not come halves what is prepared for the next."""

    def batches(at: float) -> float:
        return 3.0 if at % 3600.0 < 300.0 and at < MONDAY + DAY_SECONDS else 1.0

    found = foreseen(batches, mornings(2, 1800.0, 7 * 3600.0, tick=20.0))
    hours = [MONDAY + DAY_SECONDS + hour * 3600.0 for hour in range(1, 7)]
    expected = [max(known.ahead() for at, known in found.items() if hour - 180 < at < hour + 300) for hour in hours]
    assert expected[0] == pytest.approx(3.0, rel=0.1)
    assert expected[2] < 1.7
    assert expected[-1] < 1.2


@given(load=st.floats(0.01, 20.0), more=st.floats(1.0, 5.0), minutes=st.floats(-6.0, 6.0), trust=st.floats(0, 1))
def test_more_load_never_asks_for_less(load: float, more: float, minutes: float, trust: float) -> None:
    """At any time around nine, however much the season is believed."""
    season, known = known_by_heart()
    known = replace(known, trust=trust)
    season = replace(season, at=MONDAY + NINE + 60.0 * minutes)
    season = replace(season, number=int(season.at // BIN_SECONDS), former=season.of(int(season.at // BIN_SECONDS) - 1))

    def wanted(level: float) -> float:
        expected = season.expect(level, at=season.at + HORIZON)
        made = foresee(known, level, now=MONDAY + 5.0, horizon_seconds=HORIZON, season=expected)
        return level * made.growth(sigmas=2.0)

    assert wanted(load * more) >= wanted(load) * (1.0 - 1e-9)


OBJECTIVES = Policy(min_replicas=1, max_replicas=20, target_tokens_per_second=100.0, allowed=0.01)


def decided(load: Load, times: Iterable[float], *, forget: bool = False) -> dict[float, Decision]:
    """Decisions, by their time, of a service whose pods are ready at once."""
    memory, replicas, found = Memory(), 1, {}
    for now in times:
        seen: Observation = observation(replicas=replicas, arrivals=load(now), running=load(now))
        found[now], memory = decide(OBJECTIVES, replace(seen, startup_seconds=55.0), memory, now)
        memory = replace(memory, season=None) if forget else memory
        replicas = found[now].replicas
    return found


def test_in_the_first_day_decisions_are_as_without_a_season() -> None:
    def restless(at: float) -> float:
        return office(at) * (1.0 + 0.5 * math.sin(at / 300.0) ** 3)

    times = list(mornings(1, NINE - 3600.0, NINE + 3600.0))
    found = decided(restless, times)
    assert found == decided(restless, times, forget=True)
    assert len({one.replicas for one in found.values()}) > 3


def test_replicas_are_asked_for_one_start_up_before_the_step_and_the_message_says_why() -> None:
    nine = MONDAY + DAY_SECONDS + NINE
    found = decided(office, mornings(2, NINE - 1200.0, NINE + 300.0))
    first = min(at for at, one in found.items() if nine - 600.0 < at and one.replicas >= 3)
    assert nine - HORIZON - 2 * EARLY_SECONDS <= first <= nine - HORIZON
    assert "for what may come in 60 s, as on the days before" in found[first].message
    assert found[nine - 300.0].replicas < 3
