"""What is done with the service, and what is seen: little load, more than one replica carries, little again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp
from benchmarks.faults.traffic import Answer, End, Traffic
from benchmarks.faults.world import ScenarioError, World

from penstock_lab.kube import UNREACHABLE
from penstock_lab.load.outcome import percentile
from penstock_lab.load.schedule import Lengths, Phase

from .stage import SERVICE, state

LENGTHS = Lengths(prompt=(16, 64), output=(24, 40))
_MEAN = sum(LENGTHS.output) / 2
_LEARN_RATE = 0.6  # requests/s, and four times that in bursts
_OVERLOAD = 1.6  # of what one replica is said to carry
_STRETCH_SECONDS = 20.0
_MOST_STRETCHES = 60
_CALM = 0.3
_LEARN_SECONDS = 40.0
_LONGEST_PHASE = 900.0
_BOTH_SECONDS = 30.0


@dataclass(slots=True)
class Story:
    """What happened.

    Attributes:
        moments: (seconds from the start, what).
        watched: one look at the operator's state page a second or so.
        answers: of all requests.
        capacity: generated tokens/s of one replica as the operator learned it before the overload.
        problems: promises that were not kept.
    """

    moments: list[tuple[float, str]] = field(default_factory=list)
    watched: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    capacity: float | None = None
    problems: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def note(self, world: World, text: str) -> None:
        """Remember a moment, and say it."""
        at = time.monotonic() - self.began
        self.moments.append((at, text))
        world.say(f"{at:5.0f} s  {text}")

    def to_json(self) -> dict[str, Any]:
        """For the raw result."""
        ttft = [answer.ttft for answer in self.answers if answer.ttft is not None]
        return {
            "sent": len(self.answers),
            **{end.name.lower(): sum(answer.end is end for answer in self.answers) for end in End},
            "tokens": sum(answer.tokens for answer in self.answers),
            "ttft_p50_seconds": percentile(ttft, 0.5),
            "ttft_p99_seconds": percentile(ttft, 0.99),
            "capacity_tokens_per_second": self.capacity,
            "moments": self.moments,
            "watched": self.watched,
            "problems": self.problems,
            "not_answered": [asdict(one) for one in self.answers if one.end is not End.ANSWERED][:20],
        }


async def tell(world: World) -> Story:
    """Play it; the service has one ready replica."""
    story = Story()
    watching = asyncio.create_task(_watch(world, story))
    try:
        await _learn(world, story)
        await _overload(world, story)
        await _calm(world, story)
    except ScenarioError as error:
        story.problems.append(str(error))
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    _judge(story)
    return story


async def _learn(world: World, story: Story) -> None:
    """Bursts that fill the slots for moments, so that steps of every size are seen, until a capacity is known."""
    story.note(world, "little load, in bursts")
    phases = tuple(Phase("learn", 6.0, rate) for _ in range(60) for rate in (_LEARN_RATE, 4 * _LEARN_RATE))
    async with Traffic(world.pick(SERVICE), SERVICE, phases, LENGTHS, seed=1) as traffic:
        await asyncio.sleep(_LEARN_SECONDS)
        found = await world.until(lambda: _capacity(world), what="a capacity is learned", seconds=300, every=2.0)
        story.answers += await traffic.stop()
    story.capacity = float(found)
    story.note(world, f"the operator has learned that one replica carries {found:.0f} tok/s")


async def _overload(world: World, story: Story) -> None:
    """More than one replica carries, until a second is ready, which takes minutes.

    In stretches, each answered before the next begins, and by what one replica is said to carry at that moment: on a
    machine that others use a backlog of minutes would say nothing of the operator.
    """
    assert story.capacity is not None
    story.note(world, f"stretches of {_STRETCH_SECONDS:.0f} s at {_OVERLOAD:g} x what one replica carries")
    asked, number = False, 0
    while not await world.has_ready(SERVICE, 2):
        number += 1
        rate = _OVERLOAD * (await _capacity(world) or story.capacity) / _MEAN
        async with _traffic(world, rate, seed=100 + number) as traffic:
            await asyncio.sleep(_STRETCH_SECONDS)
            story.answers += await traffic.stop()
        if not asked and await _asked(world, 2):
            asked = True
            story.note(world, f"two replicas are asked for; the last stretch had {rate:.1f} requests/s")
        if number > _MOST_STRETCHES:
            raise ScenarioError(f"no second replica is ready after {number} stretches of load")
    story.note(world, f"the second is ready, after {number} stretches")
    carried = await _capacity(world) or story.capacity
    story.note(world, f"{carried / _MEAN:.1f} requests/s for {_BOTH_SECONDS:.0f} s: all that one of them carries now")
    async with _traffic(world, carried / _MEAN, seed=4) as traffic:
        await asyncio.sleep(_BOTH_SECONDS)
        story.answers += await traffic.stop()
    told = ", ".join(f"{count:.0f}" for count in await _answered(world))
    story.note(world, f"the two replicas have answered {told} requests")


async def _calm(world: World, story: Story) -> None:
    assert story.capacity is not None
    rate = _CALM * (await _capacity(world) or story.capacity) / _MEAN
    story.note(world, f"{rate:.1f} requests/s: {_CALM:g} x what one replica carries now")
    async with _traffic(world, rate, seed=5) as traffic:
        await world.until(lambda: _asked(world, 1), what="one replica is asked for", seconds=600)
        story.note(world, "one replica is asked for: the other was drained before")
        await world.until(lambda: world.has_ready(SERVICE, 1), what="one is left", seconds=240, every=1.0)
        story.note(world, "one replica is left")
        await asyncio.sleep(10.0)
        story.answers += await traffic.stop()


def _traffic(world: World, rate: float, *, seed: int) -> Traffic:
    return Traffic(world.pick(SERVICE), SERVICE, (Phase("load", _LONGEST_PHASE, rate),), LENGTHS, seed=seed)


async def _answered(world: World) -> list[float]:
    """Requests that each replica has finished."""
    found = [await world.metric(pod, "vllm:request_success_total") for pod in await world.ready(SERVICE)]
    return [count for count in found if count is not None]


async def _capacity(world: World) -> float | None:
    seen = await state(world)
    found = (seen.get("capacity") or {}).get("tokens_per_second_per_replica")
    return None if found is None else float(found)


async def _asked(world: World, count: int) -> bool:
    return await world.replicas(SERVICE) == count


async def _watch(world: World, story: Story) -> None:
    """The state page, as long as it answers."""
    while True:
        try:
            seen = await state(world)
        except (*UNREACHABLE, KeyError, ValueError, aiohttp.ClientError):
            seen = {}
        if seen:
            story.watched.append(
                {
                    "at": time.monotonic() - story.began,
                    "replicas": seen["replicas"],
                    "load": seen["load"],
                    "capacity": seen["capacity"],
                    "needed": seen["needed_replicas"],
                    "signals": {one["name"]: [one["state"], one["value"]] for one in seen["signals"]},
                    "reason": (seen["decision"] or {}).get("reason"),
                    "message": (seen["decision"] or {}).get("message"),
                }
            )
        await asyncio.sleep(2.0)


def _judge(story: Story) -> None:
    bad: Sequence[Answer] = [one for one in story.answers if one.end is not End.ANSWERED]
    if bad:
        story.problems.append(f"{len(bad)} of {len(story.answers)} requests not answered; first: {bad[0].detail}")
    fresh = [one for one in story.watched if all(kind == "Fresh" for kind, _ in one["signals"].values())]
    if not fresh:
        story.problems.append("at no moment were all signals of vLLM fresh")
