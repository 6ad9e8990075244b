"""Kubernetes quantities ("500m", "64Gi") as exact decimals.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_SUFFIXES: Final[dict[str, Decimal]] = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
}
_PATTERN: Final = re.compile(r"([+-]?\d*\.?\d+|[+-]?\d+\.)(?:([eE][+-]?\d+)|([numkKMGTPE]?i?))")


def parse_quantity(text: str) -> Decimal:
    """Return the value of a quantity.

    Raises:
        ValueError: it is not one.
    """
    match = _PATTERN.fullmatch(str(text))
    if match is None or (match[3] or "") not in _SUFFIXES:
        raise ValueError(f"{text!r} is not a Kubernetes quantity such as 500m, 4 or 64Gi")
    return Decimal(match[1] + (match[2] or "")) * _SUFFIXES[match[3] or ""]
