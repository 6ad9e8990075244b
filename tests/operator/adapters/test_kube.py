"""Answers that a real API server does not give, but what stands before one does. The rest is tested on a real one."""

import shutil
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from penstock_lab.cluster.certificates import Certificates, create
from penstock_operator.adapters.errors import KubeError
from penstock_operator.adapters.kube import KubeClient

Start = Callable[..., Awaitable[KubeClient]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """A client of a server that always answers with the given text."""
    started: list[tuple[TestServer, KubeClient]] = []

    async def client(text: str, *, status: int = 200) -> KubeClient:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=text, status=status)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        server = TestServer(app)
        await server.start_server()
        made = KubeClient(Configuration(host=str(server.make_url("")).rstrip("/")))
        started.append((server, made))
        return made

    yield client
    for server, made in started:
        await made.close()
        await server.close()


@pytest.mark.parametrize("text", ["<html>log in</html>", "", "[]", "null", '"x"'])
async def test_what_is_no_object_is_never_taken_for_one(start: Start, text: str) -> None:
    client = await start(text)
    with pytest.raises(KubeError, match="something else than an object"):
        await client.list("Pod")
    with pytest.raises(KubeError, match="something else than an object"):
        await client.get("Service", namespace="a", name="b")


async def test_an_object_that_is_no_list_is_not_an_empty_one(start: Start) -> None:
    with pytest.raises(KubeError, match="something else than a list"):
        await (await start("{}")).list("Pod")


@pytest.mark.parametrize(
    ("text", "status", "reason", "message"),
    [
        ('{"reason": "Invalid", "message": "spec.x: no"}', 422, "Invalid", "spec.x: no"),
        ("<html>bad gateway</html>", 502, "502", "<html>bad gateway</html>"),
        ("[]", 500, "500", "[]"),
    ],
)
async def test_a_refusal_says_why(start: Start, text: str, status: int, reason: str, message: str) -> None:
    client = await start(text, status=status)
    with pytest.raises(KubeError) as problem:
        await client.get("Service", namespace="a", name="b")
    assert (problem.value.status, problem.value.reason, problem.value.message) == (status, reason, message)


async def test_what_does_not_exist_is_none(start: Start) -> None:
    assert await (await start("{}", status=404)).get("Service", namespace="a", name="b") is None


async def test_nobody_there_is_an_error_without_a_status() -> None:
    client = KubeClient(Configuration(host="http://127.0.0.1:1"))
    with pytest.raises(KubeError) as problem:
        await client.list("Pod")
    assert problem.value.status == 0
    await client.create_event({"metadata": {"namespace": "a"}})
    await client.close()


async def serve(certificates: Certificates, port: int | None = None) -> TestServer:
    """An API server that knows nothing, and shows the certificate of this authority."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="{}", status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.file("server.crt"), certificates.file("server.key"))
    server = TestServer(app, scheme="https", port=port)
    await server.start_server(ssl=context)
    return server


async def test_an_authority_that_changes_is_trusted_without_a_restart(tmp_path: Path) -> None:
    old, new = (create(tmp_path / name, service_ip="10.0.0.1") for name in ("old", "new"))
    trusted = tmp_path / "ca.crt"
    shutil.copy(old.authority, trusted)
    server = await serve(old)
    port = server.port
    configuration = Configuration(host=str(server.make_url("")).rstrip("/"))
    configuration.ssl_ca_cert = str(trusted)
    client = KubeClient(configuration)
    try:
        assert await client.get("Service", namespace="a", name="b") is None
        await server.close()
        server = await serve(new, port)
        with pytest.raises(KubeError, match="certificate verify failed"):
            await client.get("Service", namespace="a", name="b")
        trusted.write_text("half a cert")
        with pytest.raises(KubeError, match="certificate verify failed"):
            await client.get("Service", namespace="a", name="b")
        shutil.copy(new.authority, trusted)
        assert await client.get("Service", namespace="a", name="b") is None
    finally:
        await client.close()
        await server.close()
