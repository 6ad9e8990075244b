"""Pictures made of block characters, as styled rich text: bars, and a chart of demand against capacity."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rich.text import Text

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_LINE = "─"
Point = tuple[float, float | None, float | None]
"""Time, demand and capacity."""


def bar(share: float | None, *, width: int, style: str, full: str = "█", empty: str = "░") -> Text:
    """A bar that is filled to `share` (0 to 1, more is full); empty when unknown."""
    filled = 0 if share is None else min(width, max(0, round(share * width)))
    return Text.assemble((full * filled, style), (empty * (width - filled), "dim"))


def pips(*, ready: int, starting: int, draining: int, most: int) -> Text:
    """One mark per replica: ready, starting, draining, and a dot for each that may still be added."""
    rest = max(0, most - ready - starting - draining)
    return Text.assemble(
        ("█" * ready, "green"), ("▒" * starting, "cyan"), ("▼" * draining, "yellow"), ("·" * rest, "dim")
    )


def chart(points: Sequence[Point], *, width: int, height: int, seconds: float) -> list[Text]:
    """Demand as columns, capacity as a line across them; red where demand is above capacity.

    Args:
        points: in order of time.
        width: in cells.
        height: in lines.
        seconds: what the width stands for; the future is blank.

    Returns:
        `height` lines, the top first.
    """
    columns = _columns(points, width=width, seconds=seconds)
    top = max((max(demand or 0.0, capacity or 0.0) for demand, capacity in columns), default=0.0) or 1.0
    rows = [Text(no_wrap=True) for _ in range(height)]
    for demand, capacity in columns:
        eighths = 0 if demand is None else round(demand / top * height * 8)
        level = None if capacity is None else min(height - 1, int(capacity / top * height))
        style = "red" if demand is not None and capacity is not None and demand > capacity else "green"
        for row, line in enumerate(reversed(rows)):
            cell = _EIGHTHS[min(8, max(0, eighths - row * 8))]
            if row == level:
                line.append(_LINE if cell == " " else cell, "cyan" if cell == " " else f"{style} on cyan")
            else:
                line.append(cell, style)
    return rows


def _columns(points: Sequence[Point], *, width: int, seconds: float) -> list[tuple[float | None, float | None]]:
    """The means of demand and capacity in each of `width` slices; a slice that saw nothing repeats the one before."""
    slices: list[list[Point]] = [[] for _ in range(width)]
    for point in points:
        place = int(point[0] / seconds * width)
        if 0 <= place < width:
            slices[place].append(point)
    last = max((index for index, found in enumerate(slices) if found), default=-1)
    columns: list[tuple[float | None, float | None]] = []
    for found in slices[: last + 1]:
        before = columns[-1] if columns else (None, None)
        columns.append((_mean([p[1] for p in found], before[0]), _mean([p[2] for p in found], before[1])))
    return columns


def _mean(values: Sequence[float | None], otherwise: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else otherwise
