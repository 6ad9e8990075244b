"""What stands between the operator and a real Prometheus: TLS, passwords, tokens, tenants, login pages, silence."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import requests
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from penstock_lab.cluster import certificates
from penstock_lab.cluster.binaries import Resolver
from penstock_lab.cluster.catalog import TOOLS
from penstock_lab.cluster.settings import Settings
from penstock_operator.adapters.prometheus import Access, PrometheusSource
from penstock_operator.core.ports import Sample, Unavailable
from waiting import eventually

USER, PASSWORD = "operator", "open sesame"
BCRYPT = "$2b$04$3dYZDPeJ8GoYYHKKGctpfeSjsiruE/P30DNDeoV0im2j6cskFkdIm"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Front = Callable[[Handler], AbstractAsyncContextManager[str]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.create(tmp_path_factory.mktemp("authority"), service_ip="10.96.0.1")


@pytest.fixture(scope="module")
def fenced(authority: certificates.Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Prometheus with a certificate of a private CA that asks for a password."""
    folder = tmp_path_factory.mktemp("prometheus")
    tls = {"cert_file": authority.file("server.crt"), "key_file": authority.file("server.key")}
    (folder / "web.yml").write_text(yaml.safe_dump({"tls_server_config": tls, "basic_auth_users": {USER: BCRYPT}}))
    (folder / "prometheus.yml").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        url = f"https://127.0.0.1:{probe.getsockname()[1]}"
    command = [
        str(Resolver(Settings.from_environment()).resolve(TOOLS["prometheus"]).path),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.config.file={folder}/web.yml",
        f"--web.listen-address={url.removeprefix('https://')}",
        "--log.level=warn",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            ca = str(authority.authority)
            eventually(
                lambda: requests.get(f"{url}/-/ready", auth=(USER, PASSWORD), verify=ca, timeout=2).ok,
                what="Prometheus is ready",
            )
            yield url
        finally:
            process.terminate()


@pytest.fixture
def front() -> Front:
    """A server of a handler's; gives its URL."""

    @asynccontextmanager
    async def opened(handler: Handler) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        async with TestServer(app) as server:
            yield f"http://{server.host}:{server.port}"

    return opened


async def ask(url: str, access: Access, *, timeout_seconds: float = 5.0) -> tuple[Sample, ...] | Unavailable:
    source = PrometheusSource(url, timeout_seconds=timeout_seconds, access=access)
    try:
        return await source.instant("vector(1)")
    finally:
        source.close()


async def refusal(url: str, access: Access | None = None, *, timeout_seconds: float = 5.0) -> str:
    found = await ask(url, access or Access(), timeout_seconds=timeout_seconds)
    assert isinstance(found, Unavailable)
    assert found.reason.startswith(f"Prometheus at {url} ")
    return found.reason


async def test_a_password_is_read_anew_for_each_query(
    fenced: str, authority: certificates.Certificates, tmp_path: Path
) -> None:
    user, password = tmp_path / "username", tmp_path / "password"
    user.write_text(USER)
    password.write_text(f"{PASSWORD}\n")
    source = PrometheusSource(
        fenced, access=Access(username_file=user, password_file=password, ca_file=authority.authority)
    )
    assert await source.instant("vector(1)") == (Sample({}, 1.0),)
    password.write_text("rotated elsewhere first")
    wrong = await source.instant("vector(1)")
    assert isinstance(wrong, Unavailable)
    assert "HTTP 401 (Unauthorized); what it asks for is prometheus.tokenSecretRef" in wrong.reason
    assert "rotated" not in wrong.reason
    password.write_text(PASSWORD)
    assert await source.instant("vector(1)") == (Sample({}, 1.0),)
    source.close()


async def test_a_certificate_of_an_unknown_authority_is_said(fenced: str) -> None:
    assert "certificate that is not trusted, see prometheus.caConfigMapRef" in await refusal(fenced)


async def test_a_ca_file_that_is_not_there_is_said(fenced: str, tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    said = await refusal(fenced, Access(ca_file=ca))
    assert f"cannot be asked: {ca} is no file; see prometheus.caConfigMapRef of the chart" in said
    ca.write_text("-----BEGIN CERTIFICATE-----\nnone\n")
    assert "see prometheus.caConfigMapRef of the chart" in await refusal(fenced, Access(ca_file=ca))
    certificates.create(tmp_path / "another", service_ip="10.96.0.1")
    said = await refusal(fenced, Access(ca_file=tmp_path / "another" / "ca.crt"))
    assert "certificate that is not trusted, see prometheus.caConfigMapRef" in said


async def test_token_and_tenant_reach_what_stands_before_prometheus(
    fenced: str, authority: certificates.Certificates, front: Front, tmp_path: Path
) -> None:
    """As a gateway of Mimir or Thanos does it: the tenant is a header, the token somebody else's."""
    token = tmp_path / "token"
    token.write_text("secret\n")

    async def guarded(request: web.Request) -> web.Response:
        if "X-Scope-OrgID" not in request.headers:
            return web.Response(status=401, text="no org id")
        if request.headers.get("Authorization") != "Bearer secret":
            return web.Response(status=403, text="no such token")
        context = ssl.create_default_context(cafile=str(authority.authority))
        async with (
            aiohttp.ClientSession(headers={"Authorization": aiohttp.encode_basic_auth(USER, PASSWORD)}) as session,
            session.get(f"{fenced}{request.path_qs}", ssl=context) as answer,
        ):
            return web.Response(body=await answer.read(), content_type="application/json")

    tenant = {"X-Scope-OrgID": "team-a"}
    async with front(guarded) as url:
        assert await ask(url, Access(token_file=token, headers=tenant)) == (Sample({}, 1.0),)
        assert "HTTP 401 (no org id); what it asks for is" in await refusal(url, Access(token_file=token))
        token.write_text("old")
        assert "HTTP 403 (no such token)" in await refusal(url, Access(token_file=token, headers=tenant))


@pytest.mark.parametrize("text", ["", "two\nlines", "\x00"])
async def test_a_token_that_cannot_be_sent_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(text)
    said = await refusal("http://127.0.0.1:1", Access(token_file=tmp_path / "token"))
    assert f"cannot be asked: {tmp_path}/token is empty or holds more than one line" in said


async def test_a_login_page_is_called_one(front: Front) -> None:
    async def login(request: web.Request) -> web.StreamResponse:
        if request.path != "/login":
            raise web.HTTPFound("/login")
        return web.Response(text="\n<!DOCTYPE html><title>Log in</title>", content_type="text/html")

    async with front(login) as url:
        said = await refusal(url)
    assert "answered with a page, not with data: it is no query API, or a login stands before it" in said
    assert "prometheus.url of the chart" in said


async def test_a_page_of_an_error_is_not_quoted(front: Front) -> None:
    async def broken(_request: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>Bad gateway</html>", content_type="text/html")

    async with front(broken) as url:
        assert (await refusal(url)).endswith("refused the query: HTTP 502")


async def test_nothing_is_called_nothing(front: Front) -> None:
    async def empty(_request: web.Request) -> web.Response:
        return web.Response()

    async with front(empty) as url:
        assert "answered with nothing" in await refusal(url)


async def test_silence_ends_at_the_timeout(front: Front) -> None:
    async def silent(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with front(silent) as url:
        assert "did not answer within 0.2 s" in await refusal(url, timeout_seconds=0.2)


async def test_answers_that_never_end_keep_no_thread(front: Front) -> None:
    """Each byte comes in time. More of them than there are threads, and then a sound answer."""
    healthy = asyncio.Event()

    async def drip(_request: web.Request) -> web.StreamResponse:
        if healthy.is_set():
            return web.json_response({"status": "success", "data": {"result": []}})
        answer = web.StreamResponse()
        await answer.prepare(_request)
        while True:
            await answer.write(b" ")
            await asyncio.sleep(0.05)

    async with front(drip) as url:
        source = PrometheusSource(url, timeout_seconds=0.3)
        for found in await asyncio.gather(*(source.instant("up") for _ in range(6))):
            assert isinstance(found, Unavailable)
            assert "did not answer within 0.3 s" in found.reason
            assert not found.gone, "somebody is there"
        healthy.set()
        assert await source.instant("up") == ()
        source.close()
