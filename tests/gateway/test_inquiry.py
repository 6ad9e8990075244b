"""What is read of a request's body, and how its prompt is weighed."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_gateway.errors import Refusal
from penstock_gateway.inquiry import read


def ask(**body):
    return read(json.dumps(body).encode())


def test_token_ids_are_counted_and_text_is_estimated():
    assert ask(prompt=[1, 2, 3]).prompt_tokens == 3
    assert ask(prompt="x" * 40).prompt_tokens == 10
    assert ask(prompt="ä" * 40).prompt_tokens == 20
    assert ask(prompt=[[1, 2], [3]]).prompt_tokens == 3
    assert ask(prompt=["x" * 8, "y" * 4]).prompt_tokens == 3
    assert ask(messages=[{"role": "user", "content": "x" * 40}]).prompt_tokens == 10
    parts = [{"type": "text", "text": "x" * 40}, {"type": "image_url", "image_url": {"url": "x" * 9999}}]
    assert ask(messages=[{"role": "user", "content": parts}]).prompt_tokens == 10
    assert ask().prompt_tokens == 0


def test_choices_are_prompts_times_n():
    assert ask(prompt="x").choices == 1
    assert ask(prompt="x", n=3).choices == 3
    assert ask(prompt=[[1], [2]], n=3).choices == 6
    assert ask(prompt=["a", "b"]).choices == 2


def test_a_conversation_that_goes_on_keeps_its_prefixes():
    def chat(*turns):
        return ask(messages=[{"role": "system", "content": "s" * 3000}, *turns]).prefixes

    turns = [{"role": "user", "content": f"{number}" * 800} for number in range(4)]
    one, two = chat(*turns[:2]), chat(*turns)
    assert [tokens for _key, tokens in two] == [1024, 256]
    assert set(one) <= set(two)
    assert set(chat({"role": "user", "content": "other" * 900})) & set(two) == {two[-1]}
    assert ask(prompt=[3] * 255).prefixes == ()
    assert ask(prompt=[[3] * 300, [4] * 300]).prefixes == ()
    assert [tokens for _key, tokens in ask(prompt=[3] * 5000).prefixes] == [4096, 1024, 256]
    assert ask(prompt=[3, "x"] * 500).prefixes == ()


def test_limits_and_stream():
    assert ask(max_tokens=5).max_tokens == 5
    assert ask(max_tokens=5, max_completion_tokens=4).max_tokens == 4
    assert ask().max_tokens is None
    assert (ask(stream=True).stream, ask(stream=None).stream, ask().stream) == (True, False, False)
    assert (ask(model="m").model, ask(model=1).model) == ("m", None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
fields = st.sampled_from(["model", "prompt", "messages", "stream", "max_tokens", "n", "max_completion_tokens"])


@given(st.dictionaries(fields, json_values))
def test_no_value_of_a_field_is_refused_here(body):
    if isinstance(body.get("n"), int) and body["n"] > 1000:  # see below
        body["n"] = 1000
    found = ask(**body)
    assert found.prompt_tokens >= 0
    assert found.choices >= 1
    assert found.max_tokens is None or found.max_tokens >= 1


@given(st.binary(max_size=50))
def test_anything_else_than_an_object_is_a_400(data):
    try:
        good = isinstance(json.loads(data.decode(errors="replace")), dict)
    except ValueError:
        good = False
    with nullcontext() if good else pytest.raises(Refusal, match=r"^The body"):
        read(data)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe{", b"", b'{"n":NaN}'])
def test_hostile_bodies_are_a_400(data):
    with pytest.raises(Refusal) as refused:
        read(data)
    assert refused.value.status == 400


@pytest.mark.parametrize("n", [10**6, 10**400])
def test_more_answers_than_anybody_gives_are_a_400(n):
    with pytest.raises(Refusal, match="prompts times `n`") as refused:
        ask(prompt="x", n=n)
    assert (refused.value.status, refused.value.param) == (400, "n")
    assert ask(prompt="x", max_tokens=10**400).max_tokens == 10**400
    assert ask(prompt="x", n=128).choices == 128


LARGE = 300_000  # bytes, more than is taken apart


def test_large_bodies_are_weighed_like_small_ones():
    assert ask(prompt=[7] * LARGE).prompt_tokens == LARGE
    assert ask(prompt=[7] * LARGE).prefixes == ask(prompt=[7] * 5000).prefixes != ()
    assert ask(prompt="ä" * LARGE).prompt_tokens == LARGE // 2
    many = ask(prompt=[[1, 2, 3]] * 50_000)
    assert (many.prompt_tokens, many.choices) == (150_000, 50_000)
    texts = ask(prompt=["x" * 36] * 10_000)
    assert (texts.prompt_tokens, texts.choices) == (pytest.approx(90_000, rel=0.2), 10_000)
    turns = [{"role": "user", "content": "x" * 4000}] * 100
    assert ask(messages=turns).prompt_tokens == pytest.approx(100_000, rel=0.05)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * LARGE}}
    sound = {"type": "input_audio", "input_audio": {"data": "A" * LARGE, "format": "wav"}}
    parts = [{"type": "text", "text": "x" * 4000}, image, sound]
    assert ask(messages=[{"role": "user", "content": parts}]).prompt_tokens == pytest.approx(1000, rel=0.1)
    longer = [*turns, {"role": "user", "content": "more"}]
    assert ask(messages=turns).prefixes == ask(messages=longer).prefixes != ()


@pytest.mark.parametrize("field", ["prompt", "messages", "model", "n", "tools"])
@pytest.mark.parametrize("unit", [b"[],", b"{},", b"1,", b'"",', b'{"":0},'])
def test_a_body_of_many_parts_is_not_built_as_objects(field, unit):
    body = b'{"%b":[%b%b]}' % (field.encode(), unit * ((2 << 20) // len(unit)), unit[:-1])
    tracemalloc.start()
    try:
        with pytest.raises(Refusal) if unit in {b"[],", b'"",'} and field == "prompt" else nullcontext():
            assert read(body).prompt_tokens >= 0
        assert tracemalloc.get_traced_memory()[1] < 3 * len(body)
    finally:
        tracemalloc.stop()
