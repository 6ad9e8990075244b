"""The gateway as Kubernetes runs it: settings, keys, several side by side, an API server that goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from gateway_world import MODEL, NAMESPACE, SERVICES, eventually, raw
from penstock_gateway.errors import ConfigurationError
from penstock_gateway.keys import Keys
from penstock_gateway.settings import Settings


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
        ("PENSTOCK_PACED", "no"),
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
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False, timeout=120)
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
