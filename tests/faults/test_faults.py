"""Requests under open-loop load while replicas go, die and come: the short ones of `make bench-faults`."""

import pytest
from benchmarks.faults import gateways, outages, planned, workers
from benchmarks.faults.traffic import End
from benchmarks.faults.world import World

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


async def test_an_evicted_worker_loses_nothing(faulty: World) -> None:
    result = await planned.evict(faulty)
    assert result.problems == []
    assert result.count(End.ANSWERED) == len(result.answers) > 30
    assert result.twice == set()


async def test_load_that_returns_cancels_the_drain_and_nothing_is_lost(faulty: World) -> None:
    result = await planned.cancel(faulty)
    assert result.problems == []
    assert result.count(End.ANSWERED) == len(result.answers)
    assert result.twice == set()


async def test_a_killed_worker_takes_only_its_own_streams_with_it_and_they_say_so(faulty: World) -> None:
    result = await workers.killed(faulty)
    assert result.problems == []
    assert result.count(End.SILENT) == 0
    assert result.count(End.REFUSED) == 0
    assert result.count(End.ANSWERED) > 60


async def test_a_killed_gateway_takes_only_its_own_connections_with_it(faulty: World) -> None:
    result = await gateways.killed(faulty)
    assert result.problems == []
    assert result.failed, "nothing was under way at the gateway when it was killed"
    assert result.count(End.TOLD) == result.count(End.REFUSED) == 0
    assert result.count(End.ANSWERED) > 60
    assert result.twice == set()


async def test_a_request_at_zero_is_held_until_a_pod_answers(faulty: World) -> None:
    result = await outages.zero(faulty)
    assert result.problems == []
    assert result.count(End.ANSWERED) == len(result.answers) > 10
    assert result.twice == set()
