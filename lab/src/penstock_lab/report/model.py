"""What a report consists of. All x values are seconds from the start of the run; a y of None is a gap in a line.

A series may be long; it is drawn as it is. Texts are plain and are escaped where they are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["line", "step", "stack", "spot"]
Tone = Literal["blue", "green", "orange", "red", "purple", "grey"]


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a plot.

    Attributes:
        label: in the legend.
        points: (x, y) in order of x.
        kind: `line`; `step`, a value that holds until the next; `stack`, a step that is filled and stands on the stacks
            before it (stacks of a plot share their x values); `spot`, dots with the label beside them.
        tone: colour, by name, so that it fits light and dark.
        dashed: for a second line of the same tone.
    """

    label: str
    points: Sequence[tuple[float, float | None]]
    kind: Kind = "line"
    tone: Tone = "blue"
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Threshold:
    """A horizontal line that should not be crossed."""

    label: str
    value: float


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot; those without an `across` of their own share their x axis, seconds.

    Attributes:
        title: what it shows.
        unit: of the y axis.
        series: drawn in order.
        thresholds: horizontal lines.
        logarithmic: y axis; values at or below 0 are not drawn then.
        note: a sentence under it on how to read it.
        across: what the x axis shows when that is not time; spans and marks have no place there.
    """

    title: str
    unit: str
    series: Sequence[Series]
    thresholds: Sequence[Threshold] = ()
    logarithmic: bool = False
    note: str = ""
    across: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """A shaded stretch of the x axis, such as a phase of the load."""

    label: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened; plots show its label, tables explain it."""

    label: str
    at: float
    tone: Tone = "grey"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judged sentence; `good` is None for what is only told."""

    text: str
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure that is shown large, with what it means."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts; every row is as long as `columns`."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A run.

    Attributes:
        title: headline.
        lead: what was run, in a few sentences.
        passed: the headline's verdict; None when there is nothing to pass.
        verdicts: sentences under it.
        banner: a warning that stands on the page and on every plot, such as that a device is emulated; empty for none.
        facts: key figures.
        plots: from top to bottom.
        spans: shaded on every plot.
        marks: on every plot.
        tables: after the plots.
        data: JSON-serialisable, embedded in the page for whoever wants to compute on it.
    """

    title: str
    lead: str
    passed: bool | None = None
    verdicts: Sequence[Verdict] = ()
    banner: str = ""
    facts: Sequence[Fact] = ()
    plots: Sequence[Plot] = ()
    spans: Sequence[Span] = ()
    marks: Sequence[Mark] = ()
    tables: Sequence[Table] = ()
    data: Any = None
