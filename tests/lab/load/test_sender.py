"""The loop is open: what a server does changes no request's time, and time lost anywhere is in the latency."""

from __future__ import annotations

import asyncio
import json

import pytest

from events import DONE, event, text
from penstock_lab.load.arrivals import Process, steps
from penstock_lab.load.lengths import Uniform
from penstock_lab.load.sender import Sender
from penstock_lab.load.workload import draw


def load(rate, seconds, *, output=3):
    lengths = {"prompt": Uniform(8, 8), "output": Uniform(output, output)}
    return draw(steps([(seconds, rate)]), Process.CONSTANT, **lengths, seed=1, description={})


async def test_a_stalled_server_delays_no_request(serve, bench):
    """No request is answered before the last one has come: a closed loop would wait here for ever."""
    work = load(100, 1.0)
    everyone = asyncio.Event()
    arrived = []

    async def stalled(call):
        arrived.append(json.loads(call.body))
        if len(arrived) == len(work):
            everyone.set()
        await everyone.wait()
        await call.stream(*[event(text(token_ids=[1]))] * 3, DONE)

    _server, url = await serve(stalled)
    run = await bench(url).run(work)
    assert len(arrived) == 100
    assert run.report["requests"]["answered"] == 100
    assert run.report["sender"]["most_in_flight"] == 100
    # The first one was due almost a second before the last one, and waited for it: that is in its latency.
    assert run.ledger.ttft[0] > work.due[-1] - work.due[0]
    assert run.ledger.ttft[0] > run.ledger.ttft[-1]
    assert {len(each["prompt"]) for each in arrived} == {8}
    assert {each["max_tokens"] for each in arrived} == {3}


async def test_a_late_generator_shows_in_the_latency_and_is_reported(serve, bench):
    """The server shares our event loop, so when it blocks, the generator is late: coordinated omission's own case."""
    import time

    blocked = []

    async def blocking(call):
        if not blocked:
            blocked.append(True)
            time.sleep(0.5)  # noqa: ASYNC251 - blocking the generator is the point
        await call.stream(event(text(token_ids=[1])), DONE)

    _server, url = await serve(blocking)
    run = await bench(url).run(load(100, 1.0))
    late = run.ledger.lag_seconds[run.ledger.lag_seconds > 0.1]
    assert len(late) >= 10
    assert run.report["sender"]["lag_seconds"]["max"] > 0.3
    assert run.report["sender"]["loop_lag_seconds"]["max"] > 0.2
    assert (run.ledger.ttft >= run.ledger.lag_seconds - 1e-3).all()


async def test_what_has_no_end_is_given_up_after_the_drain(serve, bench):
    async def silent(call):
        await call.stream(event(text(token_ids=[1])), end=False)
        await asyncio.Event().wait()

    _server, url = await serve(silent)
    run = await bench(url, drain=0.3).run(load(20, 0.5))
    found = run.report["requests"]
    assert (found["sent"], found["answered"], found["failed"]) == (10, 0, 10)
    (reason,) = found["failures"]
    assert reason == "failed: given up at the end"
    assert "--drain" in found["failures"][reason]["example"]
    assert not run.report["valid"]
    assert run.report["latency"]["e2e_seconds"]["min"] >= 0.2
    assert "p50" in run.report["latency"]["e2e_seconds"]["at_least"]
    assert run.report["latency"]["itl_seconds"]["count"] == 10, "the gap in which each was given up"
    assert not [task for task in asyncio.all_tasks() if "Sender" in str(task.get_coro())]


async def test_a_request_that_takes_too_long_fails_alone(serve, bench):
    async def script(call):
        if len(server.calls) == 1:
            await asyncio.Event().wait()
        await call.stream(event(text(token_ids=[1])), DONE)

    server, url = await serve(script)
    found = (await bench(url, timeout=2.5).run(load(20, 0.5))).report["requests"]
    assert found["answered"] == 9
    assert found["failures"]["failed: timeout"]["count"] == 1


async def test_an_interrupted_load_still_reports(serve, bench):
    async def script(call):
        await call.stream(event(text(token_ids=[1])), DONE)
        if len(server.calls) == 5:
            senders[0].interrupt()

    server, url = await serve(script)
    senders = []
    original = Sender.run

    async def remember(self):
        senders.append(self)
        await original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sender, "run", remember)
        report = (await bench(url).run(load(50, 60.0))).report
    assert report["meta"]["interrupted"]
    assert not report["valid"]
    assert 5 <= report["requests"]["sent"] < 100
    assert report["requests"]["not_sent"] == 3000 - report["requests"]["sent"]
    assert report["meta"]["measured_seconds"] < 10


async def test_a_thousand_streams_at_once(serve, bench):
    """Also: rows are made before the load, tasks end with their requests."""
    everyone = asyncio.Event()

    async def script(call):
        await call.stream(event(text(token_ids=[1])), end=False)
        if len(server.calls) == 1000:
            everyone.set()
        await everyone.wait()
        await call.chunk(event(text(token_ids=[2])) + DONE)
        await call.chunk(b"")

    server, url = await serve(script)
    run = await bench(url, drain=60).run(load(500, 2.0, output=2))
    assert run.report["requests"]["answered"] == 1000
    assert run.report["sender"]["most_in_flight"] == 1000
    assert run.ledger.output_tokens.sum() == 2000
    assert sum(run.ledger.tokens_by_second) == 2000
