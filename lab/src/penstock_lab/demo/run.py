"""One run of the demo: load, observation, and the wait for the last replica to go."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from penstock_lab.demo.scenario import NAMESPACE, SEED, SERVICE, VOCABULARY, Scenario
from penstock_lab.demo.stage import Stage
from penstock_lab.demo.summary import Result
from penstock_lab.demo.watch import SERVICES, Point, condition, decisions, follow
from penstock_lab.kube import Kube
from penstock_lab.load import client
from penstock_lab.load.schedule import plan

_READY_DEADLINE_SECONDS = 90.0
_POLL_SECONDS = 0.5


class DemoError(Exception):
    """The demo cannot go on."""


async def perform(stage: Stage, scenario: Scenario, *, say: Callable[[str], None]) -> Result:
    """Run the load against the staged service and return what was seen.

    Raises:
        DemoError: the service did not become ready.
    """
    async with Kube.from_kubeconfig(stage.cluster.kubeconfig) as kube:
        await _until_ready(kube, say)
        planned = plan(scenario.phases, scenario.lengths, vocabulary=VOCABULARY, seed=SEED)
        seconds = sum(phase.seconds for phase in scenario.phases)
        say(f"load: {len(planned)} requests in {seconds:.0f} s, open loop: " + _phases(scenario))
        start = asyncio.get_running_loop().time()
        points: list[Point] = []

        ended, down = asyncio.Event(), asyncio.Event()

        def changed(point: Point) -> None:
            say(f"{point.at:6.1f} s  replicas wanted {point.desired}, ready {point.ready}")

        def sampled(point: Point) -> None:
            points.append(point)
            if ended.is_set() and (point.desired, point.ready) == (1, 1):
                down.set()

        watcher = asyncio.create_task(
            follow(kube, namespace=NAMESPACE, service=SERVICE, start=start, on_point=sampled, on_change=changed)
        )
        try:
            outcomes = await client.run(planned, pick=_in_turn(stage.gateways), model=SERVICE)
            say("load ended; waiting for the replicas that are no longer needed to go")
            ended.set()
            with suppress(TimeoutError):  # the result says that it did not scale down
                await asyncio.wait_for(down.wait(), scenario.scale_down_deadline_seconds)
        finally:
            watcher.cancel()
        found = await kube.get(SERVICES, SERVICE, namespace=NAMESPACE)
        price = float(found["spec"].get("cost", {}).get("perAcceleratorHour", 0))
        return Result(outcomes, points, await decisions(kube, namespace=NAMESPACE, service=SERVICE), price)


def _in_turn(urls: Sequence[str]) -> Callable[[], Awaitable[str]]:
    order = itertools.cycle(urls)

    async def pick() -> str:
        return next(order)

    return pick


async def _until_ready(kube: Kube, say: Callable[[str], None]) -> None:
    say("waiting for the first worker to be ready")
    try:
        async with asyncio.timeout(_READY_DEADLINE_SECONDS):
            while (  # noqa: ASYNC110 - the condition lives in the API server
                await condition(kube, namespace=NAMESPACE, service=SERVICE, kind="Ready") != "True"
            ):
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        found = await kube.get(SERVICES, SERVICE, namespace=NAMESPACE)
        raise DemoError(f"{SERVICE} did not become ready: {found.get('status', {}).get('conditions')}") from error


def _phases(scenario: Scenario) -> str:
    return ", ".join(
        f"{phase.name} {phase.requests_per_second:g} req/s for {phase.seconds:.0f} s" for phase in scenario.phases
    )
