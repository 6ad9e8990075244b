"""Kubernetes quantities, as far as counts of devices need them."""

from __future__ import annotations

_FACTORS = {"k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def whole(quantity: str | int) -> int:
    """The whole number that a quantity such as `8`, `8000m` or `1k` stands for, rounded down; 0 when it is odd."""
    text = str(quantity).strip()
    try:
        if text.endswith("m"):
            return int(float(text[:-1]) / 1000)
        for suffix, factor in sorted(_FACTORS.items(), key=lambda item: -len(item[0])):
            if text.endswith(suffix):
                return int(float(text.removesuffix(suffix)) * factor)
        return int(float(text))
    except ValueError:
        return 0
