"""Worker processes that end with their port and all their connections."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from gateway_world import eventually
from oddserver import OddServer, Script
from penstock_contract import names


class Mortal(OddServer):
    """A worker process that can end: its port and all its connections with it."""

    def __init__(self, address: str, script: Script) -> None:
        super().__init__(address, script)
        self._writers: list[asyncio.StreamWriter] = []

    async def _serve(self, reader, writer) -> None:
        self._writers.append(writer)
        await super()._serve(reader, writer)

    def die(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()


async def test_one_poisonous_request_ends_three_workers_and_is_seen(world):
    """They are warm, so it comes on kept connections; each dies a moment after it took the request, without a byte."""
    service = await world.service()
    async with AsyncExitStack() as stack:

        def script(number):
            async def answer(call):
                if b"poison" in call.body:
                    fleet[number].die()
                    await asyncio.Event().wait()
                await call.reply(b"{}")

            return answer

        fleet: list[Mortal] = []
        for number in range(6):
            fleet.append(await stack.enter_async_context(Mortal(world.address(), script(number))))
            await world.pod(service, fleet[-1].address)
        await world.open(service, len(fleet))

        async def warm() -> bool:
            assert {status for status, _ in await asyncio.gather(*(world.ask(service) for _ in range(60)))} == {200}
            return all(server.calls for server in fleet)

        await eventually(warm, "each was asked")
        headers = {names.HEADER_REQUEST_ID: f"{service}-bad"}
        ask = {"prompt": "poison", "max_tokens": 1}
        async with world.http.post(f"{world.base(service)}/completions", json=ask, headers=headers) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (502, "upstream_broken")
        executed = [call for server in fleet for call in server.calls if b"poison" in call.body]
        assert len(executed) == 3
        log = [line for line in world.gateway.child.log.splitlines() if f"request_id={service}-bad" in line]
        assert sum("event=broken " in line and "begun=False" in line for line in log) == 3
        assert await failed(world, service, "broken") == 1
        assert (await world.ask(service))[0] == 200, "three are left"


async def test_a_fleet_that_is_ready_but_dead_is_asked_again_and_again_until_one_lives(world):
    async def answer(call):
        await call.reply(b"{}")

    service = await world.service()
    async with AsyncExitStack() as stack:
        fleet = [await stack.enter_async_context(Mortal(world.address(), answer)) for _ in range(16)]
        for server in fleet:
            await world.pod(service, server.address)
        await world.open(service, len(fleet))
        for server in fleet:
            server.die()
        asked = asyncio.create_task(world.ask(service))
        await world.logged(f"event=not_taken worker={service}-", times=60)
        assert not asked.done()
        async with OddServer(fleet[0].address, answer):
            assert (await asked)[0] == 200


async def test_the_hold_time_ends_for_a_fleet_that_is_ready_but_dead(world):
    async def answer(call):
        await call.reply(b"{}")

    service = await world.service(routing={"holdTimeoutSeconds": 1})
    async with Mortal(world.address(), answer) as server:
        await world.pod(service, server.address)
        await world.open(service, 1)
        server.die()
        status, answer = await world.ask(service)
    assert (status, answer["error"]["code"]) == (503, "unreachable")
    assert await failed(world, service, "unreachable") == 1


async def failed(world, service, reason):
    return await world.metric(service, "requests_failed_total", reason=reason)
