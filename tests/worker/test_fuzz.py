"""Whatever a client sends, the answer is a reply or a 400 as OpenAI spells it, and the worker lives on."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

INTS = st.sampled_from([0, 1, 2, 7, 63, 511, 512, -1, 2**31, 2**63 - 1, 2**63, 10**30]) | st.integers(0, 20)
FLOATS = st.sampled_from([0, 0.0, 1e-320, 1e-4, 0.5, 1, 1.0, 100, -0.5, 1e308, float("inf"), float("nan")])
ODD = st.none() | st.booleans() | INTS | FLOATS | st.text(max_size=3) | st.just([]) | st.just({}) | st.just([[]])
TEXT = st.text(max_size=8) | st.sampled_from(["\ud800", "\x00", "gate " * 3])
IDS = st.lists(INTS, max_size=5)
FIELDS = {
    "prompt": TEXT | IDS | st.lists(TEXT, max_size=3) | st.lists(IDS, max_size=3),
    "messages": st.lists(
        st.fixed_dictionaries({"role": TEXT}, optional={"content": TEXT | ODD, "name": ODD}), max_size=3
    ),
    "max_tokens": INTS,
    "min_tokens": INTS,
    "temperature": FLOATS,
    "top_p": FLOATS,
    "top_k": INTS,
    "seed": INTS,
    "n": st.sampled_from([1, 2, 65]),
    "stop": TEXT | st.lists(TEXT, max_size=3),
    "stop_token_ids": IDS,
    "ignore_eos": st.booleans(),
    "stream": st.booleans(),
    "return_token_ids": st.booleans(),
    "logit_bias": st.just({}),
}
# Mostly right fields, so that many bodies get as far as the engine; now and then something else in one of them.
BODIES = st.fixed_dictionaries({}, optional={**FIELDS, "max_completion_tokens": INTS})
SPOILED = st.tuples(BODIES, st.sampled_from(sorted(FIELDS)), ODD).map(lambda parts: {**parts[0], parts[1]: parts[2]})


@pytest.fixture(scope="module")
def small(serve_module, qwen):
    """A worker whose context is soon full, so that no request lasts."""
    return serve_module(qwen, max_model_len=64, max_num_seqs=4)


@given(
    body=BODIES | SPOILED | ODD, path=st.sampled_from(["/v1/completions", "/v1/chat/completions"]), known=st.booleans()
)
@settings(max_examples=250, deadline=None)
def test_any_body(small, body, path, known):
    if known and isinstance(body, dict):
        body = {"prompt": [5, 6], "messages": [{"role": "user", "content": "hi"}], **body}
    response = small.post(path, body)
    assert response.status_code in {200, 400}, response.text
    if response.status_code == 400:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    elif isinstance(body, dict) and body.get("stream"):
        assert response.text.endswith("data: [DONE]\n\n")
        assert '"error"' not in response.text
    else:
        assert response.json()["choices"]
    assert small.complete(prompt=[5], max_tokens=1).status_code == 200


def test_absurdly_nested_json(small):
    response = small.post("/v1/completions", b"[" * 100_000)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
