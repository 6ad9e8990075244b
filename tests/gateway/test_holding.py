"""Requests that no worker can take yet: held, within bounds of number and time, and shown to the operator."""

from __future__ import annotations

import asyncio

from gateway_world import PODS, SERVICES, SLOTS, eventually

LIMIT = SLOTS + 1


async def test_a_request_waits_for_the_first_worker_of_a_service_at_zero(world):
    service = await world.service()
    asked = asyncio.create_task(world.ask(service, tokens=20))
    await world.held(service, 1)
    demand = await world.demand(service)
    assert (demand["arrived"], demand["prompt_tokens"], demand["in_flight"]) == (1, 8, 0)
    assert demand["prompt_lengths"][4] == sum(demand["prompt_lengths"]) == 1, "8 tokens have four bits"
    before = demand["oldest_held_seconds"]
    assert (await world.demand(service))["oldest_held_seconds"] >= before > 0
    assert await world.metric(service, "requests_held") == 1
    assert await world.metric(service, "oldest_held_seconds") > 0
    worker = await world.worker()
    await world.pod(service, worker.address)
    assert (await asked)[0] == 200
    assert (await world.demand(service))["held"] == 0
    assert await world.metric(service, "oldest_held_seconds") == 0
    assert await world.metric(service, "requests_failed_total", reason="hold_timeout") == 0


async def test_a_pod_may_come_long_before_its_worker_listens(world):
    service = await world.service()
    address = world.address()
    await world.pod(service, address)
    asked = asyncio.create_task(world.ask(service))
    await world.logged(f"event=worker_unreachable worker={service}-")
    await world.held(service, 1)
    await world.worker(address=address, ready=False)
    assert (await asked)[0] == 200


async def test_held_too_long_is_a_503_that_says_when_to_retry(world):
    service = await world.service(routing={"holdTimeoutSeconds": 1})
    async with world.post(service) as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        assert (await response.json())["error"]["code"] == "hold_timeout"
    assert await world.metric(service, "requests_failed_total", reason="hold_timeout") == 1
    assert (await world.demand(service))["held"] == 0


async def test_more_than_may_be_held_is_a_429(world):
    service = await world.service(routing={"maxHeldRequests": 3})
    asked = [asyncio.create_task(world.ask(service)) for _ in range(3)]
    await world.held(service, 3)
    async with world.post(service) as response:
        assert response.status == 429
        assert int(response.headers["Retry-After"]) > 0
        assert (await response.json())["error"]["code"] == "queue_full"
    assert await world.metric(service, "requests_failed_total", reason="queue_full") == 1
    worker = await world.worker()
    await world.pod(service, worker.address)
    assert {status for status, _answer in await asyncio.gather(*asked)} == {200}
    assert await world.metric(service, "requests_arrived_total") == 4


async def test_a_service_that_holds_nothing_still_serves(world):
    service, _workers = await world.serving(routing={"maxHeldRequests": 0})
    assert {status for status, _ in await asyncio.gather(*(world.ask(service) for _ in range(LIMIT)))} == {200}


async def test_who_leaves_the_queue_is_forgotten(world):
    service = await world.service()
    asked = [asyncio.create_task(world.ask(service, tokens=4)) for _ in range(5)]
    await world.held(service, 5)
    for one in asked[:4]:
        one.cancel()
    await world.held(service, 1)
    worker = await world.worker()
    await world.pod(service, worker.address)
    assert (await asked[4])[0] == 200
    assert await world.of_worker(worker, "requests_arrived_total") == 1
    assert await world.metric(service, "requests_failed_total", reason="client_closed") == 4


async def test_first_come_first_served(world):
    service, (worker,) = await world.serving(device={"slots": 1})
    order: list[int] = []

    async def ask(number: int) -> None:
        assert (await world.ask(service, tokens=3))[0] == 200
        order.append(number)

    blocking = asyncio.create_task(world.ask(service, tokens=100))
    await world.reaches(worker, "requests_running", 1)
    asked = []
    for number in range(6):
        asked.append(asyncio.create_task(ask(number)))

        async def arrived(wanted: int = number + 2) -> bool:
            return (await world.demand(service))["arrived"] == wanted

        await eventually(arrived, "it arrived")
    await asyncio.gather(blocking, *asked)
    assert order == sorted(order)


async def test_a_deleted_service_sends_its_waiters_home_and_may_come_back(world):
    service = await world.service()
    asked = asyncio.create_task(world.ask(service))
    await world.held(service, 1)
    manifest = await world.kube.get(SERVICES, service, namespace="gateway-tests")
    await world.delete(SERVICES, service)
    status, answer = await asked
    assert (status, answer["error"]["code"]) == (404, "service_not_found")
    assert (await world.ask(service))[0] == 404
    assert await world.demand(service) == {}
    worker = await world.worker()
    await world.pod(service, worker.address)
    again = {key: manifest[key] for key in ("apiVersion", "kind", "spec")}
    again["metadata"] = {"name": service, "namespace": "gateway-tests"}
    await world.kube.create(SERVICES, again, namespace="gateway-tests")
    world._objects.append((SERVICES, service))
    await eventually(lambda: world.demand(service), "the service is back")
    assert (await world.ask(service))[0] == 200


async def test_changes_of_routing_and_model_take_effect(world):
    service = await world.service(routing={"maxHeldRequests": 0})
    assert (await world.ask(service))[0] == 429
    change = {"spec": {"routing": {"maxHeldRequests": 5, "holdTimeoutSeconds": 1}, "model": {"name": "renamed"}}}
    await world.kube.patch(SERVICES, service, change, namespace="gateway-tests")

    async def renamed() -> bool:
        async with world.http.get(f"{world.base(service)}/models") as response:
            return (await response.json())["data"][0]["id"] == "renamed"

    await eventually(renamed, "the change is seen")
    assert (await world.ask(service))[0] == 503


async def test_a_worker_lost_while_requests_wait_is_replaced_by_the_next(world):
    service, (worker,) = await world.serving(device={"slots": 1})
    asked = [asyncio.create_task(world.ask(service, tokens=60)) for _ in range(6)]
    await world.held(service, 4)
    worker.kill()
    (pod,) = await world.pods(service)
    await world.delete(PODS, pod["metadata"]["name"])
    await world.held(service, 6)
    other = await world.worker()
    await world.pod(service, other.address)
    answers = await asyncio.gather(*asked)
    assert [(status, body["usage"]["completion_tokens"]) for status, body in answers] == [(200, 60)] * 6
