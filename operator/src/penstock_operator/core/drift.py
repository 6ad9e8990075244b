"""Does a live object already say everything that we want it to say?

The operator writes only when the answer is no, so a steady state costs no request, not even after a restart: the
comparison needs nothing but the live object. Two facts make it sound. What we *add or change* shows because the live
object does not cover it. What we *drop* shows because every manifest carries a hash of itself in an annotation, so a
manifest with fewer fields differs there.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

from penstock_contract import names

Manifest = dict[str, Any]

_KEYS = ("name", "type", "containerPort", "port", "key", "ip", "mountPath")
_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
}


def with_hash(manifest: Manifest) -> Manifest:
    """`manifest` with the annotation that holds the hash of it."""
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
    metadata = manifest["metadata"]
    annotations = metadata.get("annotations", {}) | {names.MANIFEST_HASH: digest}
    return manifest | {"metadata": metadata | {"annotations": annotations}}


def covers(live: Any, wanted: Any) -> bool:
    """True when every field of `wanted` stands in `live` with an equal value.

    Lists of named items are matched by their key, as server-side apply does; a server adds items of its own to
    those. Other lists must be equal. Quantities are compared by value ("1000m" is "1"), since the API server
    stores them in canonical form.
    """
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(key in live and covers(live[key], value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and _list_covers(live, wanted)
    if isinstance(wanted, bool) or isinstance(live, bool):
        return live is wanted
    return bool(live == wanted) or _same_quantity(live, wanted)


def _list_covers(live: list[Any], wanted: list[Any]) -> bool:
    if not wanted or not all(isinstance(item, dict) for item in wanted):
        return live == wanted
    key = next((key for key in _KEYS if all(key in item for item in wanted)), None)
    if key is None:
        return len(live) == len(wanted) and all(covers(a, b) for a, b in zip(live, wanted, strict=True))
    by_key = {item.get(key): item for item in live if isinstance(item, dict)}
    return all(covers(by_key.get(item[key]), item) for item in wanted)


def _same_quantity(live: Any, wanted: Any) -> bool:
    if not isinstance(live, str | int) or not isinstance(wanted, str | int):
        return False
    a, b = quantity(live), quantity(wanted)
    return a is not None and a == b


def quantity(value: str | int) -> Decimal | None:
    """Value of a Kubernetes quantity, or None when it is none."""
    text = str(value)
    digits = text.rstrip("numkKMGTPEi")
    factor = _SUFFIXES.get(text[len(digits) :])
    if factor is None:
        return None
    try:
        number = Decimal(digits) * factor
    except ArithmeticError:  # no number, or one beyond all bounds
        return None
    return number if number.is_finite() else None
