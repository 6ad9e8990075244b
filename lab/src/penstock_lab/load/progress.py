"""What a person sees while a load runs: a bar on a terminal, else one line every ten seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from penstock_lab.load.ledger import Ledger
from penstock_lab.load.sender import Sender
from penstock_lab.load.text import printable

_BAR_SECONDS: Final = 0.5
_LINE_SECONDS: Final = 10.0


class Progress:
    """Shows loads on a console; quiet shows nothing."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet

    def say(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        if not self._quiet:
            self._console.print(printable(line), highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def shown(self, title: str, ledger: Ledger, sender: Sender, seconds: float) -> Iterator[None]:
        """Show a load while the block runs.

        Args:
            title: of the load.
            ledger: its counts.
            sender: its clock.
            seconds: how long its arrivals last.
        """
        if self._quiet:
            yield
            return
        follow = self._bar if self._console.is_terminal else self._lines
        task = asyncio.create_task(follow(title, ledger, sender, seconds))
        try:
            yield
        finally:
            task.cancel()

    async def _lines(self, title: str, ledger: Ledger, sender: Sender, seconds: float) -> None:
        while True:
            await asyncio.sleep(_LINE_SECONDS)
            self.say(f"{title}: {sender.elapsed:.0f} of {seconds:.0f} s: {_state(ledger, sender)}")

    async def _bar(self, title: str, ledger: Ledger, sender: Sender, seconds: float) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[state]}"),
        )
        with Bar(*columns, console=self._console, transient=True, auto_refresh=False) as bar:
            shown = bar.add_task(title, total=seconds, state="")
            while True:
                elapsed = sender.elapsed
                draining = ", waiting for the last answers" if elapsed > seconds else ""
                now = _state(ledger, sender) + draining
                bar.update(shown, completed=min(elapsed, seconds), state=now, refresh=True)
                await asyncio.sleep(_BAR_SECONDS)


def _state(ledger: Ledger, sender: Sender) -> str:
    second = int(sender.elapsed) - 1
    rate = ledger.tokens_by_second[second] if 0 <= second < len(ledger.tokens_by_second) else 0
    text = f"{ledger.sent} sent, {ledger.in_flight} in flight, {rate} tok/s"
    for count, what in ((ledger.refused, "refused"), (ledger.failed, "failed")):
        text += f", {count} {what}" if count else ""
    return text
