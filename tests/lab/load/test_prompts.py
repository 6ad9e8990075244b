"""Prompts have the wanted length, share what they should and nothing else."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_lab.load.prompts import Prompts, Shape

PLAIN = Prompts(Shape(as_ids=True, vocabulary=512))


def common(one, other):
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@settings(max_examples=100, deadline=None)
@given(number=st.integers(0, 10**7), tokens=st.integers(1, 40_000))
def test_ids(number, tokens):
    ids = json.loads(PLAIN.json(number, tokens))
    assert len(ids) == tokens
    assert 3 <= min(ids) <= max(ids) < 512


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_no_two_prompts_share_a_block(one, other):
    shared = common(json.loads(PLAIN.json(one, 64)), json.loads(PLAIN.json(other, 64)))
    assert shared == 64 if one == other else shared < 5


def test_a_shared_prefix_is_shared_within_its_group_only():
    prompts = Prompts(Shape(as_ids=True, vocabulary=512, shared=0.5, groups=3))
    ids = [json.loads(prompts.json(number, 200)) for number in range(6)]
    assert 100 <= common(ids[0], ids[3]) < 105
    assert common(ids[0], ids[1]) < 5
    longer = json.loads(prompts.json(3, 600))
    assert 100 <= common(ids[0], longer) < 105


def test_blocks_of_the_same_hash_are_the_same():
    first = json.loads(PLAIN.json(0, 1300, (7, 8, 9)))
    second = json.loads(PLAIN.json(1, 1100, (7, 8, 10)))
    assert (len(first), len(second)) == (1300, 1100)
    assert 1024 <= common(first, second) < 1029
    short = json.loads(PLAIN.json(2, 600, (7,)))
    assert 512 <= common(first, short) < 517


@pytest.mark.parametrize("tokens", [1, 20, 500])
def test_text_is_as_long_as_measured_words_make_it(tokens):
    shape = Shape(as_ids=False, tokens_per_word=1.25, overhead_tokens=10)
    words = json.loads(Prompts(shape).json(3, tokens)).split(" ")
    assert len(words) == max(1, round((tokens - 10) / 1.25))


def test_the_seed_changes_the_words():
    texts = {Prompts(Shape(as_ids=False, seed=seed)).json(0, 50) for seed in (1, 1, 2)}
    assert len(texts) == 2
