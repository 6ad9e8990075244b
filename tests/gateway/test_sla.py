"""Which requests meet or miss which objectives, as arithmetic and as a client causes them."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_world import SERVICES, eventually
from penstock_contract import names
from penstock_gateway.sla import (
    End,
    Objective,
    Timings,
    longest_wait,
    objectives,
    seconds_per_token,
    tightest,
    verdicts,
)

FAST = Timings(ttft=0.1, tpot=0.01, queue_wait=0.05, e2e=1.0)
ALL = [Objective(metric, "99", 0.5) for metric in names.OBJECTIVE_METRICS]


def judge(timings: Timings, end: End, aims=ALL) -> dict[str, bool]:
    return {aim.metric: met for aim, met in verdicts(aims, timings, end)}


def test_an_answer_is_judged_by_every_duration_that_is_known():
    assert judge(FAST, End.ANSWERED) == {"TTFT": True, "TPOT": True, "QueueWait": True, "E2E": False}
    assert judge(Timings(None, None, None, 0.2), End.ANSWERED) == {"E2E": True}


def test_tokens_keep_to_the_tightest_objective_and_waits_are_late_by_the_loosest():
    """Who misses the median's bound on the first token may still keep the ninety-ninth's."""
    aims = [Objective("TTFT", "50", 0.2), Objective("TTFT", "99", 2.0), Objective("TPOT", "50", 0.03)]
    aims += [Objective("TPOT", "99", 0.06), Objective("E2E", "99", 30.0)]
    assert (tightest(aims, "TPOT", "ITL"), longest_wait(aims)) == (0.03, 2.0)
    assert (tightest(aims[4:], "TPOT"), longest_wait(aims[4:])) == (None, None)


def test_on_the_threshold_is_met():
    assert judge(Timings(0.5, 0.5, 0.5, 0.5), End.ANSWERED) == dict.fromkeys(["TTFT", "TPOT", "QueueWait", "E2E"], True)


def test_a_failure_misses_all_and_an_excuse_says_nothing():
    assert judge(FAST, End.FAILED) == dict.fromkeys(["TTFT", "TPOT", "QueueWait", "E2E"], False)
    assert judge(FAST, End.EXCUSED) == {}


def test_who_leaves_counts_for_what_was_decided():
    assert judge(Timings(None, None, None, 0.4), End.ABANDONED) == {}
    assert judge(Timings(None, None, None, 0.6), End.ABANDONED) == {"TTFT": False, "QueueWait": False, "E2E": False}
    assert judge(Timings(0.1, None, 0.1, 0.6), End.ABANDONED) == {"TTFT": True, "QueueWait": True, "E2E": False}
    assert judge(Timings(0.1, None, 0.1, 0.2), End.ABANDONED) == {"TTFT": True, "QueueWait": True}
    assert judge(Timings(0.1, None, None, 9.0), End.ABANDONED) == {"TTFT": True, "E2E": False}, "its wait is not told"


@given(st.floats(0, 10), st.floats(0, 10), st.sampled_from(End))
def test_more_time_never_turns_missed_into_met(one, more, end):
    def at(seconds: float) -> dict[str, bool]:
        return judge(Timings(seconds, seconds, seconds, seconds), end)

    sooner, later = at(one), at(one + more)
    assert all(sooner[metric] or not met for metric, met in later.items() if metric in sooner)


def test_objectives_come_from_the_resource():
    spec = {
        "sla": {
            "objectives": [
                {"metric": "TTFT", "percentile": 99, "thresholdMilliseconds": 2000},
                {"metric": "E2E", "percentile": "99.9", "thresholdMilliseconds": 1},
            ]
        }
    }
    assert objectives(spec) == (Objective("TTFT", "99", 2.0), Objective("E2E", "99.9", 0.001))
    assert objectives({}) == objectives({"sla": {}}) == ()


def test_tpot_is_defined_from_sixteen_tokens_on():
    assert seconds_per_token(1.0, 2.5, 16) == pytest.approx(0.1)
    assert seconds_per_token(1.0, 2.5, 15) is None


OBJECTIVES = [
    {"metric": metric, "percentile": percentile, "thresholdMilliseconds": milliseconds}
    for metric in names.OBJECTIVE_METRICS
    for percentile, milliseconds in ((90, 1), ("99.9", 60_000))
]
SLA = {"objectives": OBJECTIVES[:8]}  # all but E2E, which has its own below
ITL = [one for one in OBJECTIVES if one["metric"] == "ITL"]


async def counted(world, service) -> dict[tuple[str, str], tuple[float, float]]:
    """(met, missed) by metric and percentile."""
    found: dict[tuple[str, str], list[float]] = {}
    samples = await world.scrape(world.gateway.admin_url)
    for (name, labels), value in samples.items():
        one = dict(labels)
        if name == "penstock_gateway_objective_total" and one[names.LABEL_SERVICE] == service:
            place = 0 if one["result"] == "met" else 1
            found.setdefault((one["metric"], one["percentile"]), [0, 0])[place] = value
    return {key: (value[0], value[1]) for key, value in found.items()}


async def count(world, service, name) -> float:
    return await world.metric(service, f"{name}_count")


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_of_our_worker(world, stream):
    """20 ms steps: every duration is over a millisecond but the wait in an idle engine, and below a minute."""
    service, _workers = await world.serving(sla=SLA)
    assert await counted(world, service) == {
        (metric, percentile): (0, 0) for metric in ("TTFT", "TPOT", "QueueWait") for percentile in ("90", "99.9")
    }
    assert (await world.ask(service, tokens=20, stream=stream))[0] == 200
    result = await counted(world, service)
    assert result["TTFT", "90"] == result["TPOT", "90"] == (0, 1)
    assert result["TTFT", "99.9"] == result["TPOT", "99.9"] == result["QueueWait", "99.9"] == (1, 0)
    assert sum(result["QueueWait", "90"]) == 1
    assert (await world.ask(service, tokens=15, stream=stream))[0] == 200
    result = await counted(world, service)
    assert result["TTFT", "99.9"] == result["QueueWait", "99.9"] == (2, 0)
    assert result["TPOT", "99.9"] == (1, 0), "15 tokens have no pace"
    for name in ("time_to_first_token_seconds", "queue_wait_seconds", "e2e_seconds"):
        assert await count(world, service, name) == 2
    assert await count(world, service, "time_per_output_token_seconds") == 1
    pace = await world.metric(service, "time_per_output_token_seconds_sum")
    assert 0.015 < pace < 0.2, "of 20 ms steps"


async def test_held_time_is_the_clients_time(world):
    sla = {
        "objectives": [
            {"metric": name, "percentile": 99, "thresholdMilliseconds": 700} for name in ("TTFT", "QueueWait", "E2E")
        ]
    }
    service = await world.service(sla=sla)
    asked = [asyncio.create_task(world.ask(service, tokens=2, stream=stream)) for stream in (True, False)]

    async def old() -> bool:
        return (await world.demand(service))["oldest_held_seconds"] > 0.8 and (await world.demand(service))["held"] == 2

    await eventually(old, "held for a while")
    worker = await world.worker()
    await world.pod(service, worker.address)
    assert [status for status, _answer in await asyncio.gather(*asked)] == [200, 200]
    assert set((await counted(world, service)).values()) == {(0, 2)}
    assert await world.of_worker(worker, "time_to_first_token_seconds_sum") < 0.7
    assert await world.metric(service, "queue_wait_seconds_sum") > 2 * 0.7


async def test_refused_and_failed_miss_everything_and_the_clients_mistakes_nothing(world):
    service = await world.service(sla=SLA, routing={"maxHeldRequests": 0})
    assert (await world.ask(service))[0] == 429
    missed = dict.fromkeys([(m, p) for m in ("TTFT", "TPOT", "QueueWait") for p in ("90", "99.9")], (0, 1))
    assert await counted(world, service) == missed

    service = await world.service(sla=SLA, routing={"holdTimeoutSeconds": 1})
    assert (await world.ask(service))[0] == 503
    assert await counted(world, service) == missed

    service, (worker,) = await world.serving(sla=SLA)
    assert (await world.ask(service, temperature=-1))[0] == 400
    assert set((await counted(world, service)).values()) == {(0, 0)}
    async with world.post(service, tokens=400, stream=True) as response:
        await response.content.readuntil(b"\n\n")
        worker.kill()
        await asyncio.gather(response.read(), return_exceptions=True)
    assert await counted(world, service) == missed
    for name in ("time_to_first_token_seconds", "queue_wait_seconds", "e2e_seconds"):
        assert await count(world, service, name) == 0


async def test_who_gives_up_counts_for_what_was_decided(world):
    service = await world.service(sla=SLA)
    asked = asyncio.create_task(world.ask(service))
    await world.held(service, 1)

    async def old() -> bool:
        return bool((await world.demand(service))["oldest_held_seconds"] > 0.002)

    await eventually(old, "a moment")
    asked.cancel()
    await world.held(service, 0)
    result = await counted(world, service)
    assert result["TTFT", "90"] == result["QueueWait", "90"] == (0, 1)
    assert result["TTFT", "99.9"] == result["QueueWait", "99.9"] == result["TPOT", "90"] == (0, 0)


async def test_of_other_engines_streams_and_totals_are_judged(world, odd_worker):
    """No header tells a duration: the queue of the engine is unknown, and so is everything inside a whole reply."""

    async def answer(call):
        if b'"stream": true' not in call.body:
            await call.reply(b'{"usage":{"completion_tokens":20}}')
            return
        await call.stream(end=False)
        for piece in [b'data: {"choices":[{"text":"x"}]}\n\n'] * 20 + [b"data: [DONE]\n\n", b""]:
            await asyncio.sleep(0.005)
            await call.chunk(piece)

    service, _server = await odd_worker(answer, sla={"objectives": [one for one in OBJECTIVES if one not in ITL]})
    assert (await world.ask(service))[0] == 200
    assert {key for key, value in (await counted(world, service)).items() if value != (0, 0)} == {
        ("E2E", "90"),
        ("E2E", "99.9"),
    }
    assert (await world.ask(service, stream=True))[0] == 200
    result = await counted(world, service)
    assert result["TTFT", "90"] == result["TPOT", "90"] == (0, 1)
    assert result["TTFT", "99.9"] == result["TPOT", "99.9"] == (1, 0)
    assert result["QueueWait", "99.9"] == result["QueueWait", "90"] == (0, 0)
    assert result["E2E", "99.9"] == (2, 0)


async def test_counts_of_objectives_that_stay_are_kept(world):
    service, _workers = await world.serving(sla={"objectives": OBJECTIVES[8:]})
    assert (await world.ask(service))[0] == 200
    assert await counted(world, service) == {("E2E", "90"): (0, 1), ("E2E", "99.9"): (1, 0)}
    change = {"spec": {"sla": {"objectives": [OBJECTIVES[9] | {"thresholdMilliseconds": 1}, OBJECTIVES[0]]}}}
    await world.kube.patch(SERVICES, service, change, namespace="gateway-tests")

    async def changed() -> bool:
        return ("TTFT", "90") in await counted(world, service)

    await eventually(changed, "the change is seen")
    assert (await world.ask(service))[0] == 200
    assert await counted(world, service) == {("E2E", "99.9"): (1, 1), ("TTFT", "90"): (0, 1)}
