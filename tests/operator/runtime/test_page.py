"""The web page in a real browser, over the operator's web application, on decisions that the real policy made."""

import json
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from browsing import browser_or_skip, visit
from penstock_lab.browser import Browser
from penstock_operator.runtime import pages
from scene import Scene

PICTURES = "PENSTOCK_PICTURES"  # a folder, docs/images, to draw the picture of the documentation anew
NASTY = '<img src=x onerror="document.title=1">'


def service(name: str, namespace: str = "demo", **spec: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "model": {"source": {"containerPath": "/models/m"}},
        "runtime": {"image": "penstock/worker:dev"},
        "scaling": {
            "minReplicas": 1,
            "maxReplicas": 8,
            "targets": {"tokensPerSecond": 250},
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 90}},
        },
        "sla": {
            "objectives": [
                {"metric": "TTFT", "percentile": 99, "thresholdMilliseconds": 1500},
                {"metric": "TPOT", "percentile": 99, "thresholdMilliseconds": 50},
            ]
        },
        "cost": {"perAcceleratorHour": "2.50"},
        "drain": {"timeoutSeconds": 20},
    }
    return {
        "apiVersion": "inference.penstock.dev/v1alpha1",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {key: value for key, value in (base | spec).items() if value is not None},
    }


def day(at: float) -> float:
    """Requests/s: quiet, a morning, a rush, an evening."""
    rise = 3.0 + 11.0 / (1 + math.exp(-(at - 420) / 60))
    fall = 8.5 / (1 + math.exp(-(at - 1250) / 60))
    return rise - fall + 0.4 * math.sin(at / 37)


@pytest.fixture(scope="module")
def browser() -> Browser:
    return browser_or_skip()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.close()


class Served:
    """The web application of the operator on a free port."""

    def __init__(self, runner: web.AppRunner, url: str) -> None:
        self.runner = runner
        self.url = url


@asynccontextmanager
async def served(scene: Scene) -> AsyncIterator[Served]:
    application = web.Application()
    pages.add_to(application, scene.page)
    runner = web.AppRunner(application, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Served(runner, f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


async def test_a_service_at_a_glance(scene: Scene, browser: Browser, tmp_path: Path) -> None:
    """Also draws the picture of the documentation."""
    scene.add(service("chat"), day, emulated="h200-qwen3-8b")
    scene.add(service("summaries", "search", cost=None, sla=None), lambda _: 2.0, replicas=1)
    scene.add(service("batch", "search", scaling=None, replicas=2), lambda _: 1.0, replicas=2)
    await scene.run(1500)
    async with served(scene) as site, visit(browser, f"{site.url}/#/demo/chat", height=920) as seen:
        await seen.page.wait_for_selector(".cards")
        shown = await seen.text("main")
        for part in (
            "EMULATED h200-qwen3-8b",
            "ready of",
            "tok/s offered",
            "error budget",
            "$",
            "per hour",
            "TTFT p99",
        ):
            assert part in shown
        assert "OfferedLoad" in shown, "the reason of a decision"
        assert "one replica carries 250 tok/s" in shown, "its numbers"
        assert "SignalsFresh" in shown, "conditions"
        offered = await seen.page.get_attribute(".charts figure:nth-child(1) path.offered", "d")
        assert offered is not None
        assert offered.count("L") > 100
        assert await seen.page.locator(".limit.threshold").count() == 2, "objectives in the charts of TTFT and TPOT"
        picture = Path(os.environ.get(PICTURES) or tmp_path) / "page.png"
        await seen.page.screenshot(path=picture)
        assert 30_000 < picture.stat().st_size < 300_000, "neither empty nor too large for the repository"
        await seen.page.click("#list a:has-text('batch')")
        await seen.until("document.querySelector('main .heading')?.textContent.includes('batch')")
        assert "spec.replicas is set" in await seen.text("main")
        assert "EMULATED" not in await seen.text("main")
        assert seen.complaints == []


async def test_it_works_without_any_service(scene: Scene, browser: Browser) -> None:
    await scene.run(5)
    async with served(scene) as site, visit(browser, site.url, dark=True) as seen:
        await seen.until("document.querySelector('main').textContent.includes('No InferenceService yet')")
        assert "0 services" in await seen.text("#summary")
        background = await seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(14, 21, 26)", "dark when the user's system is"
        assert seen.complaints == []


async def test_five_hundred_services_are_found_by_words_and_keys(scene: Scene, browser: Browser) -> None:
    for number in range(500):
        scene.add(service(f"svc-{number:03}", f"team-{number % 7}", sla=None), lambda _: 1.0)
    await scene.run(10)
    async with served(scene) as site, visit(browser, site.url, width=700, height=800) as seen:
        await seen.until("document.querySelectorAll('#list a').length === 500")
        await seen.page.keyboard.press("/")
        await seen.page.keyboard.type("team-3 svc-01")
        await seen.until("document.querySelectorAll('#list a').length === 2")
        assert await seen.text("#count") == "2 of 500 services"
        for key in ("ArrowDown", "ArrowDown", "Enter"):
            await seen.page.keyboard.press(key)
        await seen.until("document.querySelector('main h2')?.textContent === 'team-3 / svc-017'")
        width = await seen.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 700, "nothing sticks out of a narrow window"
        assert seen.complaints == []


async def test_an_operator_that_does_not_answer_is_said_to(scene: Scene, browser: Browser) -> None:
    scene.add(service("chat"), lambda _: 3.0)
    await scene.run(60)
    async with served(scene) as site, visit(browser, site.url) as seen:
        await seen.page.wait_for_selector(".cards")
        assert await seen.page.is_hidden("#banner")
        await site.runner.cleanup()
        await seen.until("document.body.classList.contains('stale')")
        assert "The operator does not answer" in await seen.text("#banner")
        assert "What you see is from" in await seen.text("#banner")
        assert await seen.text("#health") == "stale"


async def test_metrics_that_are_away_are_said_to_be(scene: Scene, browser: Browser) -> None:
    scene.add(service("chat"), lambda _: 3.0)
    await scene.run(30)
    scene.unreachable = "Prometheus at http://prometheus:9090 cannot be reached"
    await scene.run(10)
    async with served(scene) as site, visit(browser, site.url) as seen:
        await seen.until("!document.getElementById('banner').hidden")
        assert "nothing is removed, and added only as far as the load is known: Prometheus at" in await seen.text(
            "#banner"
        )
        assert "live, without metrics" in await seen.text("#health")


async def test_an_address_that_means_nothing_does_not_stop_the_page(scene: Scene, browser: Browser) -> None:
    for name in ("chat", "other"):
        scene.add(service(name), lambda _: 3.0)
    await scene.run(30)
    async with served(scene) as site, visit(browser, f"{site.url}/#/%E0%A4") as seen:
        await seen.until("document.querySelectorAll('#list a').length === 2")
        assert "Choose a service" in await seen.text("main")
        await seen.page.evaluate("location.hash = '#/demo/chat'")
        await seen.page.wait_for_selector(".cards")
        assert seen.complaints == []


async def test_one_service_that_cannot_be_drawn_does_not_end_the_asking(scene: Scene, browser: Browser) -> None:
    scene.add(service("chat"), lambda _: 3.0)
    await scene.run(30)
    async with served(scene) as site, visit(browser, site.url) as seen:
        await seen.page.wait_for_selector(".cards")
        await seen.page.evaluate("document.getElementById('list').remove()")
        counted = "performance.getEntriesByType('resource').filter((one) => one.name.includes('brief=1')).length"
        before = await seen.page.evaluate(counted)
        await seen.until(f"{counted} > {before} + 1")


async def test_words_for_what_is_not_there(scene: Scene, browser: Browser) -> None:
    """No replica, no model, and advice that nobody carries out."""
    scene.add(
        service(
            "chat", scaling={"mode": "Advise", "minReplicas": 3, "maxReplicas": 8, "targets": {"tokensPerSecond": 250}}
        ),
        lambda _: 3.0,
        replicas=0,
    )
    await scene.run(10)
    async with served(scene) as site, visit(browser, site.url) as seen:
        await seen.page.wait_for_selector(".cards")
        shown = await seen.text("main")
        assert "no replica serves" in shown
        assert "(advised only)" in shown
        assert "not learned" not in shown


async def test_nothing_that_a_service_says_becomes_markup(scene: Scene, browser: Browser) -> None:
    """Messages of conditions come from containers, which may print what they like."""
    scene.add(service("chat"), lambda _: 3.0, emulated=NASTY)
    await scene.run(10)
    raw = scene.cache.get("InferenceService", ("demo", "chat"))
    assert raw is not None
    for condition in raw["status"]["conditions"]:
        condition["message"] = NASTY
    async with served(scene) as site, visit(browser, site.url) as seen:
        await seen.page.wait_for_selector(".cards")
        assert NASTY in await seen.text("main")
        assert await seen.page.locator("main img").count() == 0
        assert seen.complaints == []


async def test_the_server_lets_nothing_else_in(scene: Scene) -> None:
    scene.add(service("chat"), lambda _: 3.0)
    await scene.run(10)
    async with served(scene) as site, aiohttp.ClientSession(site.url) as session:
        for path in ("/", "/page.js", "/page.css", "/mark.svg", "/state.json"):
            async with session.get(path) as answer:
                assert answer.status == 200
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for path in ("/__init__.py", "/../core/state/__init__.py", "/state.json/.."):
            async with session.get(path) as answer:
                assert answer.status in (404, 200)
                assert "import" not in await answer.text()
        async with session.post("/state.json") as answer:
            assert answer.status == 405


async def test_questions(scene: Scene) -> None:
    scene.add(service("chat"), lambda _: 3.0)
    scene.add(service("other"), lambda _: 3.0)
    await scene.run(10)

    async def ask(session: aiohttp.ClientSession, query: str) -> Any:
        async with session.get(f"/state.json?{query}") as answer:
            return json.loads(await answer.text()) if answer.status == 200 else (answer.status, await answer.text())

    async with served(scene) as site, aiohttp.ClientSession(site.url) as session:
        both = await ask(session, "")
        assert [one["name"] for one in both["services"]] == ["chat", "other"]
        assert both["tick_seconds"] == 5
        assert both["metrics_source"] == {"ok": True, "detail": ""}
        one = (await ask(session, "service=demo/other"))["services"]
        assert [(item["name"], len(item["history"]) > 0) for item in one] == [("other", True)]
        brief = (await ask(session, "brief=1"))["services"]
        assert [(item["name"], item["history"], item["signals"]) for item in brief] == [
            ("chat", [], []),
            ("other", [], []),
        ]
        assert (await ask(session, "service=demo/none"))["services"] == []
        assert await ask(session, "service=chat") == (400, "service must be namespace/name, got 'chat'")
        assert await ask(session, "brief=maybe") == (400, "brief must be 1 or 0, got 'maybe'")
