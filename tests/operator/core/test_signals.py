import pytest

from penstock_operator.core.ports import Sample, Unavailable
from penstock_operator.core.scaling.signals import View, by_service, generated, queries, reporting, signal
from penstock_operator.core.scaling.types import SignalState

KEY = ("team-a", "chat")


def view(**changes: object) -> View:
    answers: dict[str, object] = {kind: {KEY: 3.0} for kind in queries(4.0)}
    answers["age"] = {KEY: 1.0}
    return View(answers=answers | changes, now=1000.0, window_seconds=4.0)  # type: ignore[arg-type]


def test_every_query_is_asked_once_for_all_services() -> None:
    texts = queries(60.0)
    assert all("by (namespace, inferenceservice)" in text for text in texts.values())
    assert "[60s]" in texts["arrivals"]
    assert "team-a" not in "".join(texts.values())


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, SignalState.FRESH),
        ({"age": {KEY: 5.0}}, SignalState.STALE),
        ({"waiting": {}}, SignalState.ABSENT),
        ({"age": {}}, SignalState.ABSENT),
        ({"waiting": Unavailable("down")}, SignalState.ABSENT),
        ({"age": Unavailable("down")}, SignalState.ABSENT),
        ({"waiting": {KEY: -1.0}}, SignalState.CONTRADICTORY),
    ],
    ids=["fresh", "old", "empty", "no scrape", "query failed", "age failed", "negative"],
)
def test_states(changes: dict[str, object], state: SignalState) -> None:
    assert signal(view(**changes), "waiting", KEY).state is state


def test_the_time_of_a_signal_is_that_of_its_sample() -> None:
    assert signal(view(), "waiting", KEY).observed_at == 999.0


def test_requests_that_run_without_a_token_contradict() -> None:
    long_prompt = view(generated_tokens={KEY: 0.0}, finished={KEY: 0.0})
    assert generated(long_prompt, KEY, running=signal(long_prompt, "running", KEY)).state is SignalState.FRESH
    seen = view(generated_tokens={KEY: 0.0}, steps={KEY: 0.0})
    assert generated(seen, KEY, running=signal(seen, "running", KEY)).state is SignalState.CONTRADICTORY
    answered = view(generated_tokens={KEY: 0.0})
    assert generated(answered, KEY, running=signal(answered, "running", KEY)).state is SignalState.CONTRADICTORY
    idle = view(generated_tokens={KEY: 0.0}, running={KEY: 0.0}, finished={KEY: 0.0})
    assert generated(idle, KEY, running=signal(idle, "running", KEY)).state is SignalState.FRESH


def test_reporting_counts_none_when_answered_and_is_absent_when_not() -> None:
    assert reporting(view(reporting={}), KEY).value == 0
    assert reporting(view(reporting=Unavailable("down")), KEY).state is SignalState.ABSENT


def test_only_samples_of_services_count() -> None:
    samples = (
        Sample({"namespace": "team-a", "inferenceservice": "chat"}, 2.0),
        Sample({"namespace": "team-a"}, 5.0),
        Sample({"inferenceservice": "chat"}, 5.0),
    )
    assert by_service(samples) == {KEY: 2.0}
    assert isinstance(by_service(Unavailable("x")), Unavailable)


def test_the_source_failed_only_when_every_query_did() -> None:
    assert view().error is None
    assert view(waiting=Unavailable("slow")).error is None
    assert View(answers=dict.fromkeys(queries(4.0), Unavailable("down")), now=0.0).error == "down"
