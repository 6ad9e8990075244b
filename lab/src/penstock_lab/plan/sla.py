"""What users were promised, as a person writes it: `ttft=2s,tpot=50ms,p=99`."""

from __future__ import annotations

from dataclasses import dataclass

from penstock_lab.load.flags import duration
from penstock_lab.plan.errors import PlanError

_EXAMPLE = "write it as ttft=2s,tpot=50ms,p=99"


@dataclass(frozen=True, slots=True)
class Sla:
    """Thresholds, and how many requests shall meet them.

    Attributes:
        ttft_seconds: time to the first token; None = any.
        tpot_seconds: mean time per further token; None = any.
        percentile: of the requests, between 50 and 100.
    """

    ttft_seconds: float | None
    tpot_seconds: float | None
    percentile: float = 99.0

    @property
    def share(self) -> float:
        """The percentile as a share of 1."""
        return self.percentile / 100

    def __str__(self) -> str:
        parts = [
            f"{name} ≤ {seconds:g} s"
            for name, seconds in (("TTFT", self.ttft_seconds), ("TPOT", self.tpot_seconds))
            if seconds is not None
        ]
        return f"{' and '.join(parts)} for {self.percentile:g} % of requests"


def parse(text: str) -> Sla:
    """The SLA that a person wrote.

    Raises:
        PlanError: it is none.
    """
    found: dict[str, str] = {}
    for pair in text.split(","):
        key, _, value = (part.strip() for part in pair.partition("="))
        if key not in ("ttft", "tpot", "p") or not value:
            raise PlanError(f"{pair.strip()!r} is no part of an SLA: {_EXAMPLE}")
        if key in found:
            raise PlanError(f"{key} is there twice: {_EXAMPLE}")
        found[key] = value
    if not {"ttft", "tpot"} & found.keys():
        raise PlanError(f"neither ttft nor tpot is promised: {_EXAMPLE}")
    return Sla(_seconds(found, "ttft"), _seconds(found, "tpot"), _percentile(found.get("p", "99")))


def _seconds(found: dict[str, str], key: str) -> float | None:
    if key not in found:
        return None
    try:
        value = duration(found[key])
    except ValueError as error:
        raise PlanError(f"{key}: {error}") from error
    if value <= 0:
        raise PlanError(f"{key}={found[key]}: nothing is that fast; give a time above 0")
    return value


def _percentile(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 50 <= value < 100:
        raise PlanError(f"p={text} is no percentile to size for: give one from 50 to below 100, such as 99 or 99.9")
    return value
