"""Everything that one run has seen: the operator's state once a second and the end of every request.

The clock is that of the load: 0 when the first request may leave, negative before. The record only grows; views and
reports are made from it and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from penstock_lab.demo.state import Change, State
from penstock_lab.load.outcome import Outcome, percentile
from penstock_lab.load.schedule import Planned

_SILENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """What the operator said at one time.

    Attributes:
        at: seconds from the start of the load.
        state: of the service.
    """

    at: float
    state: State


@dataclass(slots=True)
class Record:
    """What was seen so far.

    Attributes:
        planned: the load, in order of time.
        samples: in order of time.
        outcomes: in the order in which requests ended.
        epoch: when the load started, seconds since the epoch; decisions before it are not of this run.
    """

    planned: Sequence[Planned] = ()
    samples: list[Sample] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    epoch: float = 0.0
    _changes: dict[tuple[float, int], Change] = field(default_factory=dict)

    def take(self, sample: Sample) -> None:
        """Add a sample; a page that is as old as the one before says nothing new."""
        if self.samples and sample.state.at == self.samples[-1].state.at and sample.state == self.samples[-1].state:
            return
        self.samples.append(sample)
        for change in sample.state.changes:
            if change.at >= self.epoch:
                self._changes[change.at, change.after] = change

    def begin(self, epoch: float) -> None:
        """The load starts now: forget what was before it.

        Args:
            epoch: seconds since the epoch.
        """
        self.epoch = epoch
        self.samples.clear()
        self._changes.clear()

    @property
    def last(self) -> Sample | None:
        """The newest sample."""
        return self.samples[-1] if self.samples else None

    @property
    def changes(self) -> list[Change]:
        """Every decision that changed the count, oldest first."""
        return sorted(self._changes.values(), key=lambda change: change.at)

    def sent(self, at: float) -> int:
        """Requests that were due by `at`: the load is open, so they left."""
        return sum(item.at <= at for item in self.planned)

    @property
    def failed(self) -> int:
        """Requests that ended without their whole answer."""
        return sum(outcome.error is not None for outcome in self.outcomes)

    def recent(self, metric: str, *, at: float, window_seconds: float, share: float) -> float | None:
        """A percentile of what clients saw lately, in seconds.

        Args:
            metric: `TTFT` or `TPOT`; None is returned for others.
            at: end of the window, by when requests ended.
            window_seconds: its length.
            share: 0 to 1.
        """
        seen = (one for one in self.outcomes if at - window_seconds < one.at + one.e2e_seconds <= at)
        return percentile([value for one in seen if (value := measured(one, metric)) is not None], share)

    def accelerator_hours(self, *, accelerators: int) -> float:
        """Integral over the samples of what was held, pods that load or drain included.

        What was held last is taken to be held until the operator speaks again; `silent_seconds` tells how long that
        was.

        Args:
            accelerators: per replica.
        """
        return sum(one.state.replicas.held * accelerators * seconds / 3600 for one, seconds in self._intervals())

    def _intervals(self) -> Iterator[tuple[Sample, float]]:
        for before, after in zip(self.samples, self.samples[1:], strict=False):
            yield before, after.at - before.at

    @property
    def silent_seconds(self) -> float:
        """How long the operator did not answer, in stretches of ten seconds and more."""
        return sum((seconds for _before, seconds in self._intervals() if seconds >= _SILENCE_SECONDS), 0.0)


def measured(outcome: Outcome, metric: str) -> float | None:
    """What an outcome says of an objective's metric, in seconds; None when it does not count for it."""
    if metric == "TTFT":
        return outcome.ttft_seconds
    if metric == "TPOT":
        return outcome.tpot_seconds
    return outcome.e2e_seconds if metric == "E2E" and outcome.error is None else None
