import math
import random
from dataclasses import replace

import pytest

from observations import NOW, fresh, observation
from penstock_operator.core.scaling.demand import (
    prefill_per_request,
    prompts,
    share_longer,
    smooth_arrivals,
    tokens_per_request,
    update_output,
    update_prompt,
)
from penstock_operator.core.scaling.memory import OutputLength, PromptLength
from penstock_operator.core.scaling.stepfit import StepRates


def test_a_level_shift_is_followed_at_once() -> None:
    assert smooth_arrivals(5.0, 15.0, window_seconds=4, elapsed_seconds=1) == 15.0
    assert smooth_arrivals(50.0, 10.0, window_seconds=4, elapsed_seconds=1) == 10.0
    assert smooth_arrivals(0.0, 10.0, window_seconds=4, elapsed_seconds=1) == 10.0


def test_poisson_noise_is_smoothed() -> None:
    dice = random.Random(7)
    raw, smooth, value = [], [], None
    for _ in range(2000):
        rate = sum(1 for _ in range(400) if dice.random() < 0.05) / 4.0  # 5 req/s counted over 4 s
        value = smooth_arrivals(value, rate, window_seconds=4, elapsed_seconds=1)
        raw.append(rate)
        smooth.append(value)
    mean = sum(smooth[100:]) / len(smooth[100:])
    assert mean == pytest.approx(5.0, rel=0.1)
    spread = [math.sqrt(sum((x - 5.0) ** 2 for x in xs[100:]) / len(xs[100:])) for xs in (raw, smooth)]
    assert spread[1] < 0.5 * spread[0]


def test_tokens_per_request_is_not_fooled_by_requests_that_still_run() -> None:
    """A burst of 16 long requests: tokens flow, nothing has finished yet."""
    output, now = OutputLength(), NOW
    output = update_output(output, observation(running=0), now=now)
    generated = 0.0
    for _ in range(10):
        now += 1.0
        generated += 16 * 10
        seen = replace(observation(arrivals=1.6, tokens_per_request=100, running=16), scraped_window_seconds=0.1)
        output = update_output(output, seen, now=now)
    estimate = tokens_per_request(output)
    assert estimate is not None
    assert estimate < 100 * 1.05


def _served(rate: float, length: float, *, seconds: int, before: OutputLength, now: float) -> list[float]:
    """Estimates of each second after requests of so many tokens begin to come, 30 tokens/s each, by rates of now."""
    speed, known, found = 30.0, before, []
    old = 10.0 * 100.0 / speed  # ten a second of 100 tokens ran before
    for second in range(1, seconds + 1):
        fresh_ones = rate * min(second, length / speed)
        old_ones = max(0.0, old - 10.0 * second)
        finished = (10.0 if old_ones > 0 else 0.0) + (rate if second > length / speed else 0.0)
        seen = replace(
            observation(arrivals=rate, running=fresh_ones + old_ones),
            finished=fresh(finished),
            generated_tokens=fresh((fresh_ones + old_ones) * speed),
            scraped_window_seconds=0.1,
        )
        known = update_output(known, seen, now=now + second)
        found.append(tokens_per_request(known) or 0.0)
    return found


@pytest.fixture
def settled() -> OutputLength:
    output = OutputLength()
    for second in range(600):
        seen = observation(arrivals=10, tokens_per_request=100, running=100 / 3)
        output = update_output(output, seen, now=NOW + second)
    return output


def test_longer_answers_are_known_when_the_first_of_them_end(settled: OutputLength) -> None:
    """Four times as long, a change of the mix; 13 s each. A smoothed mean alone says 139, 180 and 245."""
    found = _served(10.0, 400.0, seconds=120, before=settled, now=NOW + 600)
    assert found[29] > 230
    assert found[59] > 300
    assert found[119] > 350
    assert max(found) < 420


def test_a_burst_of_the_same_answers_makes_them_neither_longer_nor_much_shorter(settled: OutputLength) -> None:
    found = _served(50.0, 100.0, seconds=60, before=settled, now=NOW + 600)
    assert 85 < min(found) <= max(found) < 110


@pytest.mark.parametrize("window", [20.0, 60.0])
def test_a_queue_that_is_let_in_at_once_makes_answers_not_longer(settled: OutputLength, window: float) -> None:
    """Two thousand at once beside ten a second; rates are those of a window, running requests those of now."""
    speed, length, crowd, step = 30.0, 100.0, 2000.0, 1.0
    known, found = settled, []
    counted = [(10.0 * length * at, 10.0 * at) for at in range(-int(window), 1)]  # tokens, ended; a second each
    for second in range(1, 200):
        inside = crowd if second <= length / speed else 0.0
        tokens, ended = counted[-1]
        gone = crowd if second - step <= length / speed < second else 0.0
        counted.append((tokens + 10.0 * length + inside * speed * step, ended + 10.0 + gone))
        rates = [(late - early) / window for early, late in zip(counted[-1 - int(window)], counted[-1], strict=True)]
        seen = replace(
            observation(arrivals=10.0, running=10.0 * length / speed + inside),
            generated_tokens=fresh(rates[0]),
            finished=fresh(rates[1]),
            scraped_window_seconds=window,
        )
        known = update_output(known, seen, now=NOW + 600 + second)
        found.append(tokens_per_request(known) or 0.0)
    assert max(found) < 115


def test_tokens_per_request_is_exact_at_a_steady_state_and_unknown_before() -> None:
    output, now = OutputLength(), NOW
    assert tokens_per_request(output) is None
    for _ in range(100):
        output = update_output(output, observation(arrivals=4, tokens_per_request=250, running=9), now=now)
        now += 5.0
    assert tokens_per_request(output) == pytest.approx(250)


@pytest.mark.parametrize("gap", [61.0, 3600.0, 7 * 86400.0])
def test_the_first_window_after_a_gap_does_not_outweigh_all_that_is_known(gap: float) -> None:
    """Prometheus was away for an hour; in the first window afterwards tokens flow and hardly a request ends."""
    output, now = OutputLength(), NOW
    for _ in range(60):
        output = update_output(output, observation(arrivals=10, tokens_per_request=100, running=20), now=now)
        now += 5.0
    now += gap
    odd = replace(observation(arrivals=10, running=20), generated_tokens=fresh(1600), finished=fresh(0.2))
    for _ in range(2):
        output = update_output(output, odd, now=now)
        estimate = tokens_per_request(output)
        assert estimate is not None
        assert estimate < 110
        now += 5.0


def test_an_estimate_is_learned_anew_after_a_gap() -> None:
    output, now = OutputLength(), NOW
    for tokens in (100, 300):
        for _ in range(200):
            output = update_output(output, observation(arrivals=10, tokens_per_request=tokens, running=20), now=now)
            now += 5.0
        now += 3600.0
    assert tokens_per_request(output) == pytest.approx(300, rel=0.02)


def test_prompts_cost_what_is_computed_of_them() -> None:
    prompt = PromptLength()
    work = StepRates(steps=10.0, seconds=1.0, sequences=5.0, prefill_tokens=600.0, generated_tokens=50.0)
    for _ in range(100):  # 100 tokens a prompt by the gateways' count, of which the workers compute 60 in the mean
        seen = replace(observation(arrivals=10.0), prompt_tokens=fresh(1000.0), work=work)
        prompt = update_prompt(prompt, seen, elapsed_seconds=5.0)
    assert prefill_per_request(prompt) == pytest.approx(60.0)
    seen = replace(observation(arrivals=10.0), prompt_tokens=fresh(3000.0), work=None)
    for _ in range(100):  # three times as long: followed before a worker has computed them
        prompt = update_prompt(prompt, seen, elapsed_seconds=5.0)
    assert prefill_per_request(prompt) == pytest.approx(180.0, rel=0.1)
    assert prefill_per_request(PromptLength()) is None


def test_the_share_of_prompts_that_are_too_long() -> None:
    lengths = tuple(10.0 if bits in (7, 13) else 0.0 for bits in range(24))  # 64-127 and 4096-8191 tokens
    prompt = PromptLength(offered=100.0, computed=100.0, lengths=lengths)
    assert share_longer(prompt, 1000.0) == pytest.approx(0.5)
    assert share_longer(prompt, 10.0) == pytest.approx(1.0)
    assert share_longer(prompt, 10_000.0) == 0.0
    assert share_longer(prompt, 4096 * 2**0.5) == pytest.approx(0.25)
    assert share_longer(replace(prompt, computed=50.0), 4096.0 / 2) == pytest.approx(0.5), "half of each is cached"
    assert share_longer(PromptLength(), 1.0) == 0.0
    assert share_longer(prompt, 1e12) == 0.0


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("tokens", [700.0, 1500.0, 3000.0])
def test_of_longer_prompts_there_are_fewer_between_powers_of_two_as_well(power: float, tokens: float) -> None:
    """Lengths whose survival is a power law: within a thirtieth of the truth, where a straight line is off by more."""
    lengths = tuple(2.0 ** (-power * (bits - 1)) - 2.0 ** (-power * bits) for bits in range(40))
    prompt = PromptLength(1.0, 1.0, offered=1.0, computed=1.0, lengths=tuple(1e9 * one for one in lengths))
    truth = tokens**-power / sum(lengths)
    assert share_longer(prompt, tokens) == pytest.approx(truth, rel=1 / 30)


def test_kinds_of_prompts_have_the_mean_of_now_and_the_spread_of_a_longer_time() -> None:
    lengths = tuple(80.0 if bits == 9 else 20.0 if bits == 12 else 0.0 for bits in range(20))
    prompt = PromptLength(tokens=100_000.0, requests=100.0, offered=200_000.0, computed=100_000.0, lengths=lengths)
    kinds = prompts(prompt)
    assert sum(share for share, _ in kinds) == pytest.approx(1.0)
    assert sum(share * length for share, length in kinds) == pytest.approx(500.0), "half of each is cached"
    assert kinds[-1][1] / kinds[0][1] == pytest.approx(8 * 2**0.5)
    assert prompts(replace(prompt, lengths=tuple(one / 10 for one in lengths))) == (), "ten say nothing of their spread"
    assert prompts(PromptLength()) == ()
