"""Prompts of a wanted length, as JSON, cheap to make while others are under way.

A prompt is a stretch of one fixed random sequence, marked at its front with its own number, so that no two prompts
share a prefix and an engine's prefix cache finds nothing but what was asked for: a shared part at the front
(`shared`), or the blocks of a trace's hash ids. As text a prompt is made of short common words, which is about a
token each; how many tokens a word really takes is measured beforehand and given here.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from penstock_lab.traces.request import HASH_BLOCK_TOKENS

_TEXT: Final = (
    "the of and to in is it for on as with was that he be at by had not are but from or have an they which one you were"
    " all her she there would their we him been has when who will no more if out so up said what its about than into"
    " them can only other time new some could these two may first then do any like my now over such our man me even"
    " most made after also did many off before must well back through years much where your way down should because"
    " long each just state those people too mr how little good world make very year still see own work men day get here"
    " old life both between being under three never know same last another while us might great go come since against"
    " right came take used himself few house use place during high without again home around small however found mrs"
    " part school thought went say general once upon war every left got away water public put think almost far head"
    " enough"
)
_WORDS: Final = tuple(_TEXT.split())
_FIRST_ID: Final = 3  # the ids below are often special
_POOL: Final = 1 << 15
_MARK: Final = 4  # units that tell prompts apart: 64 million at the least with a hundred different units
_STRIDE: Final = 7919  # prime, so that neighbours begin far apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What prompts look like.

    Attributes:
        as_ids: token ids instead of text.
        vocabulary: ids are below this.
        seed: of the sequence.
        shared: share of each prompt (0 to 1) that it has in common with the others of its group.
        groups: how many shared fronts there are; prompts take them in turn.
        tokens_per_word: of text.
        overhead_tokens: that the endpoint adds to a text, for example by its chat template.
    """

    as_ids: bool
    vocabulary: int = 512
    seed: int = 0
    shared: float = 0.0
    groups: int = 1
    tokens_per_word: float = 1.0
    overhead_tokens: float = 0.0


class Prompts:
    """Makes prompts of one shape; the same number and length give the same prompt."""

    def __init__(self, shape: Shape) -> None:
        dice = random.Random(shape.seed)
        self._shape = shape
        self._units = (
            [b"%d" % token for token in range(_FIRST_ID, shape.vocabulary)]
            if shape.as_ids
            else [word.encode() for word in _WORDS]
        )
        self._pool = dice.choices(self._units, k=_POOL)

    def json(self, number: int, tokens: int, hashes: Sequence[int] = ()) -> bytes:
        """A prompt as a JSON list of ids or a JSON string.

        Args:
            number: of the request; makes it unlike all others.
            tokens: wanted length.
            hashes: ids of its blocks of 512 tokens; blocks of the same id are the same.
        """
        units = self._units_for(tokens)
        block = max(1, round(units / tokens * HASH_BLOCK_TOKENS))
        parts: list[bytes] = []
        for name in hashes:
            parts += self._stretch(-1 - int(name), min(block, units - len(parts)))
        if self._shape.shared and not parts:
            parts = self._stretch(-1 - number % self._shape.groups, int(units * self._shape.shared))
        parts += self._stretch(number, units - len(parts))
        return b"[%b]" % b",".join(parts) if self._shape.as_ids else b'"%b"' % b" ".join(parts)

    def _units_for(self, tokens: int) -> int:
        if self._shape.as_ids:
            return tokens
        return max(1, round((tokens - self._shape.overhead_tokens) / self._shape.tokens_per_word))

    def _stretch(self, name: int, units: int) -> list[bytes]:
        """So many units, the same for the same name; those of different names differ from the first units on."""
        if units <= 0:
            return []
        mark, rest = [self._units[-1] if name < 0 else self._units[0]], abs(name)
        for _ in range(_MARK):
            rest, digit = divmod(rest, len(self._units))
            mark.append(self._units[digit])
        start = name * _STRIDE % _POOL
        taken = self._pool[start : start + units]
        while len(taken) < units:
            taken += self._pool[: units - len(taken)]
        return (mark + taken)[:units]
