"""Offered load added up over gateways that come, go, restart, fall silent or talk nonsense."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from penstock_operator.runtime import gateways as module
from penstock_operator.runtime.gateways import Doors, Gateways

CHAT = ("team-a", "chat")
Pod = dict[str, Any]


class Gateway:
    """A real server in a gateway's place; `page` is what it says next."""

    def __init__(self, server: TestServer) -> None:
        self.page: Any = {"services": {}}
        self.status = 200
        self._server = server

    def says(self, arrived: float, *, held: float = 0, in_flight: float = 0, service: str = "team-a/chat") -> None:
        numbers = {"arrived": arrived, "prompt_tokens": 10 * arrived, "held": held, "in_flight": in_flight}
        self.page = {"services": {service: numbers}}

    def pod(self, *, ready: bool = True, address: str | None = "127.0.0.1") -> Pod:
        conditions = [{"type": "Ready", "status": str(ready)}]
        return {"metadata": {"name": "gateway"}, "status": {"podIP": address, "conditions": conditions}}


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], Awaitable[Gateway]]]:
    """Starts a gateway; all share the port that the contract names, so one at a time has an address of its own."""
    servers: list[TestServer] = []

    async def started() -> Gateway:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=json.dumps(made.page), status=made.status, content_type="application/json")

        app = web.Application()
        app.router.add_get("/demand", answer)
        server = TestServer(app, host=f"127.0.0.{1 + len(servers)}", port=servers[0].port if servers else None)
        await server.start_server()
        servers.append(server)
        monkeypatch.setattr(module.names, "GATEWAY_ADMIN_PORT", servers[0].port)
        made = Gateway(server)
        return made

    yield started
    for server in servers:
        await server.close()


@pytest.fixture
async def gateways() -> AsyncIterator[Gateways]:
    made = Gateways()
    yield made
    await made.close()


def offered(doors: Doors) -> tuple[float | None, float, float]:
    assert doors.services is not None, doors.detail
    seen = doors.services[CHAT]
    return seen.requests_per_second, seen.held, seen.in_flight


async def test_no_gateway_is_no_answer(gateways: Gateways) -> None:
    doors = await gateways.read([], 0.0)
    assert doors.present is False
    assert doors.of(CHAT) is None


async def test_rates_come_from_two_readings(start, gateways: Gateways) -> None:
    gateway = await start()
    gateway.says(100, held=2, in_flight=3)
    assert offered(await gateways.read([gateway.pod()], 10.0)) == (None, 2, 3)
    gateway.says(150)
    assert offered(await gateways.read([gateway.pod()], 15.0)) == (10.0, 0, 0)


async def test_what_was_judged_and_how_long_prompts_are_comes_as_rates(start, gateways: Gateways) -> None:
    """Also of an objective that is new, and from nothing that a gateway said before the operator came."""
    gateway = await start()
    gateway.says(100)
    told = gateway.page["services"]["team-a/chat"]
    told["prompt_lengths"] = [0, 5, 95]
    told["objectives"] = [{"metric": "TTFT", "percentile": "99", "met": 90, "missed": 10}]
    assert (await gateways.read([gateway.pod()], 10.0)).of(CHAT).offered.missed == ()
    told["prompt_lengths"] = [0, 10, 100]
    told["objectives"] = [
        {"metric": "TTFT", "percentile": "99", "met": 115, "missed": 10},
        {"metric": "TPOT", "percentile": "95.0", "met": 1, "missed": 5},
    ]
    seen = (await gateways.read([gateway.pod()], 15.0)).of(CHAT).offered
    assert seen.prompt_lengths == (0.0, 1.0, 1.0)
    assert [(one.metric, round(one.allowed, 6), one.met, one.missed) for one in seen.missed] == [
        ("TTFT", 0.01, 5.0, 0.0),
        ("TPOT", 0.05, 0.2, 1.0),
    ]


async def test_gateways_add_up_and_one_that_restarts_loses_nothing(start, gateways: Gateways) -> None:
    first, second = await start(), await start()
    pods = [first.pod(), second.pod(address="127.0.0.2")]
    first.says(1000, held=1)
    second.says(10, held=2)
    await gateways.read(pods, 0.0)
    first.says(5)
    second.says(20)
    assert offered(await gateways.read(pods, 5.0))[0] == (5 + 10) / 5


async def test_one_silent_gateway_makes_the_answer_unknown(start, gateways: Gateways) -> None:
    """It may hold requests that nobody else knows of."""
    gateway = await start()
    gateway.says(1)
    doors = await gateways.read([gateway.pod(), gateway.pod(address="127.0.0.9")], 0.0)
    door = doors.of(CHAT)
    assert door is not None
    assert door.offered is None
    assert "127.0.0.9" in door.detail


async def test_what_a_leaving_gateway_still_holds_is_seen(start, gateways: Gateways) -> None:
    """In its drain it is not ready and has a deletion time, but its requests want a replica all the same."""
    leaving, staying = await start(), await start()
    gone = leaving.pod(ready=False)
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    leaving.says(5, held=2, in_flight=1)
    staying.says(1)
    doors = await gateways.read([gone, staying.pod(address="127.0.0.2")], 0.0)
    assert offered(doors)[1:] == (2, 1)
    assert doors.asked == 1
    alone = await gateways.read([gone], 1.0)
    assert offered(alone)[1:] == (2, 1)
    assert alone.asked == 0


async def test_one_that_is_not_ready_may_be_silent_while_another_is(start, gateways: Gateways) -> None:
    gateway = await start()
    gateway.says(1)
    silent = [gateway.pod(ready=False, address="127.0.0.9"), gateway.pod(address=None)]
    assert offered(await gateways.read([gateway.pod(), *silent], 0.0)) == (None, 0, 0)
    doors = await gateways.read([gateway.pod(ready=False), *silent], 1.0)
    assert doors.present
    assert doors.services is None, "the silent one may hold requests, and none is ready to make up for it"
    ended = gateway.pod(address="127.0.0.9") | {"status": {"podIP": "127.0.0.9", "phase": "Succeeded"}}
    assert (await gateways.read([ended], 2.0)).present is False


async def test_a_service_that_the_gateway_does_not_know_is_unknown(start, gateways: Gateways) -> None:
    gateway = await start()
    door = (await gateways.read([gateway.pod()], 0.0)).of(CHAT)
    assert door is not None
    assert door.offered is None


GOOD = {"arrived": 1, "prompt_tokens": 1, "held": 0, "in_flight": 0}
ODD: list[Any] = [
    None,
    [],
    "text",
    {},
    {"services": None},
    {"services": []},
    {"services": {"a/b": None}},
    {"services": {"a/b": {}}},
    {"services": {"a/b": GOOD | {"held": "many"}}},
    {"services": {"a/b": GOOD | {"held": None}}},
    {"services": {"a/b": GOOD | {"arrived": float("nan")}}},
    {"services": {"a/b": GOOD | {"in_flight": float("inf")}}},
    {"services": {"a/b": GOOD | {"held": -1}}},
]


@pytest.mark.parametrize("page", ODD, ids=repr)
async def test_nonsense_is_no_answer_and_stops_nothing(start, gateways: Gateways, page: Any) -> None:
    gateway = await start()
    gateway.page = page
    doors = await gateways.read([gateway.pod()], 0.0)
    assert doors.present
    assert doors.services is None
    gateway.says(1)
    assert offered(await gateways.read([gateway.pod()], 1.0)) == (None, 0, 0)


async def test_a_refusal_is_no_answer(start, gateways: Gateways) -> None:
    gateway = await start()
    gateway.says(1)
    gateway.status = 500
    assert (await gateways.read([gateway.pod()], 0.0)).services is None


async def test_nothing_is_left_of_services_that_are_gone(start, gateways: Gateways) -> None:
    gateway = await start()
    for index in range(50):
        gateway.says(1, service=f"team-a/s{index}")
        await gateways.read([gateway.pod()], float(index))
    assert [len(kept) for kept in (gateways._last, gateways._totals, gateways._history)] == [1, 1, 1]


async def test_the_window_stays_short(start, gateways: Gateways) -> None:
    gateway = await start()
    for second in range(100):
        gateway.says(second if second < 50 else 50 + 9 * (second - 50))
        doors = await gateways.read([gateway.pod()], float(second))
    assert doors.services is not None
    assert doors.services[CHAT].window_seconds <= 16
    assert doors.services[CHAT].requests_per_second == pytest.approx(9)
    assert len(gateways._history[CHAT]) <= 17
