"""One run of the demo: load, observation, and the wait for the last replica to go."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import aiohttp

from penstock_contract import names
from penstock_lab.demo.display import Display
from penstock_lab.demo.errors import DemoError, StateError
from penstock_lab.demo.pace import Pace, measure_pace
from penstock_lab.demo.record import Record, Sample
from penstock_lab.demo.scenario import NAMESPACE, PROFILE, SERVICE, Scenario
from penstock_lab.demo.stage import Stage
from penstock_lab.demo.state import State, fetch, parse
from penstock_lab.kube import Kube, KubeError, Object, Resource
from penstock_lab.load import client

SERVICES = Resource(names.API_VERSION, names.PLURAL)
_READY_DEADLINE_SECONDS = 120.0
_SEEN_DEADLINE_SECONDS = 30.0
_POLL_SECONDS = 0.5
_SAMPLE_SECONDS = 1.0
_DRAW_SECONDS = 0.5


class Observer:
    """Reads the operator's state into a record until cancelled."""

    def __init__(self, stage: Stage, record: Record, *, price: float) -> None:
        self._url = stage.operator
        self._record = record
        self._price = price
        self.changed = asyncio.Event()
        self.start = asyncio.get_running_loop().time()

    @property
    def at(self) -> float:
        """Seconds from the start of the load."""
        return asyncio.get_running_loop().time() - self.start

    async def read(self, session: aiohttp.ClientSession) -> State:
        """The state now.

        Raises:
            StateError: the operator does not answer, or does not know the service yet.
        """
        page = await fetch(session, self._url)
        return parse(page, namespace=NAMESPACE, name=SERVICE, replica_price=self._price * PROFILE.accelerators)

    async def follow(self) -> None:
        """Sample once a second; an operator that does not answer leaves a gap."""
        async with aiohttp.ClientSession() as session:
            while True:
                with suppress(StateError):
                    state = await self.read(session)
                    self._record.take(Sample(round(self.at, 2), state))
                    self.changed.set()
                await asyncio.sleep(_SAMPLE_SECONDS)

    async def until(self, condition: Callable[[State], bool], *, seconds: float) -> bool:
        """Whether the newest state met a condition in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    self.changed.clear()
                    await self.changed.wait()
                    if self._record.last is not None and condition(self._record.last.state):
                        return True
        return False


async def make_ready(stage: Stage, *, say: Callable[[str], None]) -> float:
    """Wait for the first worker; return the price of an accelerator-hour, 0 when the example names none.

    Raises:
        DemoError: the service did not become ready.
    """
    say("waiting for the first worker to be ready")
    found: Object = {}
    async with Kube.from_kubeconfig(stage.cluster.kubeconfig) as kube:
        try:
            async with asyncio.timeout(_READY_DEADLINE_SECONDS):
                while not _is_ready(found):
                    await asyncio.sleep(_POLL_SECONDS)
                    with suppress(KubeError):
                        found = await kube.get(SERVICES, SERVICE, namespace=NAMESPACE)
        except TimeoutError as error:
            raise DemoError(f"{SERVICE} did not become ready: {found.get('status', {}).get('conditions')}") from error
    return float(found["spec"].get("cost", {}).get("perAcceleratorHour", 0))


async def perform(stage: Stage, scenario: Scenario, display: Display, *, price: float) -> Record:
    """Run the load against the staged service and return what was seen, the replicas' way back to one included.

    Raises:
        DemoError: the operator does not show the service.
    """
    record = Record(scenario.plan())
    observer = Observer(stage, record, price=price)
    tasks = [asyncio.create_task(observer.follow(), name="follow")]
    try:
        if not await observer.until(lambda state: state.replicas.ready == 1, seconds=_SEEN_DEADLINE_SECONDS):
            raise DemoError(
                f"the operator at {stage.operator} does not show one ready replica of {NAMESPACE}/{SERVICE}"
            )
        observer.start = asyncio.get_running_loop().time()
        record.begin(datetime.now(UTC).timestamp())
        tasks.append(asyncio.create_task(_draw(display, record, observer, price), name="draw"))
        await client.run(
            record.planned, pick=_in_turn(stage.gateways), model=SERVICE, attempts=1, on_outcome=record.outcomes.append
        )
        await observer.until(_alone, seconds=scenario.scale_down_deadline_seconds)
        display.show(record, at=observer.at, price=price)
    finally:
        await _end(tasks)
    return record


async def observe_pace(stage: Stage) -> Pace:
    """Whether the workers' emulated devices kept their pace.

    Raises:
        DemoError: Prometheus did not answer.
    """
    url = stage.cluster.prometheus_url
    return await measure_pace(url, namespace=NAMESPACE, service=SERVICE, model=PROFILE.model)


def _alone(state: State) -> bool:
    counts = state.replicas
    return (counts.desired, counts.ready, counts.held) == (1, 1, 1)


async def _draw(display: Display, record: Record, observer: Observer, price: float) -> None:
    while True:
        display.show(record, at=observer.at, price=price)
        await asyncio.sleep(_DRAW_SECONDS)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


def _in_turn(urls: Sequence[str]) -> Callable[[], Awaitable[str]]:
    order = itertools.cycle(urls)

    async def pick() -> str:
        return next(order)

    return pick


def _is_ready(found: dict[str, Any]) -> bool:
    conditions = found.get("status", {}).get("conditions", [])
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
