"""Sampling draws from the right distribution, and draws belong to the request."""

from __future__ import annotations

from typing import Any

import pytest

from late import Late
from penstock_worker.request import Request, Sampling

sampler, torch = Late("penstock_worker.sampler"), Late("torch")
LOGITS = (2.0, 1.0, 0.0, -1.0, 1.5, -30.0)
DRAWS = 4000
# 99.99 % quantile of chi-square by degrees of freedom; draws are seeded, so this cannot flicker.
CHI_SQUARE = {1: 15.1, 2: 18.4, 3: 21.1, 4: 23.5}


def draw(**sampling) -> Any:
    """How often each token came in DRAWS requests with different seeds."""
    requests = [Request(f"{seed}", [1], Sampling(max_tokens=1, seed=seed, **sampling)) for seed in range(DRAWS)]
    tokens = sampler.sample(torch.tensor(LOGITS).repeat(DRAWS, 1), requests)
    return torch.bincount(torch.tensor(tokens), minlength=len(LOGITS)).double()


def softmax(temperature: float, keep: list[int]) -> Any:
    probabilities = torch.zeros(len(LOGITS), dtype=torch.float64)
    probabilities[keep] = (torch.tensor(LOGITS)[keep].double() / temperature).softmax(-1)
    return probabilities


@pytest.mark.parametrize(
    ("sampling", "keep"),
    [
        ({"temperature": 1.0}, [0, 1, 2, 3, 4]),
        ({"temperature": 0.5}, [0, 1, 2, 3, 4]),
        ({"temperature": 2.0, "top_k": 3}, [0, 1, 4]),
        ({"temperature": 1.0, "top_p": 0.6}, [0, 4]),
        ({"temperature": 1.0, "top_p": 0.9, "top_k": 2}, [0, 4]),
        ({"temperature": 1.0, "top_p": 0.5, "top_k": 5}, [0, 4]),
    ],
)
def test_draws_fit_the_distribution(sampling, keep):
    counts = draw(**sampling)
    wanted = DRAWS * softmax(sampling["temperature"], keep)
    assert counts[wanted == 0].sum() == 0
    likely = wanted > 5
    statistic = ((counts - wanted)[likely] ** 2 / wanted[likely]).sum()
    assert statistic < CHI_SQUARE[int(likely.sum()) - 1]


def test_small_top_p_is_greedy():
    assert draw(temperature=1.0, top_p=1e-6)[0] == DRAWS


def test_draws_depend_on_seed_and_position_only():
    def request(seed: int, outputs: int) -> Request:
        made = Request(f"{seed}-{outputs}", [1], Sampling(max_tokens=99, temperature=1.0, seed=seed))
        made.tokens += [0] * outputs
        return made

    noise = torch.randn(50, generator=torch.Generator().manual_seed(0))
    alone = sampler.sample(noise[None].clone(), [request(5, 3)])
    batch = [request(8, 0), request(5, 3), Request("g", [1], Sampling(max_tokens=1)), request(5, 4)]
    batched = sampler.sample(noise.repeat(4, 1), batch)
    assert batched[1] == alone[0]
    assert batched[2] == int(noise.argmax())
    assert len({sampler.uniform(seed, position) for seed in range(40) for position in range(40)}) == 1600


def test_uniform_numbers_are_uniform():
    numbers = [sampler.uniform(seed, position) for seed in (0, 1, 2**63 - 1, -5) for position in range(1000)]
    counts = torch.histc(torch.tensor(numbers), bins=5, min=0, max=1)
    assert 0 <= min(numbers) <= max(numbers) < 1
    assert (((counts - 800) ** 2) / 800).sum() < CHI_SQUARE[4]


def test_stop_ids_are_not_drawn_before_min_tokens():
    early = Request("a", [1], Sampling(max_tokens=9, min_tokens=2, stop_ids=frozenset({0})))
    late = Request("b", [1], Sampling(max_tokens=9, min_tokens=2, stop_ids=frozenset({0})))
    late.tokens += [3, 3]
    assert sampler.sample(torch.tensor(LOGITS).repeat(2, 1), [early, late]) == [4, 0]


def test_preempted_requests_draw_the_same_tokens_again(qwen, build, make_request):
    def outputs(**flags) -> tuple[list[list[int]], int]:
        engine = build(qwen, max_num_seqs=4, max_num_batched_tokens=64, **flags)
        requests = [
            make_request([3 + seed] * 20, max_tokens=40, temperature=1.0, top_p=0.95, seed=seed) for seed in range(4)
        ]
        for request in requests:
            engine.accounting.arrive(request)
            engine.add(request)
        while engine.scheduler.has_work:
            engine.step()
        return [request.tokens for request in requests], engine.accounting.totals.preemptions

    roomy, none = outputs(max_model_len=256)
    tight, some = outputs(max_model_len=64, kv_cache_tokens=128)
    assert none == 0
    assert some > 0
    assert roomy == tight
    assert len({tuple(tokens[20:]) for tokens in roomy}) == 4
