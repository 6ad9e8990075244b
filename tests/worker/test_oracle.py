"""fp32 greedy output equals transformers' `generate` token for token, however the work is cut up."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from late import Late

torch, transformers = Late("torch"), Late("transformers")

# (prompt length, output tokens); page size is 16, so lengths lie at, before and after page borders.
SHAPES = ((1, 40), (7, 128), (15, 24), (16, 24), (17, 24), (64, 40), (100, 128), (130, 32), (3, 24))
# Below this gap between the two best logits, float32 cannot say which token is right.
DECISIVE = 1e-4


def oracle(folder: Path, seed: int) -> list[tuple[list[int], list[int]]]:
    """Prompts and what transformers generates for them."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    draw = random.Random(seed)
    pairs = []
    for length, count in SHAPES:
        prompt = [draw.randrange(3, model.config.vocab_size) for _ in range(length)]
        out = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, length, dtype=torch.int64),
            max_new_tokens=count,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            output_logits=True,
            return_dict_in_generate=True,
        )
        best = torch.cat(out.logits).topk(2).values
        assert (best[:, 0] - best[:, 1]).min() > DECISIVE, "choose another seed: the reference itself is a tie"
        pairs.append((prompt, out.sequences[0, length:].tolist()))
    return pairs


@pytest.fixture(scope="module")
def expected(qwen, llama):
    return {"qwen": (qwen, oracle(qwen, 11)), "llama": (llama, oracle(llama, 12))}


def run_all(engine, make_request, pairs, *, order_seed):
    """Send the prompts in a random order at random steps; outputs in the order of `pairs`."""
    draw = random.Random(order_seed)
    requests = [make_request(prompt, max_tokens=len(output)) for prompt, output in pairs]
    waiting = draw.sample(requests, len(requests))
    while waiting or engine.scheduler.has_work:
        while waiting and (draw.random() < 0.2 or not engine.scheduler.has_work):
            request = waiting.pop()
            engine.accounting.arrive(request)
            engine.add(request)
        engine.step()
        engine.scheduler.check()
    return [request.tokens[request.prompt_length :] for request in requests]


@pytest.fixture
def play(build, make_request):
    """Build an engine and run all prompts through it."""

    def play_it(folder, pairs, *, order_seed, **flags):
        engine = build(folder, **flags)
        return engine, run_all(engine, make_request, pairs, order_seed=order_seed)

    return play_it


@pytest.mark.parametrize("family", ["qwen", "llama"])
@pytest.mark.parametrize(("budget", "caching"), [(7, True), (64, False), (2048, True)])
def test_tokens_equal_transformers(expected, play, family, budget, caching):
    folder, pairs = expected[family]
    flags = {"max_num_seqs": 6, "max_num_batched_tokens": budget, "prefix_caching": caching, "max_model_len": 512}
    _engine, outputs = play(folder, pairs, order_seed=budget, **flags)
    assert outputs == [output for _prompt, output in pairs]


@pytest.mark.parametrize("family", ["qwen", "llama"])
@pytest.mark.parametrize("caching", [True, False])
def test_preempted_requests_go_on_where_they_were(expected, build, make_request, family, caching):
    folder, pairs = expected[family]
    engine = build(
        folder,
        max_num_seqs=6,
        max_num_batched_tokens=32,
        kv_cache_tokens=256,
        max_model_len=256,
        prefix_caching=caching,
    )
    outputs = run_all(engine, make_request, pairs, order_seed=5)
    totals = engine.accounting.totals
    assert outputs == [output for _prompt, output in pairs]
    assert totals.preemptions > 5
    assert totals.recomputed > 0
    assert totals.prefill_computed == totals.prompt - totals.cached + totals.recomputed
    assert engine.scheduler.pool.used == 0


@pytest.mark.parametrize("family", ["qwen", "llama"])
def test_cached_prefixes_give_the_same_tokens(expected, build, make_request, family):
    folder, pairs = expected[family]
    engine = build(folder, max_num_seqs=4, max_num_batched_tokens=256, max_model_len=512)
    cold = run_all(engine, make_request, pairs, order_seed=1)
    assert engine.accounting.totals.cached == 0
    warm = run_all(engine, make_request, pairs, order_seed=2)
    assert cold == warm == [output for _prompt, output in pairs]
    # Every full page of the prompts but the one with the last token, whose logits are needed.
    assert engine.accounting.totals.cached == sum((length - 1) // 16 * 16 for length, _count in SHAPES)


def test_bfloat16_stays_close_to_float32(expected, build, make_request):
    """Tokens may differ in bfloat16, so the logits of one forward pass are compared."""
    folder, pairs = expected["qwen"]
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    engine = build(folder, dtype="bfloat16", max_num_seqs=4)
    seen = []
    decoder = engine._runner._decoder
    project = decoder.logits
    decoder.logits = lambda hidden: seen.append(project(hidden)) or seen[-1]
    prompt = pairs[6][0]
    request = make_request(prompt, max_tokens=1)
    engine.accounting.arrive(request)
    engine.add(request)
    engine.step()
    with torch.no_grad():
        wanted = reference(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    difference = (seen[0][0].log_softmax(-1) - wanted).abs()
    assert difference.mean() < 0.1
    assert difference.max() < 0.5
