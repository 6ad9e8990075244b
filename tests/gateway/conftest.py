"""One nursery and one shared gateway for the tests; workers and objects belong to each test."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from gateway_world import NAMESPACE, Gateway, World, addresses
from nursery import Nursery
from oddserver import OddServer, Script
from penstock_lab.kube import Kube


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where processes come from."""
    with Nursery() as running:
        yield running


@pytest.fixture(scope="session")
def loopback() -> Iterator[str]:
    """Addresses for workers, each given out once."""
    return addresses()


@pytest.fixture(scope="session")
def api_server(kubeconfig: Path, kubectl: Callable[..., str], crd: None) -> Path:
    """The kubeconfig of an API server that knows our resource and the tests' namespace."""
    kubectl("create", "namespace", NAMESPACE)
    kubectl("wait", f"--namespace={NAMESPACE}", "--for=create", "serviceaccount/default", "--timeout=120s")
    return kubeconfig


@pytest.fixture(scope="session")
def places(nursery: Nursery, api_server: Path, tiny: Path, loopback: Iterator[str]) -> dict[str, object]:
    """What all worlds share."""
    return {"kubeconfig": api_server, "model": tiny, "addresses": loopback}


@pytest.fixture(scope="session")
def shared_gateway(
    nursery: Nursery, places: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """The gateway that most tests talk to."""
    folder = tmp_path_factory.mktemp("shared-gateway")

    async def start() -> Gateway:
        async with Kube.from_kubeconfig(places["kubeconfig"]) as kube, aiohttp.ClientSession() as http:
            return await World(nursery, kube, http, folder=folder, **places).start_gateway(drain_seconds="1")

    gateway = asyncio.run(start())
    yield gateway
    assert gateway.child.status() is None, gateway.child.log
    assert "Traceback" not in gateway.child.log, gateway.child.log


@pytest_asyncio.fixture
async def world(
    nursery: Nursery, places: dict[str, object], shared_gateway: Gateway, tmp_path: Path
) -> AsyncIterator[World]:
    """Workers, services and pods for one test, and requests through the shared gateway."""
    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        Kube.from_kubeconfig(places["kubeconfig"]) as kube,
        aiohttp.ClientSession(timeout=timeout, connector=connector) as http,
    ):
        world = World(nursery, kube, http, folder=tmp_path, gateway=shared_gateway, **places)
        yield world
        await world.close()
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest_asyncio.fixture
async def odd_worker(world: World) -> AsyncIterator[Callable[..., Awaitable[tuple[str, OddServer]]]]:
    """Makes a service whose one worker is an odd server with a script."""
    async with AsyncExitStack() as stack:

        async def make(script: Script, **spec: Any) -> tuple[str, OddServer]:
            server = await stack.enter_async_context(OddServer(world.address(), script))
            service = await world.service(**spec)
            await world.pod(service, server.address)
            await world.open(service, 1)
            return service, server

        yield make
