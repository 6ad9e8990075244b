"""Counting tokens in passing bytes: however they are cut, the count is the same."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_gateway.meter import Meter, completion_tokens

texts = st.text(alphabet=st.sampled_from('ab\n\r "\\{}:data[DONE]é'), max_size=12)


def stream(words: list[str], *, usage: int | None = None, end: str = "\n\n", done: bool = True) -> bytes:
    events = [json.dumps({"choices": [{"text": word}]}) for word in words]
    if usage is not None:
        events.append(json.dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": usage}}))
    events += ["[DONE]"] if done else []
    return "".join(f"data: {event}{end}" for event in events).encode()


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(whole) + 1) for place in places), len(whole)]
    return [whole[a:b] for a, b in pairwise(marks) if a < b]


def feed(chunks: list[bytes]) -> Meter:
    meter = Meter()
    for now, chunk in enumerate(chunks):
        meter.feed(chunk, float(now))
    return meter


@given(
    st.lists(texts, max_size=8), st.lists(st.integers(0, 10_000), max_size=12), st.sampled_from(["\n\n", "\r\n\r\n"])
)
def test_events_are_counted_however_they_are_cut(words, places, end):
    meter = feed(cut(stream(words, end=end), places))
    assert meter.events == len(words) + 1
    assert meter.at_line_start
    assert not meter.failed


@given(st.lists(texts, min_size=1, max_size=8), st.integers(1, 9999))
def test_usage_is_believed_over_events(words, tokens):
    assert feed([stream(words, usage=tokens)]).finish() == tokens
    assert feed([stream(words), b""]).finish() == len(words)
    assert feed([stream(words, done=False)]).finish() == len(words)


def test_byte_by_byte():
    whole = stream(["data: x", "\ndata:", "y"])
    meter = feed([whole[at : at + 1] for at in range(len(whole))])
    assert meter.events == 4


def test_first_and_last_times_leave_out_comments_and_the_end_mark():
    event = b'data: {"choices":[]}\n\n'
    meter = feed([b": ping\n\n", event, event, b": ping\n\n", event, b"data: [DONE]\n\n"])
    assert (meter.first_at, meter.last_at, meter.events) == (1.0, 4.0, 4)


@pytest.mark.parametrize(
    "chunks",
    [
        [b'data: {"error":{}}\n\n'],
        [b"data: 1\n\n", b'data: 2\n\ndata: {"error":{}}\n\n'],
        [b'data:{"error":"x","error_type":"generation"}\n\n'],
        [b'data: { "error" : "x"}\n\n'],
        [b'data: {"object":"error","message":"x"}\n\n', b"data: [DONE]\n\n"],
        [b'data: 1\n\ndata: {"object": "error"}\r\n\r\n'],
        [b"data: 1\n\n", b'data: {"err', b'or":{}}\n\n'],
    ],
)
def test_an_error_event_is_seen(chunks):
    meter = feed(chunks)
    meter.finish()
    assert meter.failed


def event(**choice):
    return b"data: " + json.dumps({"id": "cmpl-1", "choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


ROLE = event(delta={"role": "assistant", "content": ""}, finish_reason=None)
WORD = event(delta={"content": "x"}, finish_reason=None)
ENDS = [
    event(delta={}, finish_reason="stop"),
    event(delta={"content": ""}, logprobs=None, finish_reason="length", stop_reason=None),
    event(delta={"content": None}, finish_reason="stop"),
]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("words", [1, 14, 100])
def test_events_that_only_begin_or_end_an_answer_are_no_tokens(end, words):
    events = [ROLE, *[WORD] * words, end, b"data: [DONE]\n\n"]
    assert feed(events).finish() == feed([b"".join(events)]).finish() == words
    assert feed(events).finish(exact=True) == words + 2
    spoken = event(delta={"content": json.dumps({"delta": {}, "finish_reason": "stop"})}, finish_reason=None)
    assert feed([ROLE, *[spoken] * words, end]).finish() == words, "text that speaks of events is text"


def test_text_that_speaks_of_errors_and_usage_is_text():
    forged = 'data: {"error":1\ndata: {"error":1', '"completion_tokens": 99'
    meter = feed([stream(list(forged))])
    assert (meter.finish(), meter.failed) == (2, False)
    assert completion_tokens(json.dumps({"text": forged[1], "usage": {"completion_tokens": 4}}).encode()) == 4
    assert completion_tokens(json.dumps({"text": forged[1]}).encode()) is None
