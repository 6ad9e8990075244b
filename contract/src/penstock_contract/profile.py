"""The replica profile: a step model with the limits of one replica, as a JSON file.

A profile drives the emulated device, the simulator and the planner. The reference replicas ship inside this
package under `profiles/`; each names its source.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from penstock_contract.step import StepModel

_COEFFICIENTS = ("c0", "cB", "cKV", "cP", "cPP")
_COUNTS = ("kv_tokens", "max_num_seqs", "max_num_batched_tokens", "accelerators")
_FIELDS = ("name", *_COEFFICIENTS, *_COUNTS, "startup_seconds", "source")


class ProfileError(ValueError):
    """A profile is missing, unreadable or holds a wrong value; the message names the file and the field."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One replica.

    Attributes:
        name: identifier, for example `llama8b-bf16-tp1-h100`.
        model: step model in seconds.
        kv_tokens: KV cache capacity in tokens.
        max_num_seqs: most sequences decoded in one step.
        max_num_batched_tokens: token budget of one step.
        accelerators: accelerators one replica holds.
        startup_seconds: scheduled to ready.
        source: where the numbers come from.
    """

    name: str
    model: StepModel
    kv_tokens: int
    max_num_seqs: int
    max_num_batched_tokens: int
    accelerators: int
    startup_seconds: float
    source: str

    def to_json(self) -> dict[str, Any]:
        """The flat JSON form of the contract."""
        flat = asdict(self)
        model = flat.pop("model")
        return {"name": flat.pop("name"), **model, **flat}

    @classmethod
    def from_json(cls, data: Any, *, where: str = "profile") -> Profile:
        """Check and convert the flat JSON form.

        Args:
            data: the decoded JSON.
            where: file name for error messages.

        Raises:
            ProfileError: a field is missing, unknown or wrong.
        """
        if not isinstance(data, dict):
            raise ProfileError(f"{where}: a profile is a JSON object, got {type(data).__name__}")
        if missing := [key for key in _FIELDS if key not in data]:
            raise ProfileError(f"{where}: missing {', '.join(missing)}")
        if unknown := sorted(set(data) - set(_FIELDS)):
            raise ProfileError(f"{where}: unknown {', '.join(unknown)}; fields are {', '.join(_FIELDS)}")
        for key in ("name", "source"):
            if not isinstance(data[key], str) or not data[key]:
                raise ProfileError(f"{where}: {key} must be a non-empty string, got {data[key]!r}")
        for key in _COUNTS:
            if not isinstance(data[key], int) or isinstance(data[key], bool) or data[key] < (key != "accelerators"):
                raise ProfileError(f"{where}: {key} must be a positive integer, got {data[key]!r}")
        for key in (*_COEFFICIENTS, "startup_seconds"):
            value = data[key]
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise ProfileError(f"{where}: {key} must be a number of seconds >= 0, got {value!r}")
        return cls(
            name=data["name"],
            model=StepModel(**{key: float(data[key]) for key in _COEFFICIENTS}),
            startup_seconds=float(data["startup_seconds"]),
            source=data["source"],
            **{key: data[key] for key in _COUNTS},
        )


def reference_names() -> list[str]:
    """Names of the profiles that ship with Penstock."""
    folder = resources.files("penstock_contract") / "profiles"
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def load_profile(name_or_path: str) -> Profile:
    """Load a reference profile by name, or a profile from a JSON file.

    Raises:
        ProfileError: neither exists, or the content is wrong.
    """
    if name_or_path in reference_names():
        entry = resources.files("penstock_contract") / "profiles" / f"{name_or_path}.json"
        return Profile.from_json(json.loads(entry.read_text(encoding="utf-8")), where=name_or_path)
    path = Path(name_or_path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(reference_names())
        raise ProfileError(
            f"{name_or_path}: no such file ({error.strerror}) and no reference profile; known: {known}"
        ) from error
    except ValueError as error:
        raise ProfileError(f"{name_or_path}: not JSON: {error}") from error
    return Profile.from_json(data, where=name_or_path)
