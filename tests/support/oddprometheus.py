"""What may stand at the address that the operator takes for Prometheus: the real one, or something else, by turns."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

PAGE = b"<!DOCTYPE html><title>Log in</title>"


class OddPrometheus(ThreadingHTTPServer):
    """Passes on to the Prometheus at `behind` while `manner` is empty.

    Attributes:
        manner: "page", "unauthorized", "nothing" or "silence": what is answered instead.
        url: its own address.
    """

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = behind
        self.manner = ""
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.over = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: OddPrometheus

    def do_GET(self) -> None:
        manner = self.server.manner
        if manner == "silence":
            self.server.over.wait()
        elif manner:
            self._say(*{"page": (200, PAGE), "unauthorized": (401, b"Unauthorized"), "nothing": (200, b"")}[manner])
        else:
            answer = requests.get(f"{self.server.behind}{self.path}", timeout=30)
            self._say(answer.status_code, answer.content)

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        with contextlib.suppress(ConnectionError):  # the operator gave up
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def odd_prometheus(behind: str) -> Iterator[OddPrometheus]:
    """It, listening on loopback."""
    with OddPrometheus(behind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
