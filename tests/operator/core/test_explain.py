"""`penstock explain` in words."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core.explain import WIDTH, lines, obstacles

SERVICE: dict[str, Any] = {
    "namespace": "demo",
    "name": "chat",
    "model": "chat",
    "engine": "Penstock",
    "mode": "Auto",
    "emulated": None,
    "replicas": {
        "desired": 4, "asked": 4, "ready": 3, "starting": 1, "draining": 0, "unschedulable": 0, "min": 1, "max": 6,
    },
    "load": {
        "offered_requests_per_second": 15.2, "offered_tokens_per_second": 970.0, "served_tokens_per_second": 610.0,
        "tokens_per_request": 63.8, "running": 31, "waiting": 4, "held": 2, "in_flight": 37,
    },
    "capacity": {"tokens_per_second_per_replica": 250.0, "source": "Target"},
    "needed_replicas": 3.95,
    "predictions": [
        {"replicas": 3, "utilisation": 1.32, "attainment": None},
        {"replicas": 4, "utilisation": 0.99, "attainment": 0.994},
    ],
    "objectives": [
        {
            "metric": "TTFT", "percentile": "99", "threshold_seconds": 2.0, "window_seconds": 3600,
            "value_seconds": 1.31, "attainment": 0.993, "error_budget_left": 0.3,
        },
        {
            "metric": "TPOT", "percentile": "99", "threshold_seconds": 0.05, "window_seconds": 3600,
            "value_seconds": None, "attainment": None, "error_budget_left": None,
            "why_unknown": "no request in the window",
        },
    ],
    "signals": [{"name": "Arrivals", "state": "Fresh", "value": 15.2, "age_seconds": 1.2, "detail": ""}],
    "cost": {"per_hour": 7.5, "per_million_tokens": 3.4, "currency": "USD"},
    "decision": {
        "at": 1795250000, "replicas": 4, "act": True, "reason": "OfferedLoad", "limited_by": "None",
        "message": "15.20 req/s x 63.8 tokens = 970 tok/s offered; one replica carries 250 tok/s; 3.95 needed",
    },
    "decisions": [{"at": 1795250000, "from": 3, "to": 4, "reason": "OfferedLoad", "message": "970 tok/s offered"}],
    "history": [],
    "conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "message": "accepted and available"}],
}  # fmt: skip


def changed(**parts: Any) -> dict[str, Any]:
    made = copy.deepcopy(SERVICE)
    for name, part in parts.items():
        made[name] = made[name] | part if isinstance(part, dict) and isinstance(made[name], dict) else part
    return made


def test_it_reads_from_the_state_to_the_reasons() -> None:
    assert lines(SERVICE) == [
        "demo/chat: 3 replicas ready, 4 wanted",
        "  model chat, engine Penstock, mode Auto, 1 to 6 replicas",
        "  1 starting",
        "",
        "Why",
        "  OfferedLoad: 15.20 req/s x 63.8 tokens = 970 tok/s offered; one replica carries 250 tok/s; 3.95",
        "      needed",
        "",
        "Demand",
        "  offered       15.20 requests/s x 63.8 tokens = 970 tok/s",
        "  served        610 tok/s (saturates, so it asks for nothing)",
        "  one replica   250 tok/s (spec.scaling.targets.tokensPerSecond)",
        "  needed        3.88 replicas for the flow + 0.07 to work off the queue = 3.95",
        "  requests      31 running, 4 waiting in workers, 2 held at gateways",
        "",
        "What other counts would mean",
        "  replicas     busy  predicted share in the SLA",
        "         3    132 %  no model yet",
        "         4     99 %  99.40 %  <- decided",
        "",
        "What holds it back",
        "  nothing",
        "",
        "Objectives",
        "  TTFT p99        1.31 s of 2.00 s, 99.30 % met in 60 min, error budget 30.0 % left",
        "  TPOT p99        at most 50 ms: no request in the window",
        "",
        "Signals",
        "  Arrivals          Fresh                15.2  1.2 s old",
        "",
        "Cost",
        "  7.50 USD per hour, 3.40 per million generated tokens",
        "",
        "Last decisions",
        "  08:33:20Z  3 -> 4  OfferedLoad: 970 tok/s offered",
        "",
        "Conditions",
        "  Ready            True      Ready",
    ]


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"decision": {"limited_by": "Max"}}, "maxReplicas is reached"),
        ({"decision": {"limited_by": "Budget"}}, "pays for no more"),
        ({"decision": {"limited_by": "Quota"}}, "no node has room"),
        ({"decision": {"reason": "Stabilizing"}}, "must be right for a while"),
        ({"replicas": {"failing": 1}}, "1 replicas fail: they crash"),
        ({"replicas": {"unschedulable": 2}}, "2 replicas find no node with room"),
        ({"replicas": {"draining": 1}}, "1 replicas drain"),
        (
            {"signals": [{"name": "Waiting", "state": "Stale", "value": 1, "age_seconds": 90, "detail": "90 s old"}]},
            "signal Waiting is Stale (90 s old)",
        ),
        (
            {"conditions": [{"type": "ScalingActive", "status": "False", "reason": "ForeignScaler", "message": "HPA"}]},
            "ScalingActive is False (ForeignScaler): HPA",
        ),
        (
            {"conditions": [{"type": "ScalingActive", "status": "False", "reason": "Paused", "message": "held"}]},
            "ScalingActive is False (Paused): held",
        ),
        (
            {"conditions": [{"type": "ScalingLimited", "status": "True", "reason": "BudgetCap", "message": "80"}]},
            "ScalingLimited is True (BudgetCap): 80",
        ),
    ],
)  # fmt: skip
def test_what_holds_it_back(part: dict[str, Any], says: str) -> None:
    assert any(says in line for line in obstacles(changed(**part)))


def test_a_metrics_source_that_is_away_holds_it_back() -> None:
    assert obstacles(SERVICE, source_detail="Prometheus cannot be reached")[0].startswith("metrics source: Prometheus")
    standing_in = {"type": "ScalingActive", "status": "True", "reason": "SignalsFromPods", "message": "gone"}
    asked = obstacles(SERVICE | {"conditions": [standing_in]}, source_detail="Prometheus cannot be reached")
    assert "metrics source: Prometheus cannot be reached; the workers are asked themselves" in asked


def test_what_is_not_known_is_not_invented() -> None:
    empty = changed(load=dict.fromkeys(SERVICE["load"]), predictions=[], signals=[], cost=None, decisions=[])
    text = "\n".join(lines(empty | {"decision": None, "objectives": [], "needed_replicas": None}))
    assert "nothing was decided yet" in text
    for title in ("Demand", "Objectives", "Signals", "Cost", "Last decisions"):
        assert f"\n{title}\n" not in text
    assert "spec.replicas fixes the count" in "\n".join(lines(empty | {"decision": None, "mode": "Manual"}))
    unlearned = changed(capacity={"tokens_per_second_per_replica": None, "source": "Unknown"}, needed_replicas=None)
    assert "one replica   not known" in "\n".join(lines(unlearned))


def test_it_says_aloud_what_is_emulated_and_what_is_old() -> None:
    text = lines(changed(emulated="h200"), stale="The operator does not answer")
    assert "  EMULATED device h200: its speed is that of a model, not of an accelerator" in text
    assert "  The operator does not answer" in text
    advised = changed(decision={"act": False})
    assert any("OfferedLoad, not carried out:" in line for line in lines(advised))


def test_a_spec_that_cannot_be_read_has_no_mode() -> None:
    text = "\n".join(lines(changed(mode="") | {"decision": None}))
    assert "mode not known" in text
    assert "the spec cannot be read" in text
    assert "spec.replicas fixes" not in text


def test_advice_is_not_told_as_a_change() -> None:
    advised = changed(decisions=[SERVICE["decisions"][0] | {"act": False}])
    assert "  08:33:20Z  3 -> 4 (advised only)  OfferedLoad: 970 tok/s offered" in lines(advised)


def test_without_any_model_no_share_is_told() -> None:
    text = lines(changed(predictions=[row | {"attainment": None} for row in SERVICE["predictions"]]))
    assert "  replicas     busy" in text
    assert "         4     99 %  <- decided" in text


@pytest.mark.parametrize(
    ("left", "value", "says", "refused"),
    [
        (-83.849, 1.2, "error budget spent 85 times over", True),
        (-0.5, 2.5, "error budget spent 1.5 times over", False),
        (0.0, 1.2, "error budget 0.0 % left", False),
    ],
)
def test_a_budget_that_is_overspent(left: float, value: float, says: str, refused: bool) -> None:
    one = SERVICE["objectives"][0] | {"error_budget_left": left, "value_seconds": value, "attainment": 0.9}
    text = "\n".join(lines(changed(objectives=[one])))
    assert says in text
    assert ("refused and failed requests are among the missed ones" in text) == refused


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.just(" "), max_size=400))
def test_it_fits_the_terminal(message: str) -> None:
    text = lines(changed(decision={"message": message}), stale=message)
    assert max(len(line) for line in text) <= WIDTH


@pytest.mark.parametrize(("seconds", "words"), [(5.0, "5.0 s"), (60.0, "60 s"), (600.0, "10 min"), (7200.0, "2 h")])
def test_ages(seconds: float, words: str) -> None:
    signal = SERVICE["signals"][0] | {"age_seconds": seconds}
    assert any(f"{words} old" in line for line in lines(changed(signals=[signal])))
