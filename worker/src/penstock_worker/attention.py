"""Attention over paged keys and values, in plain torch: the reference backend, and the one for CPUs.

The step's tokens lie flat, one-token rows first (sorted by context, longest first), then longer chunks. Each layer
first writes the new keys and values into its pages. One-token rows are then answered by few padded SDPA calls: their
pages are gathered, and the query heads that share a key head become the query length (grouped queries without
copies of the keys). Rows of very different context are not padded together. A longer chunk is one SDPA call.

Shapes: N tokens, Hq query heads, Hk key heads, D head size, T context, P pages, S page size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

LayerCache = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Rows:
    """One-token rows [begin, end): pages [rows, P] and the mask [rows, 1, 1, P·S] of context each may see."""

    begin: int
    end: int
    pages: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Span:
    """A chunk [begin, end) of one sequence; without pages it is the start of the sequence and sees only itself."""

    begin: int
    end: int
    pages: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """Where each token's key goes (`slots`, [N]) and what each row may see; made once a step for all layers."""

    slots: Tensor
    rows: tuple[Rows, ...]
    spans: tuple[Span, ...]


def plan_attention(
    table: npt.NDArray[np.int64],
    starts: Sequence[int],
    counts: Sequence[int],
    *,
    page_size: int,
    device: torch.device,
) -> AttentionPlan:
    """Lay out one step.

    Args:
        table: block table [sequences, most pages], in the order of the tokens: one-token rows first, longest first.
        starts: context of each sequence before the step.
        counts: new tokens of each sequence.
        page_size: S.
        device: where the tensors go.
    """
    ends = [start + count for start, count in zip(starts, counts, strict=True)]
    positions = np.concatenate([np.arange(start, end) for start, end in zip(starts, ends, strict=True)])
    owners = np.repeat(np.arange(len(starts)), counts)
    slots = table[owners, positions // page_size] * page_size + positions % page_size
    singles = sum(1 for count in counts if count == 1)

    def pages_of(sequence: slice, tokens: int) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(table[sequence, : -(-tokens // page_size)])).to(device)

    rows = []
    for begin, end in _groups(ends[:singles]):
        pages = pages_of(slice(begin, end), ends[begin])
        width = torch.arange(pages.shape[1] * page_size, device=device)
        limit = torch.tensor(ends[begin:end], device=device)
        rows.append(Rows(begin, end, pages, (width < limit[:, None])[:, None, None, :]))
    spans = []
    at = singles
    for number in range(singles, len(starts)):
        start, count = starts[number], counts[number]
        if start:
            context = pages_of(slice(number, number + 1), ends[number])[0]
            seen = torch.arange(context.shape[0] * page_size, device=device)
            mask = seen <= torch.arange(start, ends[number], device=device)[:, None]
            spans.append(Span(at, at + count, context, mask))
        else:
            spans.append(Span(at, at + count, None, None))
        at += count
    return AttentionPlan(torch.from_numpy(slots).to(device), tuple(rows), tuple(spans))


def attend(plan: AttentionPlan, cache: LayerCache, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Write new keys and values of one layer and attend.

    Args:
        plan: the step's layout.
        cache: keys and values of the layer, each [pages, S, Hk, D].
        q: queries [N, Hq, D].
        k: new keys [N, Hk, D].
        v: new values [N, Hk, D].

    Returns:
        [N, Hq, D].
    """
    keys, values = cache
    keys.view(-1, *k.shape[1:]).index_copy_(0, plan.slots, k)
    values.view(-1, *v.shape[1:]).index_copy_(0, plan.slots, v)
    parts = [_attend_rows(rows, cache, q) for rows in plan.rows]
    parts += [_attend_span(span, cache, q, k, v) for span in plan.spans]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attend_rows(rows: Rows, cache: LayerCache, q: Tensor) -> Tensor:
    count, heads, size = rows.end - rows.begin, q.shape[1], q.shape[2]
    key_heads = cache[0].shape[2]
    grouped = q[rows.begin : rows.end].view(count, key_heads, heads // key_heads, size)
    keys, values = (_gather(part, rows.pages) for part in cache)
    return scaled_dot_product_attention(grouped, keys, values, attn_mask=rows.mask).reshape(count, heads, size)


def _attend_span(span: Span, cache: LayerCache, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    queries = q[span.begin : span.end].transpose(0, 1)[None]
    if span.pages is None:
        keys, values = (part[span.begin : span.end].transpose(0, 1)[None] for part in (k, v))
    else:
        keys, values = (_gather(part, span.pages[None]) for part in cache)
    out = scaled_dot_product_attention(
        queries, keys, values, attn_mask=span.mask, is_causal=span.mask is None, enable_gqa=True
    )
    return out[0].transpose(0, 1)


def _gather(part: Tensor, pages: Tensor) -> Tensor:
    """Pages [rows, P] of one cache as [rows, Hk, P·S, D]."""
    rows = part.index_select(0, pages.flatten())
    return rows.view(pages.shape[0], -1, *part.shape[2:]).transpose(1, 2)


def _groups(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Cut rows sorted by falling length where padding would more than double a row."""
    cuts = []
    begin = 0
    for number, length in enumerate(lengths):
        if length * 2 < lengths[begin] and lengths[begin] > 256:
            cuts.append((begin, number))
            begin = number
    if lengths:
        cuts.append((begin, len(lengths)))
    return cuts
