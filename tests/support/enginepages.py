"""Metrics pages of four engines, played at their own pace over HTTP under the names of services."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

PAGES = Path(__file__).parents[1] / "engines" / "pages"
NAMESPACE = "engines"
SCRAPE_SECONDS = 0.5
# Seconds between the two pages of an engine.
SPANS = {"vllm": 5.05, "sglang": 1.0, "tgi": 1.0, "tensorrtllm": 1.0}
PODS = {"vllm": 2, "sglang": 1, "tgi": 1, "tensorrtllm": 1, "queue": 1}
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*(?:\{.*\})?) (\S+)$")


@cache
def _recorded(engine: str) -> tuple[tuple[str, float, float, bool], ...]:
    """(line or name, value of the first page, value of the second, counts) of each line; comments count nothing."""
    first, second = ((PAGES / f"{engine}.{number}.prom").read_text().splitlines() for number in (0, 1))
    before = {found[1]: float(found[2]) for line in first if (found := _SAMPLE.match(line))}
    lines, kind = [], ""
    for line in second:
        found = _SAMPLE.match(line)
        if found is None:
            kind = line.split()[-1] if line.startswith("# TYPE") else kind
            lines.append((line, 0.0, 0.0, False))
        else:
            lines.append((f"{found[1]} ", before[found[1]], float(found[2]), kind != "gauge"))
    return tuple(lines)


def played(engine: str, seconds: float) -> str:
    """The page of an engine so long after its first one: counters go on as between the two, gauges are the second's."""
    share = seconds / SPANS[engine]
    return "".join(
        f"{line}{(first + (second - first) * share) if counts else second if line.endswith(' ') else ''}\n"
        for line, first, second, counts in _recorded(engine)
    )


def queue_that_grows(seconds: float) -> str:
    """A vLLM in which nothing finishes while two requests arrive in a second."""
    labels = 'engine="0",model_name="m"'
    return (
        f"vllm:num_requests_running{{{labels}}} 4\nvllm:num_requests_waiting{{{labels}}} {10 + 2 * seconds}\n"
        f'vllm:request_success_total{{{labels},finished_reason="stop"}} 7\n'
    )


class _Pages(BaseHTTPRequestHandler):
    """One page per pod. Time goes in whole scrape intervals, as Prometheus' timestamps do however late a scrape is."""

    begun: ClassVar[dict[str, float]] = {}

    def do_GET(self) -> None:
        pod = self.path.strip("/")
        service, since = pod.rpartition("-")[0], time.monotonic()
        since -= self.begun.setdefault(pod, since)
        seconds = round(since / SCRAPE_SECONDS) * SCRAPE_SECONDS
        page = queue_that_grows(seconds) if service == "queue" else played(service, seconds)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served() -> Iterator[str]:
    """Host and port of a server of the pages."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def jobs(target: str) -> list[dict[str, Any]]:
    """Scrape configurations of all pods, with the labels that the chart's relabelling would give them."""
    return [_job(service, target, pod) for service, count in PODS.items() for pod in range(count)]


def _job(service: str, target: str, pod: int) -> dict[str, Any]:
    labels = {"namespace": NAMESPACE, "inferenceservice": service, "pod": f"{service}-{pod}"}
    static = [{"targets": [target], "labels": labels}]
    return {"job_name": f"{service}-{pod}", "metrics_path": f"/{service}-{pod}", "static_configs": static}
