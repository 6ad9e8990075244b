"""Offered load: arrivals times tokens per request. Never served tokens, which saturate and so never ask for more.

Both factors come from cumulative counters. The request rate is smoothed against Poisson noise but follows a level shift
at once: a rate further than three standard deviations from the smoothed one replaces it. Tokens per request is a ratio
of decayed sums, corrected for requests that are still running: on average half of their output is counted already. What
the last half minute says replaces it where answers are longer by more than chance.
"""

from __future__ import annotations

import math
from dataclasses import replace

from penstock_operator.core.scaling.memory import Memory, OutputLength, PromptLength
from penstock_operator.core.scaling.types import LONGEST_GAP_SECONDS, Observation

SMOOTHING_SECONDS = 45.0
SHIFT_SIGMAS = 3.0
LENGTH_HALF_LIFE_SECONDS = 120.0
_RECENT_HALF_LIFE_SECONDS = 20.0
PREFIX_HALF_LIFE_SECONDS = 900.0
_LEAST_REQUESTS = 1.0
_LEAST_RECENT = 8.0  # requests, for a shift of their length
_LENGTH_SPREAD = 1.0  # standard deviation over the mean
_LEAST_SHARE = 1e-4
_LEAST_LENGTHS = 50.0  # prompts, for their spread


def smooth_arrivals(previous: float | None, rate: float, *, window_seconds: float, elapsed_seconds: float) -> float:
    """Smoothed request rate in requests/s.

    Args:
        previous: smoothed rate before; None at first.
        rate: rate over the last `window_seconds`.
        window_seconds: window of `rate`; its count is Poisson with variance rate x window.
        elapsed_seconds: since the previous update.
    """
    if previous is None:
        return rate
    sigma = math.sqrt(max(previous, 1.0 / window_seconds) / window_seconds)
    if abs(rate - previous) > SHIFT_SIGMAS * sigma:
        return rate
    weight = 1.0 - math.exp(-elapsed_seconds / SMOOTHING_SECONDS)
    return previous + weight * (rate - previous)


def update_output(output: OutputLength, seen: Observation, *, now: float) -> OutputLength:
    """Fold one tick's rates into the estimate of tokens per request."""
    if not (seen.generated_tokens.fresh and seen.finished.fresh and seen.running.fresh):
        return output
    running = seen.running.value
    elapsed = 0.0 if output.at is None else max(0.0, now - output.at)
    if output.at is None or elapsed > LONGEST_GAP_SECONDS:
        # One window's rates say nothing of an hour without signals, and would outweigh all that is known.
        return replace(output, running=running, at=now, recent=(0.0, 0.0, running), lagged=running)
    served = seen.finished.value > 0 and seen.arrivals.value > 0  # while nobody asks, nothing is learned or forgotten
    # A rate over a window is that of half a window ago; so should be what it is compared with.
    weight = 1.0 - math.exp(-2.0 * elapsed / seen.scraped_window_seconds)
    lagged = output.lagged + weight * (running - output.lagged)

    def folded(sums: tuple[float, float, float], half_life: float) -> tuple[float, float, float]:
        decay = 0.5 ** (elapsed / half_life) if served else 1.0
        return (
            sums[0] * decay + seen.generated_tokens.value * elapsed,
            sums[1] * decay + seen.finished.value * elapsed,
            sums[2] * decay + lagged * (1.0 - decay),
        )

    sums = folded((output.tokens, output.requests, output.running), LENGTH_HALF_LIFE_SECONDS)
    return _shifted(OutputLength(*sums, now, folded(output.recent, _RECENT_HALF_LIFE_SECONDS), lagged))


def _shifted(output: OutputLength) -> OutputLength:
    """The estimate, begun anew from the last half minute where answers have become longer.

    Only longer: of requests that come all at once few tokens are counted yet, so they look shorter than they are.
    """
    tokens, finished, ran = output.recent
    requests, before = finished + (output.lagged - ran) / 2, tokens_per_request(output)
    if before is None or requests < _LEAST_RECENT:
        return output
    if tokens / requests <= before * (1.0 + SHIFT_SIGMAS * _LENGTH_SPREAD / math.sqrt(requests)):
        return output
    return replace(output, tokens=tokens, requests=finished, running=ran)


def tokens_per_request(output: OutputLength) -> float | None:
    """Mean generated tokens per request, or None before enough requests were seen."""
    requests = output.requests + (output.lagged - output.running) / 2
    if requests < _LEAST_REQUESTS or output.tokens <= 0:
        return None
    return output.tokens / requests


def update_prompt(prompt: PromptLength, seen: Observation, *, elapsed_seconds: float) -> PromptLength:
    """Fold one tick's rates into the estimate of what prompts cost."""
    soon, late = (0.5 ** (elapsed_seconds / half) for half in (LENGTH_HALF_LIFE_SECONDS, PREFIX_HALF_LIFE_SECONDS))
    if seen.arrivals.fresh and seen.prompt_tokens.fresh:
        prompt = replace(
            prompt,
            tokens=prompt.tokens * soon + seen.prompt_tokens.value * elapsed_seconds,
            requests=prompt.requests * soon + seen.arrivals.value * elapsed_seconds,
        )
        if seen.work is not None:
            prompt = replace(
                prompt,
                offered=prompt.offered * late + seen.prompt_tokens.value * elapsed_seconds,
                computed=prompt.computed * late + seen.work.prefill_tokens * elapsed_seconds,
            )
    if seen.prompt_lengths:
        known = prompt.lengths or (0.0,) * len(seen.prompt_lengths)
        pairs = zip(known, seen.prompt_lengths, strict=False)
        prompt = replace(prompt, lengths=tuple(sum_ * late + rate * elapsed_seconds for sum_, rate in pairs))
    return prompt


def prefill_per_request(prompt: PromptLength) -> float | None:
    """Mean prompt tokens of an offered request that have to be computed; None before enough were seen."""
    if prompt.requests < _LEAST_REQUESTS or prompt.offered <= 0:
        return None
    return prompt.tokens / prompt.requests * prompt.computed / prompt.offered


def prompts(prompt: PromptLength) -> tuple[tuple[float, float], ...]:
    """(share of the requests, prompt tokens to compute) of each kind of request; empty when not known.

    Each power of two is two kinds, the quarters of its logarithm; all are stretched so that their mean is that of the
    last minutes, which follows a change of the mix sooner than their spread does.
    """
    mean, total = prefill_per_request(prompt), sum(prompt.lengths)
    if mean is None or mean <= 0 or total < _LEAST_LENGTHS:
        return ()
    kinds = [
        (arrivals / total / 2, 2.0 ** (bits - 1 + quarter))
        for bits, arrivals in enumerate(prompt.lengths)
        if arrivals > _LEAST_SHARE * total
        for quarter in (0.25, 0.75)
    ]
    unit = mean / sum(share * tokens for share, tokens in kinds)
    return tuple((share, tokens * unit) for share, tokens in kinds)


def share_longer(prompt: PromptLength, tokens: float) -> float:
    """Share of the requests of which more than so many prompt tokens have to be computed; 0 when not known.

    Between powers of two it is the monotone cubic through them, over the logarithm (Fritsch and Butland 1984): there
    are fewer of the longer ones inside a power of two as well, where a straight line says that there are as many.
    """
    total = sum(prompt.lengths)
    if total < _LEAST_REQUESTS or prompt.offered <= 0 or prompt.computed <= 0:
        return 0.0
    bits = math.log2(max(1.0, tokens * prompt.offered / prompt.computed)) + 1.0
    whole = int(bits)
    padded = (0.0, *prompt.lengths, *(0.0,) * max(0, whole + 2 - len(prompt.lengths)))
    before, inside, after = padded[whole : whole + 3]
    part = bits - whole
    begin, end = sum(prompt.lengths[whole:]), sum(prompt.lengths[whole + 1 :])
    cubic = part * part * (3.0 - 2.0 * part)
    falls = _mean_fall(before, inside) * part * (1.0 - part) ** 2 - _mean_fall(inside, after) * part**2 * (1.0 - part)
    return (begin + (end - begin) * cubic - falls) / total


def _mean_fall(one: float, other: float) -> float:
    """Harmonic mean; 0 where either is."""
    return 2.0 * one * other / (one + other) if one > 0 and other > 0 else 0.0


def remember(memory: Memory, seen: Observation, *, now: float, elapsed_seconds: float) -> Memory:
    """Memory with this tick's demand folded in; signals that are not fresh leave it as it was."""
    arrivals = memory.arrivals
    if seen.arrivals.fresh:
        arrivals = smooth_arrivals(
            arrivals,
            seen.arrivals.value,
            window_seconds=seen.rate_window_seconds,
            elapsed_seconds=elapsed_seconds,
        )
    return replace(
        memory,
        arrivals=arrivals,
        output=update_output(memory.output, seen, now=now),
        prompt=update_prompt(memory.prompt, seen, elapsed_seconds=elapsed_seconds),
    )
