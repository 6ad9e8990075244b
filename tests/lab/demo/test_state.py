"""Reading the operator's page: unknown numbers, missing services, other shapes; and what a record makes of it."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from penstock_lab.demo.errors import StateError
from penstock_lab.demo.record import Record, Sample
from penstock_lab.demo.state import State, fetch, parse

RECORDED = Path(__file__).with_name("page.json")


def read(page: Any, *, price: float = 2.5) -> State:
    return parse(page, namespace="demo", name="chat", replica_price=price)


@pytest.fixture
def page() -> dict[str, Any]:
    """A page that an operator served in the middle of a burst."""
    found: dict[str, Any] = json.loads(RECORDED.read_text())
    return found


def test_a_recorded_page_is_read(page: dict[str, Any]) -> None:
    state, service = read(page), page["services"][0]
    assert state.replicas.ready == service["replicas"]["ready"] > 1
    assert state.load.offered_tokens_per_second == service["load"]["offered_tokens_per_second"] > 0
    assert state.capacity_tokens_per_second == 250 * (state.replicas.ready - state.replicas.draining)
    assert [one.name for one in state.objectives] == ["TTFT p99", "TPOT p99"]
    assert state.replicas.held == round(service["cost"]["per_hour"] / 2.5)
    assert state.changes
    assert state.changes[0].sentence == (
        f"{service['decisions'][0]['from']} -> {service['decisions'][0]['to']} replicas "
        f"({service['decisions'][0]['reason']}): {service['decisions'][0]['message']}"
    )


def test_unknown_is_none_and_not_zero(page: dict[str, Any]) -> None:
    service = page["services"][0]
    for part in ("load", "capacity", "cost", "decision"):
        service[part] = None
    service["replicas"] |= {"desired": None, "asked": None}
    service["objectives"][0]["value_seconds"] = None
    state = read(page)
    assert state.load.offered_tokens_per_second is state.load.queued is state.utilisation is state.cost_per_hour is None
    assert state.replicas.desired == state.replicas.ready
    assert state.objectives[0].value_seconds is None


def test_draining_replicas_are_ready_but_not_meant_to_stay(page: dict[str, Any]) -> None:
    service = page["services"][0]
    service["replicas"] |= {"ready": 4, "starting": 1, "draining": 2}
    service["cost"]["per_hour"] = 6 * 2.5  # one of the draining ones was told to end and is no longer ready
    assert read(page).replicas.serving == 3


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda page: page["services"].clear(), "no service demo/chat"),
        (lambda page: page.pop("services"), "services"),
        (lambda page: page["services"][0].pop("replicas"), "replicas"),
        (lambda page: page.update(services=None), "TypeError"),
    ],
    ids=["no service", "no list", "no counts", "null"],
)
def test_another_shape_is_an_error_that_names_the_field(
    page: dict[str, Any], spoil: Callable[[dict[str, Any]], Any], says: str
) -> None:
    spoil(page)
    with pytest.raises(StateError, match=says):
        read(page)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[web.Response], Awaitable[str]]]:
    """Starts a server that gives one answer at /state.json, and returns its URL."""
    runners = []

    async def start(answer: web.Response) -> str:
        async def handler(_request: web.Request) -> web.Response:
            return answer

        app = web.Application()
        app.router.add_get("/state.json", handler)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.mark.parametrize("answer", [{"status": 503}, {"text": "<html>"}], ids=["refused", "no JSON"])
async def test_no_usable_answer_is_a_state_error(
    serve: Callable[[web.Response], Awaitable[str]], answer: dict[str, Any]
) -> None:
    url = await serve(web.Response(**answer))
    async with aiohttp.ClientSession() as session:
        with pytest.raises(StateError, match=re.escape(url)):
            await fetch(session, url)
        with pytest.raises(StateError, match=r"127\.0\.0\.1:1/"):
            await fetch(session, "http://127.0.0.1:1")


def test_a_record_keeps_every_decision_of_its_run(page: dict[str, Any]) -> None:
    """The page shows only the last ones; those from before the load are not the run's."""
    record, begin = Record(), page["at"]
    record.begin(begin)
    for number in range(30):
        page["at"] = begin + number
        page["services"][0]["decisions"] = [
            {"at": begin + at, "from": 1, "to": 2, "reason": "OfferedLoad", "message": str(at)}
            for at in range(number - 20, number)
        ]
        record.take(Sample(float(number), read(page)))
    assert [change.message for change in record.changes] == [str(at) for at in range(29)]
