"""Whatever answers in Prometheus' place, the caller gets samples or a reason, never an exception."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from penstock_operator.adapters.prometheus import Access, PrometheusSource
from penstock_operator.core.ports import Sample, Series, Unavailable

Ask = Callable[..., Awaitable[tuple[Sample, ...] | Unavailable]]
LABELS = {"namespace": "a", "inferenceservice": "b"}


@pytest.fixture
async def ask() -> AsyncIterator[Ask]:
    """Asks a server that answers with the given text."""
    started: list[tuple[TestServer, PrometheusSource]] = []

    async def asked(text: str, *, status: int = 200, token: Any = None, past: bool = False) -> Any:
        async def answer(request: web.Request) -> web.Response:
            heard.append(request.headers.get("Authorization"))
            return web.Response(text=text, status=status, content_type="application/json")

        heard: list[str | None] = []
        app = web.Application()
        app.router.add_route("*", "/api/v1/query", answer)
        app.router.add_route("*", "/api/v1/query_range", answer)
        server = TestServer(app)
        await server.start_server()
        source = PrometheusSource(
            str(server.make_url("")).rstrip("/"), timeout_seconds=5.0, access=Access(token_file=token)
        )
        started.append((server, source))
        found = await (source.range("up", start=1.0, end=9.0, step=1.0) if past else source.instant("up"))
        if token is not None:
            assert heard == ["Bearer secret"]
        return found

    yield asked
    for server, source in started:
        source.close()
        await server.close()


def vector(*items: Any) -> str:
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": list(items)}})


def item(value: Any, **labels: str) -> dict[str, Any]:
    return {"metric": {"__name__": "up"} | LABELS | labels, "value": [1.0, value]}


async def test_samples(ask: Ask) -> None:
    assert await ask(vector(item("1.5"), item("2", pod="p"))) == (
        Sample(LABELS, 1.5),
        Sample(LABELS | {"pod": "p"}, 2.0),
    )


async def test_a_range_has_points_and_only_numbers_to_act_on(ask: Ask) -> None:
    one = {"metric": {"__name__": "up"} | LABELS, "values": [[1, "1.5"], [2, "NaN"], [3, "2"]]}
    found = await ask(vector(one, {"metric": LABELS, "histograms": []}), past=True)
    assert found == (Series(LABELS, ((1.0, 1.5), (3.0, 2.0))),)


async def test_an_empty_answer_is_no_failure(ask: Ask) -> None:
    assert await ask(vector()) == ()


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf"])
async def test_what_is_no_number_to_act_on_is_dropped(ask: Ask, value: str) -> None:
    assert await ask(vector(item(value), item("1"))) == (Sample(LABELS, 1.0),)


async def test_a_histogram_among_the_samples_spoils_nothing(ask: Ask) -> None:
    """A worker may export one under the name of a counter; the other services must still be seen."""
    histogram = {"metric": LABELS, "histogram": [1.0, {"count": "1", "sum": "1"}]}
    assert await ask(vector(histogram, item("1"))) == (Sample(LABELS, 1.0),)


@pytest.mark.parametrize(
    "text",
    [
        "<html>log in</html>",
        "",
        "null",
        "[]",
        "{}",
        '{"status": "success"}',
        '{"status": "success", "data": null}',
        '{"status": "success", "data": {"resultType": "scalar", "result": [1.0, "1"]}}',
        '{"status": "success", "data": {"resultType": "vector", "result": "many"}}',
        vector({"metric": LABELS}),
        vector({"metric": LABELS, "value": []}),
        vector({"metric": LABELS, "value": [1.0, "abc"]}),
        vector({"metric": LABELS, "value": [1.0, None]}),
        vector({"metric": None, "value": [1.0, "1"]}),
        vector("text"),
    ],
)
@pytest.mark.parametrize("past", [False, True])
async def test_an_odd_answer_is_unavailable(ask: Ask, text: str, past: bool) -> None:
    found = await ask(text, past=past)
    if not (past and found == ()):  # vectors have no series
        assert isinstance(found, Unavailable)
        assert "Prometheus at http://127.0.0.1:" in found.reason


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503])
async def test_a_refusal_is_unavailable(ask: Ask, status: int) -> None:
    found = await ask('{"status": "error", "error": "no"}', status=status)
    assert isinstance(found, Unavailable)
    assert "refused the query" in found.reason
    assert found.gone is (status == 503), "one that starts, or that a proxy misses, is away; others answer wrongly"
    assert not found.silent


async def test_nobody_there_is_unavailable() -> None:
    source = PrometheusSource("http://127.0.0.1:1", timeout_seconds=1.0)
    found = await source.instant("up")
    assert isinstance(found, Unavailable)
    assert found.reason.startswith("Prometheus at http://127.0.0.1:1 cannot be reached: ")
    assert (found.gone, found.silent) == (True, True)
    source.close()


async def test_credentials_in_the_url_are_used_and_never_said() -> None:
    heard: list[str | None] = []

    async def refuse(request: web.Request) -> web.Response:
        heard.append(request.headers.get("Authorization"))
        return web.Response(text=f"no way into {url}", status=403)

    app = web.Application()
    app.router.add_route("*", "/api/v1/query", refuse)
    async with TestServer(app) as server:
        url = f"http://scraper:hidden@{server.host}:{server.port}"
        source = PrometheusSource(url)
        refused = await source.instant("up")
        source.close()
    assert heard == ["Basic " + base64.b64encode(b"scraper:hidden").decode()]
    away = PrometheusSource("http://scraper:hidden@127.0.0.1:1", timeout_seconds=1.0)
    unreachable = await away.instant("up")
    away.close()
    for found in (refused, unreachable):
        assert isinstance(found, Unavailable)
        assert "hidden" not in found.reason
        assert "Prometheus at http://127.0.0.1:" in found.reason


async def test_the_token_is_read_anew_and_sent(ask: Ask, tmp_path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    assert await ask(vector(), token=token) == ()


async def test_a_token_that_is_missing_is_unavailable(tmp_path) -> None:
    source = PrometheusSource("http://127.0.0.1:1", access=Access(token_file=tmp_path / "none"))
    found = await source.instant("up")
    assert isinstance(found, Unavailable)
    assert "FileNotFoundError" in found.reason
    source.close()
