"""What doctor asks Prometheus, and what it makes of answers that do not come."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from penstock_operator.commands.prometheus import Address, Expected, prometheus
from penstock_operator.core.checkup import Result

KEY = ("demo", "chat")
Ask = Callable[..., Awaitable[list[Result]]]


def service(engine: str = "Penstock", **spec: Any) -> dict[str, Any]:
    objectives = {"objectives": [{"metric": "TTFT", "percentile": 99, "thresholdMilliseconds": 2000}]}
    base = {"runtime": {"engine": engine}, "scaling": {"maxReplicas": 2}, "sla": objectives}
    return {"metadata": {"namespace": KEY[0], "name": KEY[1]}, "spec": base | spec}


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Asks a Prometheus that has one of everything, except that it refuses or lacks what holds given words."""
    started: list[TestServer] = []

    async def asked(
        *, made: dict[str, Any] | None = None, refuses: str = "\0", lacks: str = "\0", theirs: bool = True
    ) -> list[Result]:
        async def answer(request: web.Request) -> web.Response:
            query = (await request.post()).get("query") or request.query["query"]
            if refuses in query:
                return web.json_response({"status": "error", "error": "query timed out"}, status=503)
            faults = ("exported_" in query, "unless" in query, "by (namespace, pod)" in query)
            labels = {"namespace": KEY[0], "inferenceservice": KEY[1]}
            value = "5" if query.startswith("60 /") else "1"
            found = [] if any(faults) or lacks in query else [{"metric": labels, "value": [1.0, value]}]
            return web.json_response({"status": "success", "data": {"resultType": "vector", "result": found}})

        app = web.Application()
        app.router.add_route("*", "/api/v1/query", answer)
        server = TestServer(app)
        await server.start_server()
        started.append(server)
        services = [made or service()]
        expected = Expected(services=services, ready={KEY: 1}, gateways=1, theirs=theirs)
        return await prometheus(Address(str(server.make_url("")).rstrip("/")), expected)

    yield asked
    for server in started:
        await server.close()


def told(results: list[Result]) -> list[tuple[str, str]]:
    return [(one.level.value, one.check) for one in results]


async def test_all_is_there(ask: Ask) -> None:
    checks = ["prometheus", "scrape", "series", "series", "labels"]
    assert told(await ask()) == [("OK", check) for check in checks]


@pytest.mark.parametrize(("theirs", "level"), [(True, "WARN"), (False, "FAIL")])
async def test_a_query_without_an_answer_is_neither_missing_nor_fine(ask: Ask, theirs: bool, level: str) -> None:
    results = await ask(refuses="engine_steps", theirs=theirs)
    assert (level, "prometheus") in told(results)
    assert not any("no series of" in one.message for one in results)
    assert not any(one.message.startswith("demo/chat: all there") for one in results)


async def test_labels_that_cannot_be_asked_about_are_not_fine(ask: Ask) -> None:
    assert "labels" not in [one.check for one in await ask(refuses="unless")]


async def test_a_series_that_is_missing_is_named(ask: Ask) -> None:
    found = [one.message for one in await ask(lacks="engine_steps") if one.level == "FAIL"]
    assert found == ["demo/chat: no series of penstock_worker_engine_steps_total"]


async def test_gateways_that_are_not_scraped_are_told(ask: Ask) -> None:
    found = [one.message for one in await ask(lacks="penstock_gateway_") if one.level == "WARN"]
    assert len(found) == 1
    assert "gateways: no series of penstock_gateway_requests_arrived_total" in found[0]
    unjudged = [one.message for one in await ask(lacks="objective_total") if one.level == "WARN"]
    assert unjudged == ["gateways: no series of penstock_gateway_objective_total for demo/chat"]


async def test_every_engine_is_asked_for_what_it_exports(ask: Ask) -> None:
    assert "WARN" not in {one.level for one in await ask(made=service("VLLM"))}
    results = await ask(made=service("VLLM"), lacks="vllm:generation_tokens_total")
    assert [one.message for one in results if one.level == "WARN"] == [
        "demo/chat: no series of vllm:generation_tokens_total"
    ]
    assert "FAIL" not in {one.level for one in results}, "it may have none before its first request"


@pytest.mark.parametrize(("targets", "warned"), [({}, True), ({"tokensPerSecond": 100}, False)])
async def test_without_steps_a_target_is_missed(ask: Ask, targets: dict[str, int], warned: bool) -> None:
    made = service("TensorRTLLM", scaling={"maxReplicas": 2, "targets": targets})
    found = [one.message for one in await ask(made=made) if one.level == "WARN"]
    assert bool(found) is warned
    assert all("TensorRTLLM tells nothing of its steps" in text for text in found)


async def test_what_was_given_is_not_asked_for_again() -> None:
    expected = Expected(services=[], ready={}, gateways=0, theirs=False)
    url = "http://me:hidden@127.0.0.1:1"
    given, found = [await prometheus(Address(url, given=given), expected) for given in (True, False)]
    assert "check --prometheus-url" in given[0].fix
    assert "give --prometheus-url" in found[0].fix
    assert "hidden" not in json.dumps([one.message for one in given + found])
