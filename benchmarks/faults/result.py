"""The result of a scenario: counts over every request, and what contradicts the promises."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from penstock_lab.load.outcome import percentile

from .traffic import Answer, End
from .world import Object, World


@dataclass(slots=True)
class Result:
    """One row of the table.

    Attributes:
        title: what was done.
        planned: it is an action of everyday operation: nothing may fail.
        answers: every request.
        twice: ids of requests that a second worker got after a first one had taken them: it may have generated for
            both. Clients never see more than one answer.
        at_workers: requests that workers took in, as Prometheus saw it; None when it was not there.
        seen: what happened, for people.
        problems: what contradicts the promises.
    """

    title: str
    planned: bool
    answers: Sequence[Answer]
    twice: set[str]
    at_workers: int | None
    seen: str
    problems: list[str] = field(default_factory=list)

    def count(self, end: End) -> int:
        """Requests that ended so."""
        return sum(answer.end is end for answer in self.answers)

    @property
    def failed(self) -> list[Answer]:
        """Requests that failed, told or silent."""
        return [answer for answer in self.answers if answer.end in (End.TOLD, End.SILENT)]

    def ttft(self, share: float) -> float | None:
        """Percentile of the time to the first token."""
        return percentile([answer.ttft for answer in self.answers if answer.ttft is not None], share)

    @property
    def longest_gap(self) -> float:
        """Longest pause in the middle of an answer, seconds."""
        return max((answer.longest_gap for answer in self.answers), default=0.0)

    def to_json(self) -> dict[str, Any]:
        """For the raw result."""
        return {
            "title": self.title,
            "planned": self.planned,
            "sent": len(self.answers),
            **{end.name.lower(): self.count(end) for end in End},
            "twice": sorted(self.twice),
            "requests_at_workers": self.at_workers,
            "ttft_p50_seconds": self.ttft(0.5),
            "ttft_p99_seconds": self.ttft(0.99),
            "longest_gap_seconds": self.longest_gap,
            "seen": self.seen,
            "problems": self.problems,
            "not_answered": [asdict(answer) for answer in self.answers if answer.end is not End.ANSWERED][:40],
        }


async def conclude(
    world: World,
    service: str,
    title: str,
    answers: Sequence[Answer],
    *,
    planned: bool = True,
    seen: str = "",
    problems: Sequence[str] = (),
    cut: Collection[str] = (),
) -> Result:
    """Count everything; to be called while the service still exists.

    Args:
        world: where.
        service: which.
        title: what was done.
        answers: of all requests.
        planned: nothing may fail or be refused.
        seen: what happened.
        problems: what the scenario found wrong beside failed requests.
        cut: ids of requests that may end without a word, since the one who would say it was killed.
    """
    broken = world.broken(service)
    result = Result(
        title=title,
        planned=planned,
        answers=answers,
        twice={request_id for _, request_id, begun in broken if not begun},
        at_workers=await world.arrived_at_workers(service),
        seen=seen,
        problems=list(problems),
    )
    bad = [answer for answer in answers if answer.end is not End.ANSWERED]
    if not answers:
        result.problems.append("no request was sent")
    if planned and bad:
        result.problems.append(f"{len(bad)} of {len(answers)} requests not answered; first: {bad[0].detail}")
    silent = [answer for answer in answers if answer.end is End.SILENT and answer.request_id not in cut]
    if not planned and silent:
        result.problems.append(f"{len(silent)} requests ended without a word; first: {silent[0].detail}")
    return result


async def judged(
    world: World,
    service: str,
    title: str,
    answers: Sequence[Answer],
    *,
    victims: Sequence[Object],
    seen: str,
    problems: Sequence[str] = (),
) -> Result:
    """Count everything of a service some of whose workers were killed: only streams that had begun there may fail."""
    broken = world.broken(service)
    begun = {request for _, request, started in broken if started}
    strangers = {worker for worker, _, _ in broken} - {pod["metadata"]["name"] for pod in victims}
    failed = {answer.request_id for answer in answers if answer.end is not End.ANSWERED}
    found = list(problems)
    if failed - begun:
        found.append(f"{len(failed - begun)} requests failed that were no unfinished streams of the worker")
    if strangers:
        found.append(f"attempts broke on other workers too: {sorted(strangers)}")
    return await conclude(world, service, title, answers, planned=False, seen=seen, problems=found)


def cut_off(answers: Sequence[Answer]) -> str:
    """How long it took at most until a stream that was cut was told so, as the beginning of a sentence."""
    failed = [answer.seconds for answer in answers if answer.end is not End.ANSWERED]
    return f"cut streams told so after at most {max(failed):.0f} s; " if failed else ""


def slowest(answers: Sequence[Answer]) -> float:
    """The longest time to a first token, seconds."""
    return max((answer.ttft for answer in answers if answer.ttft is not None), default=0.0)
