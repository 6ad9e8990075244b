"""What a plan says: one table for people, one object for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any

from rich.console import Console
from rich.table import Table

from penstock_lab.plan import price
from penstock_lab.plan.demand import SECONDS_PER_DAY, Demand
from penstock_lab.plan.price import Cost
from penstock_lab.plan.sizing import Size
from penstock_lab.plan.sla import Sla
from penstock_lab.plan.trial import Trial

WIDTH = 120


@dataclass(frozen=True, slots=True)
class Answer:
    """All of it.

    Attributes:
        demand: asked for.
        sla: promised.
        sizes: one per profile.
        prices: per accelerator and hour, by kind or profile in lower case.
        currency: of the prices.
        trials: simulated counts by profile; empty without.
    """

    demand: Demand
    sla: Sla
    sizes: Sequence[Size]
    prices: Mapping[str, float]
    currency: str
    trials: Mapping[str, Sequence[Trial]]

    def cost(self, size: Size) -> Cost | None:
        """Of a size; None without a price or without an answer."""
        each = price.of(size.profile, self.prices)
        return None if each is None or size.chosen is None else price.cost(size, self.demand, each)

    def ranked(self) -> list[Size]:
        """The cheapest first, then those without a price by accelerators, then those that cannot."""

        def key(size: Size) -> tuple[int, float]:
            if size.chosen is None:
                return 2, 0.0
            cost = self.cost(size)
            accelerators = size.chosen.replicas * size.profile.accelerators
            return (1, accelerators) if cost is None else (0, cost.per_hour)

        return sorted(self.sizes, key=key)

    def to_json(self) -> dict[str, Any]:
        """For programs; what is no finite number is null."""
        demand = {
            "said": self.demand.said,
            "requests_per_second": self.demand.requests_per_second,
            "requests_per_day": self.demand.requests_per_day,
            "prompt_tokens": self.demand.prompt_tokens,
            "output_tokens": self.demand.output_tokens,
            "tokens_per_second": self.demand.tokens_per_second,
            "mean_requests_per_second": self.demand.mean_requests_per_second,
        }
        plans = [self._plan_json(size) for size in self.ranked()]
        found: dict[str, Any] = _finite(
            {"demand": demand, "sla": asdict(self.sla), "currency": self.currency, "plans": plans}
        )
        return found

    def to_text(self) -> str:
        """For people."""
        demand = self.demand
        about = (
            f"{demand.requests_per_second:,.4g} requests/s ({_large(demand.requests_per_day)} a day) "
            f"x {demand.output_tokens:,.0f} tokens = {demand.tokens_per_second:,.0f} tok/s, "
            f"prompts of {demand.prompt_tokens:,.0f}"
        )
        lines = [f"Demand  {demand.said}: {about}", f"SLA     {self.sla}", "", self._table().rstrip(), ""]
        for size in self.ranked():
            lines += self._words(size)
        lines.append("Planned from step models: no request was sent.")
        return "\n".join(lines)

    def _table(self) -> str:
        table = Table(box=None, pad_edge=False)
        first, money = f"TTFT p{self.sla.percentile:g}", self.currency
        heads = ("profile", "replicas", "range", "accelerators", "busy", "bound by", "attained", first, f"{money}/h",
                 f"{money}/1M tokens", "if full")  # fmt: skip
        for number, head in enumerate(heads):
            table.add_column(head, justify="left" if number in (0, 5) else "right", no_wrap=True)
        for size in self.ranked():
            table.add_row(*self._row(size))
        text = StringIO()
        Console(file=text, width=WIDTH + 20).print(table)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def _row(self, size: Size) -> tuple[str, ...]:
        if size.chosen is None:
            return (size.profile.name, "none")
        cost, chosen = self.cost(size), size.chosen
        return (
            size.profile.name,
            str(chosen.replicas),
            f"{size.fewest}-{size.most if size.most is not None else '?'}",
            f"{chosen.replicas * size.profile.accelerators} {price.kind(size.profile)}",
            f"{chosen.busy:.0%}",
            size.one.bound_by,
            f"{chosen.attainment:.2%}",
            f"{chosen.ttft_seconds:.2f} s",
            *(("-", "-", "-") if cost is None else (
                f"{cost.per_hour:,.2f}", f"{cost.per_million:,.3f}", f"{cost.per_million_full:,.3f}"
            )),
        )  # fmt: skip

    def _words(self, size: Size) -> list[str]:
        name = size.profile.name
        if size.chosen is None:
            return [f"{name}: no number of replicas keeps the SLA: {size.one.impossible}", ""]
        one, chosen, cost = size.one, size.chosen, self.cost(size)
        carried = (
            f"{one.requests_per_second:,.4g} requests/s ({_large(one.requests_per_second * SECONDS_PER_DAY)} a day) or "
            f"{one.requests_per_second * self.demand.output_tokens:,.0f} tok/s"
        )
        lines = [
            f"{name}: {_replicas(chosen.replicas)}; one carries {carried}, in steps of {1e3 * one.step_seconds:.1f} ms",
            f"  {_sure(size)}",
        ]
        if cost is not None:
            lines.append(
                f"  {cost.per_month:,.0f} {self.currency} a month; {cost.per_million:,.3f} {self.currency} per million "
                f"generated tokens, {cost.per_million_all:,.3f} with those of prompts"
            )
        elif self.prices:
            lines.append(f"  no price: give --price {price.kind(size.profile)}=PER_HOUR")
        if size.at_mean != chosen.replicas:
            lines.append(f"  {size.at_mean} at the mean rate of the trace: what scaling can save lies between the two")
        lines += [
            f"  {near.replicas:>5}: {near.attainment:8.2%} predicted{self._tried(name, near.replicas)}"
            for near in size.around
        ]
        return [*lines, f"  source: {size.profile.source}", ""]

    def _tried(self, name: str, replicas: int) -> str:
        for one in self.trials.get(name, ()):
            if one.replicas == replicas:
                low, high = one.interval
                return (
                    f", {one.attainment:.2%} simulated ({low:.2%} to {high:.2%} of {one.requests:,} requests; "
                    f"TTFT {one.ttft_seconds:.2f} s, TPOT {1e3 * one.tpot_seconds:.1f} ms)"
                )
        return ""

    def _plan_json(self, size: Size) -> dict[str, Any]:
        cost = self.cost(size)
        return {
            "profile": size.profile.name,
            "source": size.profile.source,
            "accelerator": price.kind(size.profile),
            "accelerators_per_replica": size.profile.accelerators,
            "impossible": size.one.impossible or None,
            "replicas": size.chosen and size.chosen.replicas,
            "accelerators": size.chosen and size.chosen.replicas * size.profile.accelerators,
            "replicas_at_mean": size.at_mean if size.chosen else None,
            "confidence": {
                "model_error": size.error,
                "replicas_low": size.fewest if size.chosen else None,
                "replicas_high": size.most,
            },
            "replica": {
                "requests_per_second": size.one.requests_per_second,
                "tokens_per_second": size.one.requests_per_second * self.demand.output_tokens,
                "step_seconds": size.one.step_seconds,
                "sequences": size.one.sequences,
                "bound_by": size.one.bound_by,
            },
            "around": [asdict(near) for near in size.around],
            "cost": None if cost is None else asdict(cost) | {"per_month": cost.per_month},
            "simulated": [asdict(one) for one in self.trials.get(size.profile.name, ())],
        }


def _sure(size: Size) -> str:
    assert size.chosen is not None
    about = f"if the step model is {size.error:.1%} off"
    if size.most is None:
        return f"confidence: low; {about}, no number of replicas keeps the SLA"
    if size.fewest == size.most:
        return f"confidence: high; the same number {about}"
    spread = (size.most - size.fewest) / size.chosen.replicas
    return f"confidence: {'fair' if spread <= 0.25 else 'low'}; {size.fewest} to {size.most} {about}"


def _replicas(number: int) -> str:
    return f"{number} replica{'' if number == 1 else 's'}"


def _large(value: float) -> str:
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:.3g}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
