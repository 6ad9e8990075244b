"""Every policy by its name: `hpa` at upstream's defaults, `hpa-tuned` with parameters that were tuned, `static-12`.

Tuned values are committed beside this file in `tuned.json`: policy -> parameter -> value, parameters of the policy's
grid. One setting holds for all traces. What has no parameters is there under its plain name only, and ours too: it runs
with what ships.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources

from penstock_contract.profile import Profile
from penstock_lab.simulate.policies.base import Bounds, Policy
from penstock_lab.simulate.policies.catalog import ENTRIES, Case, Entry, Settings
from penstock_lab.simulate.policies.static import Static
from penstock_lab.simulate.score import Objectives

OURS = "penstock"
TUNED = "-tuned"
_STATIC = re.compile(r"static-(\d+)")
_TUNED_FILE = "tuned.json"
NAMES = tuple(ENTRIES)
_FIRST = (OURS, "hpa", "keda", "kpa", "wva-v2", "dynamo-sla", "aibrix-apa")


class PolicyError(ValueError):
    """A policy is unknown, or has no tuned values; the message names what there is."""


def defaults() -> list[str]:
    """Those of the first comparison, ours first, in the order of tables; without the fixed count and the oracle."""
    return list(_FIRST)


def tuned_names() -> list[str]:
    """The tuned ones of the first comparison: those that were tuned."""
    known = every_tuned()
    return [name + TUNED for name in _FIRST if name + TUNED in known]


def every_tuned() -> list[str]:
    """All that were tuned."""
    return [name + TUNED for name in _tuned()]


def is_tuned(name: str) -> bool:
    """Whether a name asks for tuned parameters."""
    return name.endswith(TUNED)


def grid(name: str) -> Mapping[str, Sequence[float]]:
    """The parameters of a policy that may be tuned, each with its values; empty when there are none."""
    return {} if _STATIC.fullmatch(name) else _entry(name).grid


def parameters(name: str) -> Settings:
    """What a policy is set to beside its defaults.

    Raises:
        PolicyError: there is none of that name, or no tuned value for it.
    """
    if _STATIC.fullmatch(name):
        return {}
    base = name.removesuffix(TUNED)
    _entry(base)
    if base == name:
        return {}
    known = _tuned()
    if base not in known:
        raise PolicyError(f"{base} has no tuned values in {_TUNED_FILE}; run it with its defaults, or tune it first")
    return known[base]


def build(
    name: str,
    *,
    profile: Profile,
    objectives: Objectives,
    minimum: int,
    maximum: int,
    settings: Settings | None = None,
) -> Policy:
    """A policy.

    Args:
        name: of NAMES, one of them with `-tuned` behind it, or `static-N`.
        profile: one replica.
        objectives: of the SLA.
        minimum: least replicas.
        maximum: most replicas.
        settings: parameters of its grid, in place of tuned or default ones: what a tuner tries.

    Raises:
        PolicyError: there is none of that name, no tuned value for it, or no such parameter.
    """
    bounds = Bounds(minimum, maximum)
    if fixed := _STATIC.fullmatch(name):
        return Static(bounds.clamp(int(fixed[1])))
    chosen = parameters(name) if settings is None else settings
    entry = _entry(name.removesuffix(TUNED))
    if unknown := sorted(set(chosen) - set(entry.grid)):
        known = ", ".join(entry.grid) or "none"
        raise PolicyError(f"{name} has no parameter {', '.join(unknown)}; there are: {known}")
    return entry.make(Case(name, profile, objectives, bounds, chosen))


def _tuned() -> dict[str, Settings]:
    file = resources.files(__package__) / _TUNED_FILE
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _entry(name: str) -> Entry:
    if name not in ENTRIES:
        raise PolicyError(f"no policy {name}; there are {', '.join(NAMES)}, static-N; NAME{TUNED} is tuned")
    return ENTRIES[name]
