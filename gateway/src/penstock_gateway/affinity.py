"""Which worker has seen a prompt like this: a bounded memory of prefixes.

A prompt is known by hashes of its first 256, 1024 and 4096 tokens (or as much text), as far as it reaches. A worker
that computed that prefix can take it from its cache, so it is preferred by as much work as that saves, and by no
more: load stays even to within that. The memory is a guess about caches nobody asks; a wrong one costs nothing but
the preference.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

LENGTHS: Final = (4096, 1024, 256)
_REMEMBERED: Final = 8192

Prefix = tuple[int, int]


def prefixes(prompt: Sequence[int] | str, *, units_per_token: int = 1) -> tuple[Prefix, ...]:
    """Hash and length in tokens of each prefix that the prompt reaches, the longest first.

    Args:
        prompt: token ids or text.
        units_per_token: elements of the prompt that stand for a token.
    """
    found = []
    for tokens in LENGTHS:
        units = tokens * units_per_token
        if len(prompt) >= units:
            head = prompt[:units]
            found.append((hash(head if isinstance(head, str) else tuple(head)), tokens))
    return tuple(found)


class Affinity:
    """Last worker by prefix, least recently used forgotten first."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, str] = OrderedDict()

    def find(self, known: Sequence[Prefix]) -> tuple[str, int] | None:
        """The worker of the longest prefix that is remembered, and that length in tokens."""
        for key, tokens in known:
            uid = self._seen.get(key)
            if uid is not None:
                return uid, tokens
        return None

    def remember(self, known: Sequence[Prefix], uid: str) -> None:
        """A worker is given a prompt with these prefixes."""
        for key, _tokens in known:
            self._seen[key] = uid
            self._seen.move_to_end(key)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
