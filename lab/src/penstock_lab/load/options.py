"""What was asked for on the command line, checked as a whole, and turned into a workload.

Every refusal names the option at fault and what to do. An option that the chosen arrivals would ignore is refused
too: a load that is not what somebody believes it to be is worse than none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from penstock_lab.load import arrivals
from penstock_lab.load.arrivals import Curve, Process
from penstock_lab.load.errors import OptionError
from penstock_lab.load.lengths import MIXES, Length, Uniform
from penstock_lab.load.prompts import Shape
from penstock_lab.load.report import Objectives
from penstock_lab.load.schedule import Phase
from penstock_lab.load.workload import Workload, draw, replay
from penstock_lab.traces.source import Source

ARRIVALS: Final = ("poisson", "constant", "on-off", "ramp", "diurnal", "trace")
_NEEDS: Final = {"on-off": ("on", "off"), "ramp": ("rate_to",), "diurnal": (), "trace": ("trace",)}
_ONLY_WITH: Final = {
    "rate_to": "ramp", "on": "on-off", "off": "on-off", "off_rate": "on-off", "period": "diurnal",
    "peak_to_trough": "diurnal", "trace": "trace", "start": "trace", "end": "trace", "rate_scale": "trace",
    "speed": "trace", "format": "trace",
}  # fmt: skip
_PROMPT, _OUTPUT = Uniform(512, 512), Uniform(128, 128)
_DURATION: Final = 60.0
_PEAK_TO_TROUGH: Final = 4.0
_MOST_REQUESTS: Final = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to send; None is what was not said. Durations in seconds, rates in requests per second."""

    arrivals: str | None = None
    rate: float | None = None
    rate_to: float | None = None
    off_rate: float | None = None
    on: float | None = None
    off: float | None = None
    period: float | None = None
    peak_to_trough: float | None = None
    duration: float | None = None
    warmup: float = 0.0
    phases: tuple[Phase, ...] = ()
    trace: Path | None = None
    format: str | None = None
    rate_scale: float | None = None
    speed: float | None = None
    start: float | None = None
    end: float | None = None
    prompt_tokens: Length | None = None
    output_tokens: Length | None = None
    mix: str | None = None
    length_scale: float = 1.0
    shared_prefix: float = 0.0
    prefix_groups: int = 1
    vocabulary: int = 512
    objectives: Objectives
    sweep: tuple[float, ...] | None = None
    seed: int = 0

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            OptionError: the option at fault, and the fix.
        """
        kind = self.kind
        for name, wanted in _ONLY_WITH.items():
            if getattr(self, name) is not None and kind != wanted:
                raise OptionError(f"{_flag(name)} goes with --arrivals {wanted}, not with {kind}")
        for name in _NEEDS.get(kind, ()):
            if getattr(self, name) is None:
                raise OptionError(f"{_flag(name)} is needed with --arrivals {kind}")
        if self.phases:
            self._check_phases()
        elif kind == "trace":
            self._refuse("rate", "a trace has its own; --rate-scale and --speed change it")
            for name in ("prompt_tokens", "output_tokens", "mix"):
                self._refuse(name, "a trace has its own lengths; --length-scale changes them")
        elif self.rate is None and self.sweep is None:
            raise OptionError("--rate is needed, in requests per second (or --phase, --trace or --sweep)")
        if self.sweep is not None:
            self._check_sweep()
        self._check_values()

    def _check_phases(self) -> None:
        if self.kind not in ("poisson", "constant"):
            raise OptionError(f"--phase goes with --arrivals poisson or constant, not with {self.kind}")
        self._refuse("rate", "each --phase has its own")
        self._refuse("duration", "each --phase has its own")

    def _check_sweep(self) -> None:
        if self.phases or self.kind not in ("poisson", "constant"):
            raise OptionError("--sweep goes with --arrivals poisson or constant, and not with --phase")
        if not self.objectives.given():
            raise OptionError("--sweep needs an objective to find the knee: --ttft, --tpot, --itl or --e2e")
        if self.sweep and self.rate is not None:
            raise OptionError("--rate is where --sweep auto begins; leave it out with a list of rates")

    def _check_values(self) -> None:
        for name in ("duration", "on", "off", "period", "rate_scale", "speed"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise OptionError(f"{_flag(name)} must be above 0")
        if self.rate == 0 and not (self.rate_to or self.off_rate):
            raise OptionError("--rate must be above 0")
        if self.peak_to_trough is not None and self.peak_to_trough < 1:
            raise OptionError("--peak-to-trough must be at least 1")

    def _refuse(self, name: str, because: str) -> None:
        if getattr(self, name) is not None:
            raise OptionError(f"{_flag(name)} cannot be given here: {because}")

    @property
    def kind(self) -> str:
        """Of the arrivals; a trace or Poisson if nothing was said."""
        return self.arrivals or ("trace" if self.trace is not None else "poisson")

    @property
    def seconds(self) -> float:
        """How long arrivals last, except of a trace."""
        if self.phases:
            return sum(phase.seconds for phase in self.phases)
        return _DURATION if self.duration is None else self.duration

    def workload(self, rate: float | None = None) -> Workload:
        """What to send.

        Args:
            rate: of a step of a sweep, which has its warm-up beside the measured duration.

        Raises:
            OptionError: it would be nothing, or too much, or only warm-up.
            TraceError: the trace cannot be read.
        """
        found = self._replayed() if self.kind == "trace" else self._drawn(rate)
        if not len(found):
            raise OptionError(f"no request is due within {found.seconds:g} s: raise --rate or --duration")
        if self.warmup >= found.seconds:
            raise OptionError(f"--warmup {self.warmup:g} s leaves nothing of {found.seconds:g} s; raise --duration")
        return found.scaled(self.length_scale)

    def _drawn(self, rate: float | None) -> Workload:
        curve, description = self._curve(rate)
        if curve.total > _MOST_REQUESTS:
            raise OptionError(f"--rate: {curve.total:,.0f} requests are more than {_MOST_REQUESTS:,}; send less")
        process = Process.CONSTANT if self.kind == "constant" else Process.POISSON
        mix = MIXES[self.mix] if self.mix else None
        prompt = self.prompt_tokens or (mix.prompt if mix else _PROMPT)
        output = self.output_tokens or (mix.output if mix else _OUTPUT)
        description |= {"prompt_tokens": str(prompt), "output_tokens": str(output)}
        if mix is not None:
            description |= {"mix": self.mix, "mix_source": mix.source}
        return draw(
            curve,
            process,
            prompt=prompt,
            output=output,
            seed=self.seed,
            description=self._described(description),
            phases=self.phases,
        )

    def _curve(self, rate: float | None) -> tuple[Curve, dict[str, Any]]:
        seconds = self.seconds
        if rate is not None:
            seconds += self.warmup
            return arrivals.steps([(seconds, rate)]), {"rate": rate}
        if self.phases:
            named = [f"{each.name}:{each.seconds:g}:{each.requests_per_second:g}" for each in self.phases]
            return arrivals.phases(self.phases), {"phases": named}
        level = self.rate or 0.0
        match self.kind:
            case "on-off":
                assert self.on is not None
                assert self.off is not None
                shape = {"rate": level, "on": self.on, "off": self.off, "off_rate": self.off_rate or 0.0}
                return arrivals.on_off(seconds=seconds, **shape), dict(shape)
            case "ramp":
                assert self.rate_to is not None
                shape = {"rate": level, "rate_to": self.rate_to}
                return arrivals.ramp(seconds=seconds, **shape), dict(shape)
            case "diurnal":
                swing = _PEAK_TO_TROUGH if self.peak_to_trough is None else self.peak_to_trough
                shape = {"rate": level, "period": self.period or seconds, "peak_to_trough": swing}
                return arrivals.diurnal(seconds=seconds, **shape), dict(shape)
            case _:
                return arrivals.steps([(seconds, level)]), {"rate": level}

    def _replayed(self) -> Workload:
        assert self.trace is not None
        source = Source(
            path=self.trace,
            format=self.format or "auto",
            start=self.start or 0.0,
            end=self.end,
            rate_scale=1.0 if self.rate_scale is None else self.rate_scale,
            speed=1.0 if self.speed is None else self.speed,
            seed=self.seed,
        )
        description = {
            "trace": self.trace.name,
            **{name: getattr(source, name) for name in ("format", "start", "end", "rate_scale", "speed")},
        }
        # The window that was asked for is what is measured, also when its last part is empty.
        window = None if source.end is None else (source.end - source.start) / source.speed
        lasts = min((each for each in (self.duration, window) if each is not None), default=None)
        return replay(source.requests(), seconds=lasts, description=self._described(description))

    def _described(self, description: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "arrivals": self.kind,
            "seed": self.seed,
            **description,
            "length_scale": self.length_scale,
            "shared_prefix": self.shared_prefix,
            "prefix_groups": self.prefix_groups,
        }

    @property
    def shape(self) -> Shape:
        """Of the prompts, before the endpoint has been asked what it takes."""
        return Shape(
            as_ids=True,
            vocabulary=self.vocabulary,
            seed=self.seed,
            shared=self.shared_prefix,
            groups=self.prefix_groups,
        )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
