"""The client of the demo: what a gateway refuses is a failed request, and only bare workers are asked again."""

from __future__ import annotations

import pytest

from events import DONE, event, text
from penstock_lab.load import client
from penstock_lab.load.schedule import Planned

ONE = [Planned(0.0, "quiet", (3,), 2)]


@pytest.fixture
async def busy(serve):
    """A server that refuses the first request and answers the rest; its URL, as `pick` gives it."""

    async def script(call):
        if len(server.calls) == 1:
            await call.reply(b'{"error": {"message": "no worker\\u001b in time"}}', status="503 Busy")
        else:
            await call.stream(*[event(text(token_ids=[1]))] * 2, DONE)

    server, url = await serve(script)

    async def pick():
        return url

    return pick


async def test_a_refusal_of_a_gateway_is_a_failed_request(busy):
    (outcome,) = await client.run(ONE, pick=busy, model="odd", attempts=1)
    assert (outcome.attempts, outcome.tokens) == (1, 0)
    assert "503" in outcome.error
    assert "no worker" in outcome.error


async def test_of_bare_workers_the_next_is_asked(busy):
    (outcome,) = await client.run(ONE, pick=busy, model="odd", attempts=20)
    assert (outcome.error, outcome.attempts, outcome.tokens) == (None, 2, 2)
    assert outcome.ttft_seconds <= outcome.last_seconds <= outcome.e2e_seconds
