"""The live view: one screen that shows what the operator sees, decides and why.

A screen is a list of lines made from a record, each cut to the width, never more than the height: what comes first
matters most, and a larger terminal gets a higher chart and more decisions. Nothing here touches a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import wrap

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from penstock_lab.demo.bars import Point, bar, chart, pips
from penstock_lab.demo.progress import clock, progress
from penstock_lab.demo.record import Record
from penstock_lab.demo.scenario import NAMESPACE, PROFILE, SERVICE, Scenario
from penstock_lab.demo.state import Change, Objective, State

EMULATED = "EMULATED device: a real engine at a made-up speed; shapes count, not rates"
RECENT_SECONDS = 15.0
_INDENT = 10
_NARROWEST = 20
_FIXED_LINES = 12  # all but the chart and the decisions
_LOWEST_CHART = 3
_HIGHEST_CHART = 14
_STALE_SECONDS = 5.0
_MESSAGE_LINES = 2


@dataclass(frozen=True, slots=True)
class Screen:
    """The view of a record at one moment; rich renders it at whatever size the terminal has.

    Attributes:
        scenario: that runs.
        record: what was seen so far.
        at: seconds from the start of the load.
        price: per accelerator-hour, 0 when unknown.
    """

    scenario: Scenario
    record: Record
    at: float
    price: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines for the console's size."""
        height = options.height or console.height
        # The last column stays free: some terminals wrap when it is written.
        yield Text("\n", no_wrap=True).join(self.lines(width=options.max_width - 1, height=height))

    def lines(self, *, width: int, height: int) -> list[Text]:
        """At most `height` lines of at most `width` cells."""
        width = max(1, width)
        room = height - _FIXED_LINES
        tall = max(_LOWEST_CHART, min(_HIGHEST_CHART, room * 2 // 5))
        found = [*self._head(width), Text("")]
        sample = self.record.last
        if sample is None:
            found.append(Text("waiting for the operator's first word", "dim"))
        else:
            found += [*self._service(sample.state, width), *self._chart(width, tall)]
            found += [*self._requests(sample.state), *self._objectives(sample.state), *self._cost(sample.state)]
            found += self._decisions(sample.state, width=width, room=height - len(found))
        for line in found:
            line.no_wrap = True
            line.truncate(width, overflow="ellipsis")
        return found[:height]

    def _head(self, width: int) -> list[Text]:
        now = progress(self.scenario, self.at)
        title = Text.assemble(("Penstock demo", "bold"), f"  {NAMESPACE}/{SERVICE} on a cluster of this machine")
        right = f"{clock(self.at)} since the load began"
        title.append(right.rjust(max(2, width - len(title))), "dim")
        where = Text.assemble(
            ("LOAD      ", "bold"),
            (f"{now.phase}, {now.detail}  ", "bold magenta"),
            bar(now.share, width=12, style="magenta", full="━", empty="─"),
            f"  {clock(now.left_seconds)} left",
        )
        if now.load_left_seconds > now.left_seconds:
            where.append(f", {clock(now.load_left_seconds)} of the load", "dim")
        return [title, Text(EMULATED, "black on yellow"), where]

    def _service(self, state: State, width: int) -> list[Text]:
        counts, load = state.replicas, state.load
        style = "green" if counts.desired == counts.ready else "bold yellow"
        replicas = Text.assemble(
            ("REPLICAS  ", "bold"),
            pips(ready=counts.serving, starting=counts.starting, draining=counts.draining, most=counts.most),
            ("  wants ", style),
            (f"{counts.desired}", style),
            f" of {counts.least} to {counts.most}:  {counts.ready} ready  {counts.starting} starting"
            f"  {counts.draining} draining",
        )
        each = state.capacity_per_replica
        of = "" if each is None else f" ({counts.serving} x {each:.0f})"
        tokens = Text.assemble(
            ("TOKENS/S  ", "bold"),
            ("offered ", ""),
            (_number(load.offered_tokens_per_second, "{:.0f}"), "bold"),
            f"  served {_number(load.served_tokens_per_second, '{:.0f}')}"
            f"  capacity {_number(state.capacity_tokens_per_second, '{:.0f}')}{of}",
        )
        used = state.utilisation
        hot = "red" if used is not None and used > 1 else "green"
        meter = Text.assemble(
            " " * _INDENT,
            bar(used, width=max(10, min(40, width - 52)), style=hot),
            (f" {_number(used, '{:.0%}')}", hot),
            (" of the ready capacity is asked for", "dim"),
        )
        return [replicas, tokens, meter]

    def _chart(self, width: int, height: int) -> list[Text]:
        points: list[Point] = [
            (one.at, one.state.load.offered_tokens_per_second, one.state.capacity_tokens_per_second)
            for one in self.record.samples
        ]
        seconds = self.scenario.seconds + self.scenario.scale_down_deadline_seconds / 2
        rows = chart(points, width=width - _INDENT, height=height, seconds=max(seconds, self.at))
        labels = [("demand", "green"), ("over it", "red"), ("capacity", "cyan")]
        found = []
        for number, row in enumerate(rows):
            label = labels[number] if number < len(labels) else ("", "")
            found.append(Text.assemble((f"{label[0]:<{_INDENT}}", label[1]), row))
        return found

    def _requests(self, state: State) -> list[Text]:
        load, failed = state.load, self.record.failed
        sent, ended = self.record.sent(self.at), len(self.record.outcomes)
        return [
            Text.assemble(
                ("REQUESTS  ", "bold"),
                f"{sent} sent  {ended - failed} answered  ",
                (f"{failed} failed", "bold red" if failed else "green"),
                f"   now: {_number(load.held, '{:.0f}')} held  {_number(load.waiting, '{:.0f}')} waiting  "
                f"{_number(load.running, '{:.0f}')} running",
            )
        ]

    def _objectives(self, state: State) -> list[Text]:
        return [self._objective(one) for one in state.objectives[:3]]

    def _objective(self, one: Objective) -> Text:
        lately = self.record.recent(one.metric, at=self.at, window_seconds=RECENT_SECONDS, share=one.asked)
        left = one.budget_left
        line = Text.assemble(
            (f"{one.name:<{_INDENT}}", "bold"),
            (_seconds(one.value_seconds), f"bold {_tone(one.value_seconds, one.threshold_seconds)}"),
            f" of {_seconds(one.threshold_seconds)}",
            f"  met by {_number(one.attainment, '{:.1%}')}",
            "  budget ",
            ("spent", "red") if left is not None and left <= 0 else (f"left {_number(left, '{:.0%}')}", ""),
        )
        if one.metric in ("TTFT", "TPOT", "E2E"):
            line.append(f"  last {RECENT_SECONDS:.0f} s: ", "dim")
            line.append(_seconds(lately), _tone(lately, one.threshold_seconds))
        return line

    def _cost(self, state: State) -> list[Text]:
        hours = self.record.accelerator_hours(accelerators=PROFILE.accelerators)
        spent = _number(hours * self.price if self.price else None, "{:.3f}")
        per_token = _number(state.cost_per_million_tokens, "{:.2f}")
        return [
            Text.assemble(
                ("COST      ", "bold"),
                f"{_number(state.cost_per_hour, '{:.2f}')} {state.currency}/h  {spent} so far  "
                f"{per_token} per million tokens  {hours:.3f} GPU-hours",
            )
        ]

    def _decisions(self, state: State, *, width: int, room: int) -> list[Text]:
        found = []
        if self.record.samples and self.at - self.record.samples[-1].at > _STALE_SECONDS:
            age = self.at - self.record.samples[-1].at
            found.append(Text(f"the operator has not answered for {age:.0f} s: all above is as old", "bold red"))
        now = wrap(state.decision or "none yet", max(_NARROWEST, width - _INDENT))[:_MESSAGE_LINES]
        found.append(Text.assemble(("DECISION  ", "bold"), now[0]))
        found += [Text(" " * _INDENT + part) for part in now[1:]]
        for change in reversed(self.record.changes):
            found += self._change(change, width)
        return found[: max(0, room)]

    def _change(self, change: Change, width: int) -> list[Text]:
        arrow = "▲" if change.after > change.before else "▼"
        when = datetime.fromtimestamp(change.at, UTC).strftime("%H:%M:%S")
        head = f"{when}  {arrow} {change.before} -> {change.after}  {change.reason}  "
        style = "green" if arrow == "▲" else "yellow"
        parts = wrap(change.message, max(_NARROWEST, width - len(head)))[:_MESSAGE_LINES] or [""]
        rest = [Text(" " * len(head) + part, "dim") for part in parts[1:]]
        return [Text.assemble((head, style), (parts[0], "dim")), *rest]


def _tone(value: float | None, threshold: float) -> str:
    if value is None:
        return "dim"
    return "red" if value > threshold else "green"


def _number(value: float | None, form: str) -> str:
    return "?" if value is None else form.format(value)


def _seconds(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"
