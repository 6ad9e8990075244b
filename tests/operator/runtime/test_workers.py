"""What one pod's metrics page may do to the operator: nothing. A page is its tenant's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from penstock_contract import names
from penstock_operator.adapters.workers import WorkerScraper, samples_of
from penstock_operator.core.enginemetrics import METRICS
from penstock_operator.core.podview import wanted

ADDRESS = "127.77.0.8"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[WorkerScraper]]]:
    app, scraper = web.Application(), WorkerScraper()
    runner = web.AppRunner(app)

    async def begin(handler: Handler) -> WorkerScraper:
        app.router.add_get("/metrics", handler)
        await runner.setup()
        await web.TCPSite(runner, ADDRESS, names.HTTP_PORT).start()
        return scraper

    yield begin
    await scraper.close()
    await runner.cleanup()


async def test_a_page_without_end_ends(serve) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"# nothing\n" * 100_000)

    scraper = await serve(endless)
    assert await asyncio.wait_for(scraper.work(ADDRESS, ["a"], path="/metrics"), 10.0) is None


@pytest.mark.parametrize(
    "line",
    ["a{, =n f=}f", "a{", "a", "a{b}", 'a{b="c"', "a 1\r\na", 'a{"} 1', 'a{b="\\', "a \x00"],
)
async def test_what_the_parser_cannot_read_is_no_answer(serve, line: str) -> None:
    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=f"a 1\n{line}\n")

    scraper = await serve(page)
    assert await scraper.samples(ADDRESS, ["a"], path="/metrics") is None


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (f'a{{b="{"c" * 4096}"}} 1\n', "a line of metrics"),
        (f'a{{b="{"c" * 4000}"}} 1\n' * 17, "metrics of more than"),
        ("a 1\n" * 2_000, "metrics of more than"),
        (f'a{{b="{chr(92) * 2}"}} 1\n' * 600, "metrics of more than"),
        ("\n" * 60_000, "a metrics page of more than"),
    ],
    ids=["a long line", "much that is wanted", "many lines that are", "many escapes", "many lines"],
)
def test_what_would_hold_up_the_loop_is_not_parsed(page: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        samples_of(page, ["a"])


@pytest.mark.parametrize("engine", [name for name in METRICS if name != "Penstock"])
def test_a_large_page_of_an_engine_is_read(engine: str) -> None:
    """Of eight ranks, each with the labels of a long name, between histograms."""
    labels = ",".join(f'{name}="{"x" * 40}"' for name in ("model_name", "engine_type", "source"))
    lines = [f'{name}{{{labels},rank="{rank}"}} 1.5' for name in sorted(wanted(engine)) for rank in range(8)]
    histograms = [f'other_bucket{{{labels},le="{bound}"}} 7.0' for bound in range(2_000)]
    found = samples_of("\n".join([*histograms, *lines, *histograms]), wanted(engine))
    assert {name: len(samples) for name, samples in found.items()} == dict.fromkeys(wanted(engine), 8)
