"""`penstock plan`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from penstock_contract.profile import Profile, ProfileError, load_profile, reference_names
from penstock_lab.plan import answer, demand, price, sla
from penstock_lab.plan.errors import PlanError
from penstock_lab.plan.sizing import Size, size
from penstock_lab.plan.trial import Trial

_MODEL_ERROR = 0.1
_TOLD_ERROR = re.compile(r"MAPE (\d+(?:\.\d+)?) ?%")


def _checked(parse: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback whose errors name the option."""

    def callback(_context: click.Context, _option: click.Parameter, value: Any) -> Any:
        try:
            return parse(value)
        except (PlanError, ProfileError) as error:
            raise click.BadParameter(str(error)) from error

    return callback


def _profiles(names: Sequence[str]) -> tuple[Profile, ...]:
    known = ", ".join(reference_names())
    if twice := [name for name in names if names.count(name) > 1]:
        raise PlanError(f"{twice[0]} is there twice")
    try:
        return tuple(load_profile(name) for name in names)
    except ProfileError as error:
        text = str(error)
        raise PlanError(text if known in text else f"{text}; the reference profiles are {known}") from error


def _share(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise PlanError(f"{text!r} is no error: give a share below 1, such as 0.1 or 10%")
    return value


@click.command()
@click.option(
    "--demand",
    "wanted",
    required=True,
    callback=_checked(str),
    help="RATE,prompt=TOKENS,output=TOKENS with a rate such as 500/s, 17.3M/day or 100k tok/s; or a trace file, "
    "whose busiest minute counts.",
)
@click.option(
    "--sla",
    "promise",
    default="ttft=2s,tpot=50ms,p=99",
    show_default=True,
    callback=_checked(sla.parse),
    help="Time to the first token, time per further token, and the percentile of requests that meet them.",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    required=True,
    callback=_checked(_profiles),
    help="A reference replica or a file, several times to compare.",
)
@click.option(
    "--price",
    "prices",
    multiple=True,
    callback=_checked(price.parse),
    help="Of one accelerator and hour, such as H100=3.5; several times.",
)
@click.option("--currency", default="USD", show_default=True, help="Of the prices.")
@click.option(
    "--model-error",
    callback=_checked(_share),
    help="By how much the step model may be wrong.  [default: as the profile's source says, else 10%]",
)
@click.option("--simulate", is_flag=True, help="Try each answer, one replica less and one more in the simulator.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the simulated traffic.")
@click.option("-o", "--output", type=click.Choice(("text", "json")), default="text", show_default=True)
def plan(  # noqa: PLR0917 - click hands the options over by name
    wanted: str,
    promise: sla.Sla,
    profiles: tuple[Profile, ...],
    prices: dict[str, float],
    currency: str,
    model_error: float | None,
    simulate: bool,
    seed: int,
    output: str,
) -> None:
    """How many replicas of which accelerator a demand takes under an SLA, and what they cost.

    From the step model of a profile, in closed form; nothing is started and no cluster is asked. Exit status 1 means
    that no profile can keep the SLA.
    """
    try:
        asked = demand.parse(wanted, percentile=promise.percentile)
    except PlanError as error:
        raise click.BadParameter(str(error), param_hint="'--demand'") from error
    try:
        price.check(prices, profiles)
    except PlanError as error:
        raise click.BadParameter(str(error), param_hint="'--price'") from error
    try:
        sizes = [size(one, asked, promise, error=_error(one, model_error)) for one in profiles]
    except PlanError as error:
        raise click.BadParameter(str(error), param_hint="'--demand'") from error
    tried = _tried(sizes, asked, promise, seed) if simulate else {}
    made = answer.Answer(asked, promise, tuple(sizes), prices, currency, tried)
    click.echo(json.dumps(made.to_json(), indent=1, allow_nan=False) if output == "json" else made.to_text())
    if all(one.chosen is None for one in sizes):
        raise SystemExit(1)


def _tried(sizes: Sequence[Size], asked: demand.Demand, promise: sla.Sla, seed: int) -> dict[str, list[Trial]]:
    # Imported here: the simulator brings a compiler, which a plan by formula need not wait for.
    from penstock_lab.plan.simulation import trial  # noqa: PLC0415

    return {
        one.profile.name: [trial(one.profile, asked, promise, near.replicas, seed=seed) for near in one.around]
        for one in sizes
    }


def _error(profile: Profile, given: float | None) -> float:
    if given is not None:
        return given
    told = _TOLD_ERROR.search(profile.source)
    return float(told[1]) / 100 if told else _MODEL_ERROR


if __name__ == "__main__":
    plan()
