"""Types of the command line's values: durations, lengths, phases, headers, lists of rates."""

from __future__ import annotations

import re
from typing import Any, Final

import click

from penstock_lab.load import lengths
from penstock_lab.load.schedule import Phase

_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|min|m|h|d)?")
_MOST_RATE: Final = 1e6


def duration(text: str) -> float:
    """Seconds of `90`, `90s`, `250ms`, `30m`, `1h`.

    Raises:
        ValueError: it is none.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no duration: use a number of seconds, or one with a unit, like 250ms, 30m, 1h")
    return float(found[1]) * _UNITS[found[2] or ""]


def rate(text: str) -> float:
    """Requests per second from 0 on.

    Raises:
        ValueError: it is no such number.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _MOST_RATE:
        raise ValueError(f"{text!r} is no rate: use requests per second, from 0 on")
    return value


class _Parsed(click.ParamType[Any]):
    """A type of click's whose conversion raises `ValueError`."""

    def parse(self, text: str) -> Any:
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Duration(_Parsed):
    """A duration in seconds."""

    name = "duration"

    def parse(self, text: str) -> float:
        """See `duration`."""
        return duration(text)


class Rate(_Parsed):
    """Requests per second."""

    name = "requests/s"

    def parse(self, text: str) -> float:
        """See `rate`."""
        return rate(text)


class Tokens(_Parsed):
    """A distribution of lengths."""

    name = "tokens"

    def parse(self, text: str) -> lengths.Length:
        """See `lengths.parse`."""
        return lengths.parse(text)


class PhaseFlag(_Parsed):
    """A named stretch of constant rate."""

    name = "name:duration:rate"

    def parse(self, text: str) -> Phase:
        """`NAME:DURATION:RATE`."""
        parts = text.rsplit(":", 2)
        if len(parts) != 3 or not parts[0]:
            raise ValueError(f"{text!r} is no phase: use NAME:SECONDS:RATE, like burst:30s:12")
        seconds = duration(parts[1])
        if not seconds:
            raise ValueError(f"{text!r}: a phase must last longer than 0 s")
        return Phase(parts[0], seconds, rate(parts[2]))


class Header(_Parsed):
    """An HTTP header."""

    name = "name:value"

    def parse(self, text: str) -> tuple[str, str]:
        """`NAME: VALUE`."""
        name, colon, value = text.partition(":")
        if not colon or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name.strip()) or "\n" in value:
            raise ValueError(f"{text!r} is no header: use NAME:VALUE")
        return name.strip(), value.strip()


class Rates(_Parsed):
    """`auto`, or rates."""

    name = "auto|rate,rate,…"

    def parse(self, text: str) -> tuple[float, ...]:
        """An empty tuple for `auto`."""
        if text == "auto":
            return ()
        rates = tuple(rate(part) for part in text.split(","))
        if not all(rates):
            raise ValueError(f"{text!r}: a rate of a sweep must be above 0")
        return rates
