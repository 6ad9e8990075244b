"""Faults of metrics and of pods: what a policy is shown under each, and that ours never shrinks by mistake."""

import numpy as np
import pytest

from penstock_contract.profile import load_profile
from penstock_lab.simulate import faults
from penstock_lab.simulate.outage import DOOR, Fault, Kind
from penstock_lab.simulate.policies.base import Glance, Policy
from penstock_lab.simulate.policies.hpa import HorizontalPodAutoscaler
from penstock_lab.simulate.policies.keda import Keda
from penstock_lab.simulate.policies.registry import build
from penstock_lab.simulate.score import Objectives
from penstock_lab.simulate.scrapes import SIGNALS, Health
from penstock_lab.simulate.state import Counter, Requests
from penstock_lab.simulate.view import observation, view
from penstock_lab.simulate.world import Run, Setting, World
from penstock_operator.core.ports import Unavailable
from penstock_operator.core.scaling.types import Signal, SignalState

PROFILE = load_profile("llama70b-fp8-tp4-h100")
OBJECTIVES = Objectives()
START, END = 100.0, 250.0


class Watched:
    """A fixed count that keeps what it was shown, by time."""

    name, period_seconds = "watched", 5.0

    def __init__(self, count: int = 4) -> None:
        self.count = count
        self.seen: dict[float, Glance] = {}

    def desired(self, glance: Glance) -> int:
        self.seen[glance.now] = glance
        return self.count


def steady(rate: float = 8.0, seconds: float = 400.0) -> Requests:
    dice = np.random.default_rng(1)
    arrival = np.sort(dice.uniform(0, seconds, dice.poisson(rate * seconds)))
    return Requests.of(arrival, np.full(len(arrival), 1000), np.full(len(arrival), 200))


def under(*wrong: Fault, count: int = 4, **setting: object) -> tuple[dict[float, Glance], Run]:
    policy = Watched(count)
    base: dict[str, object] = {"startup_seconds": 30.0, "initial_replicas": count, "max_replicas": 10}
    done = World(steady(), Setting(PROFILE, faults=wrong, **(base | setting)), policy).run()  # type: ignore[arg-type] # a test's shorthand
    return policy.seen, done


@pytest.fixture(scope="module")
def well() -> dict[float, Glance]:
    return under()[0]


def states(glance: Glance) -> set[SignalState]:
    seen = observation(glance)
    return {seen.waiting.state, seen.running.state, seen.generated_tokens.state, seen.finished.state}


@pytest.mark.parametrize(
    ("kind", "health", "state"),
    [
        (Kind.SOURCE_DOWN, Health.ERROR, SignalState.ABSENT),
        (Kind.EMPTY, Health.EMPTY, SignalState.ABSENT),
        (Kind.FROZEN, Health.STALE, SignalState.STALE),
    ],
)
def test_a_source_that_is_away_is_told_from_one_that_shows_old_values(
    well: dict[float, Glance], kind: Kind, health: Health, state: SignalState
) -> None:
    seen, _ = under(Fault(kind, START, END))
    assert states(seen[95.0]) == states(seen[START - 5]) == {SignalState.FRESH}
    assert {seen[200.0].health(name) for name in SIGNALS} == {health}
    assert states(seen[200.0]) == {state}
    assert isinstance(view(seen[200.0]).answers["reporting"], Unavailable) == (kind is Kind.SOURCE_DOWN)
    assert seen[200.0].door == well[200.0].door, "the gateways are asked by another way"
    assert states(seen[350.0]) == {SignalState.FRESH}
    assert seen[350.0].scraped.rates == pytest.approx(well[350.0].scraped.rates)
    if kind is Kind.FROZEN:
        assert seen[200.0].scraped.rates == pytest.approx(well[START - 5].scraped.rates)


def test_after_missed_scrapes_rates_end_before_gauges_do(well: dict[float, Glance]) -> None:
    seen, _ = under(Fault(Kind.GAP, START, END))
    assert seen[140.0].scraped.rates[Counter.ARRIVED] > 0
    assert seen[200.0].health("arrivals") is Health.EMPTY
    assert seen[200.0].health("waiting") is Health.STALE
    assert seen[END + 10].health("arrivals") is Health.EMPTY, "one sample is no rate"
    assert seen[END + 30].health("arrivals") is Health.FRESH
    assert seen[END + 90].scraped.rates == pytest.approx(well[END + 90].scraped.rates)


def test_pods_that_are_not_scraped_are_not_counted() -> None:
    seen, _ = under(Fault(Kind.PARTIAL, START, END, share=0.5))
    assert seen[95.0].scraped.reporting == 4
    assert seen[200.0].scraped.reporting == observation(seen[200.0]).reporting.value == 2
    assert len(seen[200.0].pages) == 2
    assert seen[200.0].ready == 4
    assert seen[200.0].scraped.rates[Counter.ARRIVED] < 0.8 * seen[95.0].scraped.rates[Counter.ARRIVED]
    assert seen[350.0].scraped.reporting == 4


def test_a_counter_that_begins_again_is_no_negative_rate(well: dict[float, Glance]) -> None:
    seen, _ = under(Fault(Kind.RESET, START, END))
    low, usual = seen[110.0].scraped.rates[Counter.ARRIVED], well[110.0].scraped.rates[Counter.ARRIVED]
    assert 0.6 * usual < low < usual, "what came between the last scrape and the reset is lost"
    assert seen[200.0].scraped.rates == pytest.approx(well[200.0].scraped.rates)


@pytest.mark.parametrize("name", SIGNALS)
def test_one_signal_alone_can_be_missing_or_wrong(well: dict[float, Glance], name: str) -> None:
    seen, _ = under(
        Fault(Kind.EMPTY, 50.0, 100.0, (name,)),
        Fault(Kind.NEGATIVE, 100.0, 150.0, (name,)),
        Fault(Kind.ZERO, 150.0, 200.0, (name,)),
    )
    answers = view(seen[75.0]).answers
    assert answers[name] == {}
    assert {other for other in SIGNALS if not answers[other]} == {name}
    negative, zero = (next(iter(dict(view(seen[at]).answers[name]).values())) for at in (125.0, 175.0))  # type: ignore[arg-type] # these answer
    assert negative == -1.0
    assert zero == 0.0
    if name == "waiting":
        assert [observation(seen[at]).waiting.state for at in (75.0, 125.0, 250.0)] == [
            SignalState.ABSENT, SignalState.CONTRADICTORY, SignalState.FRESH,
        ]  # fmt: skip
    assert view(seen[250.0]).answers == view(well[250.0]).answers


def test_gateways_that_do_not_answer_leave_no_zero() -> None:
    seen, _ = under(Fault(Kind.DOOR_DOWN, START, END), Fault(Kind.ZERO, END, 300.0, (DOOR,)))
    silent = observation(seen[200.0])
    assert silent.held is not None
    assert silent.held.state is SignalState.ABSENT
    assert silent.arrivals.value == pytest.approx(seen[200.0].scraped.rates[Counter.ARRIVED])
    assert observation(seen[270.0]).held == Signal(SignalState.FRESH, 0.0, 270.0)
    assert seen[310.0].door.in_flight > 0


def test_an_operator_that_starts_again_knows_nothing() -> None:
    policy = Watched()
    World(steady(), Setting(PROFILE, initial_replicas=4, faults=(Fault(Kind.RESTART, START, 130.0),)), policy).run()
    assert max(policy.seen) == 95.0, "the policy of before is not asked again"


def test_pods_that_crash_or_go_take_their_requests_along_and_come_back() -> None:
    seen, done = under(Fault(Kind.CRASH, START, END, count=2))
    lost = ~np.isfinite(done.finish)
    assert 0 < lost.sum() < 40
    assert seen[120.0].ready == 2
    assert seen[120.0].starting == 2
    assert seen[180.0].ready == 4
    assert [pod.number for pod in done.pods] == [1, 2, 3, 4], "the same pods"
    seen, done = under(Fault(Kind.NODE_LOSS, START, END, count=2))
    assert seen[120.0].ready == 2
    assert seen[180.0].ready == 4
    assert len(done.pods) == 6
    assert done.killed == 0, "that counts what a scale-down takes along"


@pytest.mark.parametrize(("kind", "unschedulable"), [(Kind.QUOTA, 2), (Kind.NO_STARTUP, 0)])
def test_replacements_wait_while_they_cannot_start(kind: Kind, unschedulable: int) -> None:
    seen, _ = under(Fault(Kind.NODE_LOSS, START, 101.0, count=2), Fault(kind, START, END))
    assert seen[240.0].ready == 2
    assert seen[240.0].unschedulable == unschedulable
    assert len(seen[240.0].starting_ages) == 2 - unschedulable
    assert seen[300.0].ready == 4


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ((Kind.GAP, 5.0, 5.0), "end after"),
        ((Kind.EMPTY, 0.0, 5.0, ("nothing",)), "no signal nothing; there are arrivals"),
        ((Kind.CRASH, 0.0, 5.0, ("waiting",)), "about all signals"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(fault: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fault(*fault)  # type: ignore[arg-type] # wrong on purpose


def test_rivals_read_what_is_missing_as_upstream_does() -> None:
    hpa, keda = (faults.as_read(policy) for policy in (HorizontalPodAutoscaler(target=4.0), Keda()))
    gone, _ = under(Fault(Kind.EMPTY, START, END))
    down, _ = under(Fault(Kind.SOURCE_DOWN, START, END))
    assert hpa.desired(gone[200.0]) == hpa.desired(down[200.0]) == keda.desired(down[200.0]) == 4, "they hold"
    assert faults.as_read(Watched()).name == "watched"


@pytest.fixture(scope="module")
def bench() -> faults.Bench:
    return faults.bench(PROFILE, OBJECTIVES, replicas=6.0)


def test_ours_never_shrinks_under_a_fault(bench: faults.Bench) -> None:
    def ours() -> Policy:
        return build("penstock", profile=PROFILE, objectives=OBJECTIVES, minimum=1, maximum=24)

    found = list(faults.matrix(ours, bench))
    assert len(found) == len(list(faults.cases())) > 50
    assert {one.case: one.lowest for one in found if one.wrong} == {}
    assert {one.case for one in found if one.resumed_seconds is None} == set()


def test_the_matrix_sees_a_policy_that_takes_nothing_for_zero(bench: faults.Bench) -> None:
    gone = faults.Case("gone", (Fault(Kind.EMPTY, faults.BEGINS, faults.BEGINS + faults.LASTS),))
    found = faults.matrix(lambda: Keda(target=1.0), bench, of=[gone])
    assert [one.wrong > 10 for one in found] == [True]
