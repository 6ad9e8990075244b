"""From logits to tokens: greedy, temperature, top-k, top-p, with random numbers that belong to the request.

A draw depends on the request's seed and the output position only, never on the batch or on what ran before: a
request that was preempted and recomputed, or batched with others, draws the same numbers again (a counter-based
generator: the mix of SplitMix64, Steele et al. 2014). One uniform number a token, spent on the inverse of the
cumulative distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from penstock_worker.request import Request

_MASK = (1 << 64) - 1


def sample(logits: Tensor, requests: Sequence[Request]) -> list[int]:
    """Choose one token a row.

    Args:
        logits: float32 [rows, vocabulary]; may be changed in place.
        requests: whose row it is.

    Returns:
        Token ids.
    """
    for row, request in enumerate(requests):
        sampling = request.sampling
        if sampling.stop_ids and request.output_length < sampling.min_tokens:
            logits[row, list(sampling.stop_ids)] = float("-inf")
    tokens: list[int] = logits.argmax(dim=-1).tolist()
    drawn = [row for row, request in enumerate(requests) if request.sampling.temperature > 0]
    if drawn:
        chosen = _draw(logits[drawn], [requests[row] for row in drawn])
        for row, token in zip(drawn, chosen, strict=True):
            tokens[row] = token
    return tokens


def uniform(seed: int, position: int) -> float:
    """The number in [0, 1) that belongs to an output position of a seed."""
    state = _mix((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) & _MASK)
    return (_mix((state + (position + 1) * 0x9E3779B97F4A7C15) & _MASK) >> 11) / (1 << 53)


def _mix(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _draw(logits: Tensor, requests: Sequence[Request]) -> list[int]:
    """Sample rows with a temperature; candidates are sorted so that top-k and top-p are prefixes."""
    device = logits.device
    settings = [request.sampling for request in requests]
    temperature = torch.tensor([s.temperature for s in settings], dtype=torch.float64, device=device)
    probabilities = (logits.double() / temperature[:, None]).softmax(dim=-1)
    ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
    vocabulary = logits.shape[-1]
    top_k = torch.tensor([s.top_k or vocabulary for s in settings], device=device)
    ranked = ranked.masked_fill(torch.arange(vocabulary, device=device) >= top_k[:, None], 0.0)
    # Top-p is the mass of what top-k left; a candidate stays if the ones before it do not reach it.
    cumulative = ranked.cumsum(dim=-1)
    top_p = torch.tensor([s.top_p for s in settings], dtype=torch.float64, device=device)
    before = cumulative - ranked
    ranked = ranked.masked_fill(before >= (top_p[:, None] * cumulative[:, -1:]), 0.0)
    cumulative = ranked.cumsum(dim=-1)
    draws = torch.tensor(
        [uniform(r.sampling.seed, r.output_length) for r in requests], dtype=torch.float64, device=device
    )
    picks = (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
    chosen: list[int] = order.gather(1, picks.clamp(max=vocabulary - 1))[:, 0].tolist()
    return chosen
