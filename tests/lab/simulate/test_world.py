"""Runs of the whole world: replicas come and go by the operator's own hands, and no request is lost by it."""

import numpy as np
import pytest

from penstock_contract.profile import load_profile
from penstock_lab.simulate.policies import Policy
from penstock_lab.simulate.policies.base import Glance
from penstock_lab.simulate.policies.hpa import HorizontalPodAutoscaler
from penstock_lab.simulate.policies.keda import Keda
from penstock_lab.simulate.policies.penstock import Penstock
from penstock_lab.simulate.policies.static import Static
from penstock_lab.simulate.score import Objectives, met, score
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Run, Setting, World
from penstock_operator.core.scaling import Policy as Terms

PROFILE = load_profile("llama8b-bf16-tp1-h100")
OBJECTIVES = Objectives(ttft_seconds=2.0, tpot_seconds=0.05)


def steps(*rates: float, seconds: float = 600.0, seed: int = 1) -> Requests:
    dice = np.random.default_rng(seed)
    arrival = np.concatenate(
        [
            number * seconds + np.sort(dice.uniform(0, seconds, dice.poisson(rate * seconds)))
            for number, rate in enumerate(rates)
        ]
    )
    prompt = np.clip(dice.lognormal(6.0, 0.6, len(arrival)), 1, 6000)
    return Requests.of(arrival, prompt, np.clip(dice.lognormal(5.0, 0.5, len(arrival)), 1, 1500))


def run(policy: Policy, requests: Requests, **setting: object) -> Run:
    base: dict[str, object] = {"startup_seconds": 30.0, "initial_replicas": 1, "max_replicas": 20}
    return World(requests, Setting(PROFILE, **(base | setting)), policy).run()  # type: ignore[arg-type]


def ours(**changes: object) -> Penstock:
    base: dict[str, object] = {"min_replicas": 1, "max_replicas": 20, "target_tokens_per_second": 2500.0}
    return Penstock(Terms(**(base | changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "policy", [ours(), HorizontalPodAutoscaler(target=50), Keda(), Static(3)], ids=lambda one: one.name
)
def test_every_policy_is_carried_out_without_losing_a_request(policy: Policy) -> None:
    requests = steps(10, 60, 5)
    done = run(policy, requests)
    assert np.isfinite(done.finish).all()
    assert done.killed == 0
    assert np.all(done.first >= requests.arrival)
    figures = score(done, PROFILE, OBJECTIVES)
    assert figures.requests == len(requests)
    assert 0 <= figures.attainment <= figures.ttft_attainment <= 1
    assert figures.gpu_hours == pytest.approx(
        sum((pod.deleted or done.end) - pod.scheduled for pod in done.pods if pod.scheduled is not None) / 3600
    )


def test_ours_follows_the_load_up_and_down() -> None:
    done = run(ours(), steps(5, 60, 5))
    asked = [(point[0], point[1]) for point in done.points]
    assert max(count for at, count in asked if at < 600) <= 2
    assert max(count for at, count in asked if 600 <= at < 1200) >= 4
    assert [count for at, count in asked if at < 1800][-1] <= 2
    assert (
        score(done, PROFILE, OBJECTIVES).attainment
        > score(run(Static(1), steps(5, 60, 5)), PROFILE, OBJECTIVES).attainment
    )


def test_a_pod_holds_its_accelerators_from_scheduled_to_deleted() -> None:
    requests = steps(1.0, seconds=300)
    done = run(Static(4), requests, initial_replicas=4, startup_seconds=60)
    assert done.accelerator_seconds == pytest.approx(4 * done.end)
    scarce = run(Static(8), requests, most_scheduled=2)
    assert sum(pod.scheduled is not None for pod in scarce.pods) == 2
    assert scarce.accelerator_seconds < 2 * scarce.end + 1


def test_from_zero_requests_wait_for_a_pod() -> None:
    requests = Requests.of([5.0, 400.0, 410.0], [100, 100, 100], [50, 50, 50])
    done = run(
        ours(min_replicas=0, idle_seconds=60.0), requests, initial_replicas=0, startup_seconds=20, startup_cv=0.0
    )
    assert np.isfinite(done.finish).all()
    waited = done.first - requests.arrival
    assert waited[0] >= 20
    assert waited[1] >= 20, "it was at zero again"
    assert waited[2] >= 10, "the pod was on its way"


def test_a_client_that_waits_too_long_counts_as_failed() -> None:
    done = run(Static(0), steps(1.0, seconds=60), initial_replicas=0, request_timeout_seconds=30.0)
    assert np.isinf(done.finish).all()
    assert score(done, PROFILE, OBJECTIVES).attainment == 0.0


def test_the_same_seed_gives_the_same_run() -> None:
    one, two = (run(ours(), steps(5, 40, 5), seed=3) for _ in range(2))
    assert np.array_equal(one.finish, two.finish)
    assert one.accelerator_seconds == two.accelerator_seconds
    other = run(ours(), steps(5, 40, 5), seed=4)
    assert not np.array_equal(other.finish, one.finish)


class Watched:
    """A fixed count that keeps what it was shown."""

    name, period_seconds = "watched", 5.0

    def __init__(self, count: int) -> None:
        self.count = count
        self.glances: list[Glance] = []

    def desired(self, glance: Glance) -> int:
        self.glances.append(glance)
        return self.count


@pytest.mark.parametrize("timeout", [None, 3.0])
def test_the_gateways_count_what_met_and_missed_the_objectives(timeout: float | None) -> None:
    policy, requests = Watched(1), steps(90.0, seconds=60)
    done = run(policy, requests, request_timeout_seconds=timeout, tpot_seconds=0.018)
    ttft, tpot, _ = met(done, Objectives(2.0, 0.018))
    counted = (requests.output >= 16) | ~np.isfinite(done.finish)
    shown = {name: (good, bad) for name, good, bad in done.objectives}
    assert shown == {
        "TTFT": (ttft.sum(), (~ttft).sum()),
        "TPOT": ((tpot & counted).sum(), (~tpot & counted).sum()),
    }
    assert min(bad for _, bad in shown.values()) > 10
    assert min(good for good, _ in shown.values()) > 10
    assert np.isfinite(done.finish).all() == (timeout is None)
    totals = [sum(good + bad for _, good, bad in glance.door.objectives) for glance in policy.glances]
    assert totals == sorted(totals)
    assert totals[3] < totals[10] <= totals[-1]


def test_a_policy_sees_how_long_pods_are_on_their_way() -> None:
    policy = Watched(4)
    run(policy, steps(1.0, seconds=200), startup_seconds=60.0, startup_cv=0.0, most_scheduled=3)
    ages = {glance.now: glance.starting_ages for glance in policy.glances}
    assert ages[0.0] == ()
    assert ages[30.0] == (30.0, 30.0), "the fourth has no accelerators"
    assert ages[70.0] == ()
    assert policy.glances[2].startup_p50 is None
    last = policy.glances[-1]
    assert (last.startup_p50, last.startup_seconds) == (pytest.approx(60.0), pytest.approx(60.0))
