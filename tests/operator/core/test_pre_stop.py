"""The wait of engines that do not finish by themselves: the very command that is in the pod, against a real server."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from penstock_operator.core.pod import pod_template

BUSY = 'vllm:num_requests_running{model_name="m"} 1.0\nvllm:num_requests_waiting{model_name="m"} 0.0\n'
IDLE = BUSY.replace("1.0", "0.0")


@contextmanager
def metrics(pages: list[str]) -> Iterator[tuple[str, list[float]]]:
    """A server that gives the pages in turn, the last one for ever; its URL and when it was asked."""
    asked: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(time.monotonic())
            body = pages[min(len(asked), len(pages)) - 1].encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def hook(service: Callable[..., Any]) -> Callable[..., float]:
    """Runs the hook of a vLLM pod, with its address and times replaced; how long it took."""
    vllm = service(runtime={"engine": "VLLM", "image": "vllm/vllm-openai:v1"})
    template = pod_template("chat", vllm.spec, default_images={})
    command = template["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    program, gauges = command[2], command[6:]

    def run(url: str, *, longest: float) -> float:
        begin = time.monotonic()
        subprocess.run([sys.executable, "-c", program, url, "0", str(longest), *gauges], check=True, timeout=30)
        return time.monotonic() - begin

    return run


def test_it_waits_until_nothing_is_in_flight(hook: Callable[..., float]) -> None:
    with metrics([BUSY, BUSY, IDLE]) as (url, asked):
        hook(url, longest=20)
    assert len(asked) == 3


def test_it_does_not_wait_for_an_engine_that_is_dead(hook: Callable[..., float]) -> None:
    with metrics([IDLE]) as (url, _):
        pass
    assert hook(url, longest=20) < 10


@pytest.mark.parametrize("page", [BUSY, "something_else 0\n"])
def test_a_busy_engine_or_one_without_gauges_gets_all_its_time(hook: Callable[..., float], page: str) -> None:
    with metrics([page]) as (url, _):
        assert hook(url, longest=1.5) >= 1.5
