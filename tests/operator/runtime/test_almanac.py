"""The day before comes back from a real Prometheus; one that does not answer is asked again; no answer is large."""

import asyncio
import math
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from penstock_lab.cluster.binaries import Resolver
from penstock_lab.cluster.catalog import TOOLS
from penstock_lab.cluster.settings import Settings
from penstock_operator.adapters.prometheus import PrometheusSource
from penstock_operator.core.ports import Sample, Series, Unavailable
from penstock_operator.core.scaling.season import BIN_SECONDS, BINS, DAY_SECONDS, Season, priced
from penstock_operator.runtime.almanac import Almanac
from penstock_operator.runtime.cache import Cache
from penstock_operator.runtime.measure import Measure
from penstock_operator.runtime.terms import Terms, terms_of
from waiting import eventually

NOW = 60.0 * math.floor(datetime.now(UTC).timestamp() / 60.0)
STEP_AT = NOW - DAY_SECONDS + 1200.0  # so yesterday's step is to come in twenty minutes
EVERY_SECONDS = 15.0
Services = list[tuple[tuple[str, str], Terms]]


@pytest.fixture
def services(resource: Callable[..., Any]) -> Services:
    cache, names = Cache(), ("chat", "young", "fixed")
    for name in names:
        scaling = {"scaling": None, "replicas": 3} if name == "fixed" else {}
        cache.put(resource(name, uid=f"u-{name}", **scaling))
    found = [(("team-a", name), cache.service(("team-a", name))) for name in names]
    return [(key, terms_of(one)) for key, one in found]  # type: ignore[arg-type] # all of them can be read


def counters() -> str:
    """What gateways counted over a day: `chat` with a step, `young` for an hour, a service that is not scaled."""
    lines = ["# TYPE penstock_gateway_requests_arrived_total counter"]
    for name, begin in (("chat", NOW - DAY_SECONDS - 600.0), ("young", NOW - 3600.0), ("fixed", NOW - 3600.0)):
        total, at = 0.0, begin
        while at <= NOW:
            labels = f'namespace="team-a",inferenceservice="{name}"'
            lines.append(f"penstock_gateway_requests_arrived_total{{{labels}}} {total:g} {at * 1e3:.0f}")
            total += EVERY_SECONDS * (8.0 if at >= STEP_AT else 2.0)
            at += EVERY_SECONDS
    return "\n".join(lines) + "\n"


class Page(BaseHTTPRequestHandler):
    """A day of counters, each with its time: one scrape brings them all."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(counters().encode())

    def log_message(self, *_: Any) -> None:
        """No line for each request."""


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[str]:
    """Its URL, once it has the day."""
    program = Resolver(Settings.from_environment()).resolve(TOOLS["prometheus"]).path
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as page, socket.create_server(("127.0.0.1", 0)) as probe:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        targets = [{"targets": [f"127.0.0.1:{page.server_port}"]}]
        jobs = [{"job_name": "day", "scrape_interval": "2s", "scrape_timeout": "2s", "static_configs": targets}]
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": jobs}))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        probe.close()
        command = [
            str(program),
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address={address}",
        ]
        with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                query = f"http://{address}/api/v1/query?query=penstock_gateway_requests_arrived_total&time={NOW:.0f}"
                eventually(
                    lambda: len(requests.get(query, timeout=2).json()["data"]["result"]) == 3, what="the day is there"
                )
                yield f"http://{address}"
            finally:
                process.terminate()
                page.shutdown()


async def recalled(almanac: Almanac, services: Services, *, gateways: int = 1, now: float = NOW) -> dict[str, Season]:
    async with asyncio.timeout(30):
        while True:
            found = almanac.once(services, gateways=gateways, now=now)
            if found or almanac.settled:
                return found
            await asyncio.sleep(0)


async def test_yesterday_comes_back_from_prometheus(prometheus: str, services: Services) -> None:
    source = PrometheusSource(prometheus, timeout_seconds=10.0)
    almanac = Almanac(Measure(source))
    found = await recalled(almanac, services)
    assert set(found) == {"u-chat", "u-young"}, "only what is scaled"
    chat = priced(found["u-chat"], 10.0)
    coming = int((NOW + 1200.0) // BIN_SECONDS)
    assert [chat.of(coming + bins) for bins in (-3, -2, 1, 2)] == pytest.approx([2.0, 2.0, 8.0, 8.0], rel=0.02)
    assert sum(math.isnan(chat.of(number)) for number in range(BINS)) <= 1
    assert math.isnan(found["u-young"].of(coming)), "what nobody saw is unknown, not zero"
    assert found["u-young"].of(coming - 50) == pytest.approx(8.0, rel=0.02)
    assert almanac.once(services, gateways=1, now=NOW + 5.0) == {}, "once"
    nothing = await recalled(Almanac(Measure(source)), services, gateways=0)
    assert nothing == {}, "no worker was scraped"
    source.close()


class Source:
    """A load of one for everybody, or no answer."""

    def __init__(self) -> None:
        self.away = True
        self.ranges: list[tuple[float, float, float]] = []

    async def instant(self, query: str) -> tuple[Sample, ...] | Unavailable:
        del query
        return ()

    async def range(self, query: str, *, start: float, end: float, step: float) -> tuple[Series, ...] | Unavailable:
        assert "penstock_gateway_requests_arrived_total[60s]" in query
        self.ranges.append((start, end, step))
        if self.away:
            return Unavailable("away")
        points = tuple((start + step * number, 1.0) for number in range(int((end - start) / step) + 1))
        return (Series({"namespace": "team-a", "inferenceservice": "chat"}, points),)


async def test_who_does_not_answer_is_asked_again_for_a_while(services: Services) -> None:
    source = Source()
    almanac = Almanac(Measure(source))
    assert await recalled(almanac, services) == {}
    assert len(source.ranges) == 1, "where the first question is not answered the others are spared"
    source.away = False
    assert set(await recalled(almanac, services, now=NOW + 100.0)) == {"u-chat"}
    source.away, late = True, Almanac(Measure(source))
    await recalled(late, services)
    source.away = False
    assert await recalled(late, services, now=NOW + 301.0) == {}


async def test_the_day_is_asked_for_in_slices_that_leave_nothing_out(services: Services) -> None:
    source = Source()
    source.away = False
    many = [((f"team-{number}", key[1]), terms) for number in range(4000) for key, terms in services[:1]]
    found = await recalled(Almanac(Measure(source)), [*services, *many])
    assert not any(math.isnan(found["u-chat"].of(number)) for number in range(BINS))
    assert all((end - start) / step * 4000 <= 200_000 for start, end, step in source.ranges)
    assert all(later[0] == earlier[1] + 60.0 for earlier, later in zip(source.ranges, source.ranges[1:], strict=False))
