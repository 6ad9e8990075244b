"""The program behind the tests' container image: a small HTTP server that can be told how to behave.

On SIGTERM it finishes the requests in flight and exits 0, unless STUBBORN is set. Lines on standard output are the
test's view of the order of things.
"""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

state = {"ready": os.environ.get("READY", "1") == "1", "alive": True}
in_flight: list[str] = []
idle = threading.Condition()
release = threading.Event()
ending = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        in_flight.append(self.path)
        try:
            self.serve()
        finally:
            with idle:
                in_flight.remove(self.path)
                idle.notify_all()

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        name = url.path.strip("/")
        if name in state:
            self.answer(200 if state[name] else 503, state[name])
        elif name == "set":
            state.update({key: value == "1" for key, value in query.items()})
            self.answer(200, state)
        elif name == "about":
            nice = os.getpriority(os.PRIO_PROCESS, 0)
            self.answer(200, {"env": dict(os.environ), "argv": sys.argv[1:], "pid": os.getpid(), "nice": nice})
        elif name == "file":
            self.answer(200, Path(query["path"]).read_text())
        elif name == "child":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
            self.answer(200, child.pid)
        elif name == "hold":
            print("holding", flush=True)
            release.wait()
            self.answer(200, "held to the end")
        elif name == "release":
            release.set()
            self.answer(200, "released")
        elif name == "exit":
            self.answer(200, "bye")
            print(f"exiting with {query['code']}", flush=True)
            os._exit(int(query["code"]))
        elif name == "note":
            print(f"note {query['text']}", flush=True)
            self.answer(200, "noted")
        else:
            self.answer(404, name)

    def answer(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def on_sigterm(*_):
    print("SIGTERM", flush=True)
    if not os.environ.get("STUBBORN"):
        ending.set()


signal.signal(signal.SIGTERM, on_sigterm)
if failure := os.environ.get("FAIL"):
    print(failure, flush=True)
    sys.exit(3)
server = http.server.ThreadingHTTPServer((os.environ["PENSTOCK_BIND_ADDRESS"], 8000), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("serving", flush=True)
while not ending.wait(0.02):
    pass
with idle:
    idle.wait_for(lambda: not in_flight)
