"""Where a run is shown: on a live screen, or as a line per change where there is no terminal.

Both take a record as often as they like and never change it. The live screen is the terminal's alternate one, drawn by
hand twice a second (no thread), so that a resize shows at the next draw and leaving it, in whatever way, gives the
terminal back as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.live import Live

from penstock_lab.demo.progress import clock, progress
from penstock_lab.demo.record import Record
from penstock_lab.demo.scenario import Scenario
from penstock_lab.demo.view import Screen

HEARTBEAT_SECONDS = 20.0


class Display(Protocol):
    """Something that shows a run."""

    def show(self, record: Record, *, at: float, price: float) -> None:
        """Show the record as of `at`, in seconds from the start of the load."""


class Lines:
    """A line when something changed: the phase, the replicas, a decision; and a sign of life now and then."""

    def __init__(self, scenario: Scenario, *, say: Callable[[str], None]) -> None:
        self._scenario = scenario
        self._say = say
        self._phase = ""
        self._counts = ""
        self._told = 0
        self._last_at = float("-inf")

    def show(self, record: Record, *, at: float, price: float) -> None:
        """Say what is new."""
        del price
        now = progress(self._scenario, at)
        if now.phase != self._phase:
            self._phase = now.phase
            self._tell(at, f"load: {now.phase}, {now.detail}; {clock(now.left_seconds)} at most")
        for change in record.changes[self._told :]:
            self._tell(at, f"decision: {change.sentence}")
        self._told = len(record.changes)
        if (sample := record.last) is None:
            return
        counts = sample.state.replicas
        said = (
            f"replicas wanted {counts.desired}, ready {counts.ready}, starting {counts.starting}, "
            f"draining {counts.draining}"
        )
        if said != self._counts:
            self._counts = said
            self._tell(at, said)
        elif at - self._last_at >= HEARTBEAT_SECONDS:
            self._tell(at, f"{record.sent(at)} requests sent, {len(record.outcomes)} ended, {record.failed} failed")

    def _tell(self, at: float, line: str) -> None:
        self._last_at = at
        self._say(f"{at:6.1f} s  {line}")


class _LiveScreen:
    """The view on rich's alternate screen."""

    def __init__(self, scenario: Scenario, live: Live) -> None:
        self._scenario = scenario
        self._live = live

    def show(self, record: Record, *, at: float, price: float) -> None:
        """Draw the screen anew."""
        self._live.update(Screen(self._scenario, record, at, price), refresh=True)


@contextmanager
def open_display(scenario: Scenario, console: Console, *, plain: bool, say: Callable[[str], None]) -> Iterator[Display]:
    """The display that fits; the terminal is as it was when the block ends.

    Args:
        scenario: that runs.
        console: of the live screen.
        plain: lines, whatever the console is.
        say: takes the lines.
    """
    if plain or not fits(console):
        yield Lines(scenario, say=say)
        return
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        yield _LiveScreen(scenario, live)


def fits(console: Console) -> bool:
    """Whether a console can carry the live screen: a terminal that moves its cursor and has block characters."""
    return console.is_terminal and not console.is_dumb_terminal and console.encoding.lower().startswith("utf")
