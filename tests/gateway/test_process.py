"""The gateway as Kubernetes runs it: settings, keys, several side by side, an API server that goes away, the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys

import aiohttp
import pytest

from gateway_world import MODEL, NAMESPACE, SERVICES, eventually, raw
from penstock_gateway.errors import ConfigurationError
from penstock_gateway.keys import Keys
from penstock_gateway.settings import Settings

EVENT = b'data: {"choices":[{"index":0,"text":"x"}]}\n\n'


def test_settings_have_defaults_and_are_read_once():
    assert Settings.from_environment({}) == Settings()
    env = {"PENSTOCK_NAMESPACES": "a, b,", "PENSTOCK_GATEWAY_PORT": "0", "PENSTOCK_BIND_ADDRESS": "127.0.0.1"}
    found = Settings.from_environment(env)
    assert (found.namespaces, found.port, found.host) == (("a", "b"), 0, "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PENSTOCK_GATEWAY_PORT", "65536"),
        ("PENSTOCK_GATEWAY_ADMIN_PORT", "eighty"),
        ("PENSTOCK_DRAIN_SECONDS", "-1"),
        ("PENSTOCK_DRAIN_SECONDS", "inf"),
        ("PENSTOCK_HELD_BODIES_MEBIBYTES", "much"),
        ("PENSTOCK_MAX_BODY_BYTES", "8Mi"),
        ("PENSTOCK_HEAD_SECONDS", "0"),
        ("PENSTOCK_IDLE_SECONDS", "nan"),
    ],
)
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(ConfigurationError, match=f"{name} must be .* got '{value}'"):
        Settings.from_environment({name: value})


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"PENSTOCK_GATEWAY_PORT": "x"}, "PENSTOCK_GATEWAY_PORT must be a port"),
        ({"KUBECONFIG": "/nowhere/config"}, "KUBECONFIG: there is no file /nowhere/config"),
        ({"PENSTOCK_API_KEYS_FILE": "/nowhere/keys"}, "PENSTOCK_API_KEYS_FILE: cannot read /nowhere/keys"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(env, words):
    command = [sys.executable, "-m", "penstock_gateway"]
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("penstock-gateway: error: ")
    assert words in line


def test_keys_are_read_again_when_they_change(tmp_path, monkeypatch):
    monkeypatch.setattr("penstock_gateway.keys._LOOK_SECONDS", 0.0)
    file = tmp_path / "keys"
    file.write_text("one\n\n  two  \n")
    keys = Keys(file)
    assert [keys.accept(given) for given in ("Bearer one", "bearer two", "Bearer  two ")] == [True] * 3
    assert [keys.accept(given) for given in (None, "", "one", "Bearer", "Bearer ", "Bearer three", "Basic one")] == [
        False
    ] * 7
    assert not keys.accept("Bearer \udcff"), "as aiohttp gives bytes that are no text"
    fresh = tmp_path / "fresh"
    fresh.write_text("three\n")
    fresh.replace(file)  # as a mounted Secret changes
    assert [keys.accept(f"Bearer {key}") for key in ("one", "three")] == [False, True]
    file.unlink()
    assert keys.accept("Bearer three"), "a file that is gone for a moment locks nobody out"
    file.write_text("")
    assert not keys.accept("Bearer three")


async def test_api_keys_are_asked_for_and_kept_from_the_worker(world, tmp_path, odd_worker):
    async def answer(call):
        await call.reply(b"{}")

    service, server = await odd_worker(answer)
    file = tmp_path / "keys"
    file.write_text("secret\n")
    gateway = await world.start_gateway(api_keys_file=str(file))
    await world.open(service, 1, gateway)
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        for url in (f"{world.base(service, gateway)}/completions", f"{gateway.url}/v1/nothing"):
            async with world.http.post(url, json={}, headers=headers) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "Bearer"
                assert (await response.json())["error"]["code"] == "invalid_api_key"
    with raw("127.0.0.1", gateway.port) as client:
        client.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\r\n\r\n")
        assert (await asyncio.to_thread(client.recv, 1000)).startswith(b"HTTP/1.1 401 ")
    headers = {"Authorization": "Bearer secret"}
    async with world.http.post(f"{world.base(service, gateway)}/completions", json={}, headers=headers) as response:
        assert response.status == 200
    async with world.http.post(f"{world.base(service)}/completions", json={}, headers=headers) as response:
        assert response.status == 200
    assert ["authorization" in call.headers for call in server.calls] == [False, True]
    async with world.http.get(f"{gateway.admin_url}/demand") as response:
        assert response.status == 200


async def test_bodies_of_waiting_requests_have_a_bound_of_memory(world):
    service = await world.service()
    gateway = await world.start_gateway(held_bodies_mebibytes="1")
    waiting = asyncio.create_task(world.ask(service, prompt="x" * 900_000, gateway=gateway))

    async def held() -> bool:
        return (await world.demand(service, gateway)).get("held") == 1

    await eventually(held, "one is held")
    async with world.post(service, prompt="x" * 200_000, gateway=gateway) as response:
        assert response.status == 503
        assert (await response.json())["error"]["code"] == "overloaded"
    assert await world.metric(service, "requests_failed_total", reason="overloaded", gateway=gateway) == 1
    assert await world.metric(service, "requests_arrived_total", gateway=gateway) == 2
    waiting.cancel()

    async def left() -> bool:
        return (await world.demand(service, gateway))["held"] == 0

    await eventually(left, "it left")
    again = asyncio.create_task(world.ask(service, prompt="x" * 900_000, gateway=gateway))
    await eventually(held, "there is room again")
    again.cancel()


async def test_several_gateways_share_the_workers_and_nothing_else(world):
    service, workers = await world.serving(2, device={"slots": 8})
    other = await world.start_gateway()
    await world.open(service, 2, other)
    asked = [world.ask(service, tokens=20, gateway=gateway) for gateway in (world.gateway, other) for _ in range(10)]
    assert {status for status, _answer in await asyncio.gather(*asked)} == {200}
    assert await world.metric(service, "requests_arrived_total") == 10
    assert await world.metric(service, "requests_arrived_total", gateway=other) == 10
    shares = [await world.of_worker(worker, "requests_arrived_total") for worker in workers]
    assert sum(shares) == 20
    assert min(shares) >= 6, "each spreads what it has"


async def test_the_end_waits_for_requests_and_takes_new_ones_until_then(world):
    service, _workers = await world.serving()
    gateway = await world.start_gateway(drain_seconds="30")
    await world.open(service, 1, gateway)
    async with world.post(service, tokens=100, stream=True, gateway=gateway) as stream:
        await stream.content.readuntil(b"\n\n")
        held = await world.service(known=False)
        await eventually(lambda: world.demand(held, gateway), "the second gateway knows it too")
        waiting = asyncio.create_task(world.ask(held, gateway=gateway))
        gateway.child.signal(signal.SIGTERM)

        async def not_ready() -> bool:
            async with world.http.get(f"{gateway.admin_url}/readyz") as response:
                return response.status == 503

        await eventually(not_ready, "it says that it goes")
        async with world.http.get(f"{gateway.admin_url}/livez") as response:
            assert response.status == 200
        async with world.post(service, tokens=2, gateway=gateway) as late:
            assert late.status == 200
            assert late.headers["Connection"] == "close"
        assert (await stream.content.read()).endswith(b"data: [DONE]\n\n")
        worker = await world.worker()
        await world.pod(held, worker.address)
        assert (await waiting)[0] == 200
    assert await asyncio.to_thread(gateway.child.wait) == 0
    assert "event=stopped status=0" in gateway.child.log


async def test_the_end_comes_when_the_time_is_over(world):
    service, (worker,) = await world.serving()
    gateway = await world.start_gateway(drain_seconds="0.5")
    await world.open(service, 1, gateway)
    async with world.post(service, tokens=2000, stream=True, gateway=gateway) as stream:
        await stream.content.readuntil(b"\n\n")
        gateway.child.signal(signal.SIGTERM)
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.content.read()
    assert await asyncio.to_thread(gateway.child.wait) == 1
    await world.reaches(worker, "requests_running", 0)


async def test_the_end_is_told_to_those_who_are_still_served(world, odd_worker):
    """A held request, one whose worker is silent, a stream; one that never comes in full makes the end take long."""

    async def answer(call):
        if b"silent" not in call.body:
            await call.stream(EVENT, end=False)
        await asyncio.Event().wait()

    gateway = await world.start_gateway(drain_seconds="0.5")
    service, _server = await odd_worker(answer)
    await world.open(service, 1, gateway)
    empty = await world.service(known=False)
    await eventually(lambda: world.demand(empty, gateway), "the second gateway knows it too")
    with raw("127.0.0.1", gateway.port) as stuck:
        head = f"POST /{NAMESPACE}/{service}/v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        stuck.sendall(head.encode() + b"{")
        async with world.post(service, stream=True, gateway=gateway) as stream:
            assert await stream.content.readuntil(b"\n\n") == EVENT
            held = asyncio.create_task(refused(world, empty, gateway))
            silent = asyncio.create_task(refused(world, service, gateway, prompt="silent"))

            async def waiting() -> bool:
                held = (await world.demand(empty, gateway))["held"]
                return (held, (await world.demand(service, gateway))["in_flight"]) == (1, 2)

            await eventually(waiting, "all wait")
            gateway.child.signal(signal.SIGTERM)
            assert (await world.demand(empty, gateway))["held"] == 1, "told while it drains"
            text = b""
            try:
                async for chunk in stream.content.iter_any():
                    text += chunk
            except aiohttp.ClientPayloadError:
                text += b"cut"
            assert text.endswith(b"\n\ncut")
            text = text.removesuffix(b"cut")
            assert json.loads(text.strip().removeprefix(b"data: "))["error"]["code"] == "stream_broken"
        for one in (held, silent):
            status, retry, code = await one
            assert (status, code) == (503, "shutdown")
            assert int(retry) > 0
        assert await closed(gateway.port)
        # Nobody can ask for anything any more, and the operator still gets an answer.
        demand = await world.demand(empty, gateway)
        assert (demand["arrived"], demand["held"]) == (1, 0)
        assert await world.metric(empty, "requests_failed_total", reason="shutdown", gateway=gateway) == 1
        assert await world.metric(service, "requests_failed_total", reason="shutdown", gateway=gateway) == 1
        assert await world.metric(service, "requests_failed_total", reason="stream_broken", gateway=gateway) == 1
    assert await asyncio.to_thread(gateway.child.wait) == 1
    assert "Traceback" not in gateway.child.log


async def refused(world, service, gateway, **body):
    async with world.post(service, gateway=gateway, **body) as response:
        return response.status, response.headers["Retry-After"], (await response.json())["error"]["code"]


async def closed(port: int) -> bool:
    """Wait until nobody listens there."""

    async def refuses() -> bool:
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return True
        writer.close()
        return False

    return await eventually(refuses, "the port is closed")


async def test_connections_that_bring_no_request_are_closed(world, odd_worker):
    go = asyncio.Event()

    async def answer(call):
        await go.wait()
        await call.reply(b"{}")

    gateway = await world.start_gateway(head_seconds="0.4", idle_seconds="2", max_body_bytes="100")
    service, _server = await odd_worker(answer)
    await world.open(service, 1, gateway)
    request = (
        f"POST /{NAMESPACE}/{service}/v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    )
    lines = [raw("127.0.0.1", gateway.port) for _ in range(4)]
    silent, partial, served, slow = lines
    partial.sendall(request[:20])
    for line in (served, slow):
        line.sendall(request)
    for line in (silent, partial):
        assert await asyncio.to_thread(line.recv, 1000) == b"", "no head in time"
    assert (await world.demand(service, gateway))["in_flight"] == 2, "who is served may wait for longer"
    go.set()
    for line in (served, slow):
        assert (await asyncio.to_thread(line.recv, 1000)).startswith(b"HTTP/1.1 200 ")
    slow.sendall(request[:20])
    assert await asyncio.to_thread(slow.recv, 1000) == b"", "nor a later one"
    served.sendall(request)
    assert (await asyncio.to_thread(served.recv, 1000)).startswith(b"HTTP/1.1 200 "), "idle for a moment is no reason"
    assert await asyncio.to_thread(served.recv, 1000) == b"", "idle for long is"
    async with world.post(service, prompt="x" * 100, gateway=gateway) as response:
        assert response.status == 413
        assert "larger than 100 bytes" in (await response.json())["error"]["message"]
    for line in lines:
        line.close()


async def test_a_client_that_waits_to_be_asked_for_its_body_is(world, odd_worker):
    async def answer(call):
        await call.reply(b"%d" % len(call.body))

    service, server = await odd_worker(answer)
    body = json.dumps({"prompt": "x" * 200_000}).encode()

    def talk(length: int) -> tuple[bytes, bytes]:
        with raw("127.0.0.1", world.gateway.port) as client:
            head = f"POST /{NAMESPACE}/{service}/v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
            client.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
            first = client.recv(1000)
            if b"100" not in first:
                return first, b""
            client.sendall(body)
            return first, client.recv(1000)

    first, second = await asyncio.to_thread(talk, len(body))
    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.endswith(b"%d" % len(body))
    assert "expect" not in server.calls[0].headers
    first, _ = await asyncio.to_thread(talk, 9 << 20)
    assert first.startswith(b"HTTP/1.1 413 "), "what is too large is not asked for"


class Wire:
    """A line to the API server that can be cut: bytes pass through untouched."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.up = True

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        self.up = False
        for writer in self._writers:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.up:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, far_writer}

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(1 << 16):
                    target.write(data)
                    await target.drain()
            except ConnectionError:
                pass
            target.close()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))


async def test_traffic_goes_on_without_the_api_server_and_changes_are_seen_after(world, kubeconfig, tmp_path):
    import yaml

    config = yaml.safe_load(kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]["server"]
    async with Wire(int(server.rsplit(":", 1)[1])) as wire:
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{wire.port}"
        file = tmp_path / "kubeconfig"
        file.write_text(yaml.safe_dump(config))
        service, (worker,) = await world.serving()
        gateway = await world.start_gateway(KUBECONFIG=str(file))
        await world.open(service, 1, gateway)
        wire.cut()

        async def noticed() -> bool:
            return gateway.child.log.count("event=watch_interrupted") == 2

        await eventually(noticed, "it notices")
        late = await world.service()
        removed = await world.service()
        await world.delete(SERVICES, removed)
        other = await world.worker()
        await world.pod(late, other.address)
        assert [status for status, _ in [await world.ask(service, gateway=gateway) for _ in range(5)]] == [200] * 5
        assert (await world.ask(late, gateway=gateway))[0] == 404
        async with world.http.get(f"{gateway.admin_url}/readyz") as response:
            assert response.status == 200
        wire.up = True
        await eventually(lambda: world.demand(late, gateway), "it catches up")
        await world.open(late, 1, gateway)
        assert (await world.ask(late, gateway=gateway))[0] == 200
        assert await world.demand(removed, gateway) == {}
        gateway.child.signal(signal.SIGKILL)
    assert await world.of_worker(worker, "requests_arrived_total") == 5


async def test_history_that_the_server_has_forgotten_is_listed_again(world):
    """A watch from a resourceVersion of long ago is refused with 410, then all is listed."""
    from penstock_gateway.kube import Reflector, Sink, connect

    seen: list[str] = []
    service = await world.service()
    sink = Sink(
        replace=lambda objects: seen.extend(one["metadata"]["name"] for one in objects),
        apply=lambda one: seen.append(one["metadata"]["name"]),
        remove=lambda one: seen.append(f"-{one['metadata']['name']}"),
    )
    async with connect(str(world._kubeconfig)) as client:
        path = f"/apis/inference.penstock.dev/v1alpha1/namespaces/{NAMESPACE}/inferenceservices"
        reflector = Reflector(client, path, sink)
        reflector._version = "1"
        task = asyncio.create_task(reflector.run())
        await asyncio.wait_for(reflector.synced.wait(), 30)
        assert service in seen
        another = await world.service()
        await world.delete(SERVICES, another)

        async def told() -> bool:
            return another in seen and f"-{another}" in seen

        await eventually(told, "changes after the list are seen")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_models_on_the_admin_port_are_nobodys_business(world):
    async with world.http.post(f"{world.gateway.admin_url}/v1/completions", json={"model": MODEL}) as response:
        assert response.status == 404
