"""The API as clients see it: the real openai client, raw HTTP where a client would not do such a thing."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest
import requests

from penstock_contract import names
from worker_process import until

MODEL = "tiny"
PROMPT = "The keeper of the gate"


@pytest.fixture
def client(served):
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_models_and_version(client, served):
    (card,) = client.models.list().data
    assert (card.id, card.object) == (MODEL, "model")
    assert requests.get(f"{served.url}/version", timeout=30).json()["version"]


def test_completion(client, served):
    answer = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=12, temperature=0)
    again = client.completions.create(
        model=MODEL, prompt=served.replica.text.encode(PROMPT), max_tokens=12, temperature=0
    )
    (choice,) = answer.choices
    assert choice.text == again.choices[0].text
    assert choice.finish_reason in {"length", "stop"}
    assert answer.usage.completion_tokens <= 12
    assert answer.usage.prompt_tokens == len(served.replica.text.encode(PROMPT))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_chat_streamed_equals_whole(client):
    messages = [{"role": "user", "content": "Open the gate"}]
    ask = {"model": MODEL, "messages": messages, "max_completion_tokens": 20, "temperature": 0}
    whole = client.chat.completions.create(**ask)
    chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == whole.choices[0].message.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason
    assert not chunks[-1].choices
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len([chunk for chunk in chunks if chunk.choices]) == whole.usage.completion_tokens


async def test_many_at_once_with_the_async_client(served):
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:

        async def ask(number: int) -> tuple[str, str]:
            common = {"model": MODEL, "prompt": f"{number} {PROMPT}", "max_tokens": 15, "temperature": 0}
            stream = await client.completions.create(**common, stream=True)
            streamed = "".join([chunk.choices[0].text async for chunk in stream])
            return streamed, (await client.completions.create(**common)).choices[0].text

        answers = await asyncio.gather(*(ask(number) for number in range(20)))
    assert all(streamed == whole for streamed, whole in answers)
    assert len({whole for _streamed, whole in answers}) > 10


def test_batches_and_choices_are_numbered_prompt_by_prompt(served):
    prompts = [[5, 6, 7], [8, 9, 10, 11]]
    body = {"prompt": prompts, "n": 2, "max_tokens": 8, "temperature": 1, "seed": 4, "return_token_ids": True}
    answer = served.complete(**body, ignore_eos=True).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [choice["prompt_token_ids"] for choice in answer["choices"]] == [prompts[0]] * 2 + [prompts[1]] * 2
    assert answer["usage"]["prompt_tokens"] == 7
    assert answer["usage"]["completion_tokens"] == 32
    ids = [choice["token_ids"] for choice in answer["choices"]]
    assert ids[0] != ids[1]
    repeated = served.complete(**body, ignore_eos=True).json()
    assert [choice["token_ids"] for choice in repeated["choices"]] == ids


def events(response) -> list:
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_streamed_token_ids(served):
    body = {"prompt": [3, 4, 5], "max_tokens": 9, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    whole = served.complete(**body).json()["choices"][0]
    streamed = [event["choices"][0] for event in events(served.complete(**body, stream=True))]
    assert [token for choice in streamed for token in choice["token_ids"]] == whole["token_ids"]
    assert "".join(choice["text"] for choice in streamed) == whole["text"]
    assert streamed[0]["prompt_token_ids"] == [3, 4, 5]
    assert not any("prompt_token_ids" in choice for choice in streamed[1:])
    assert [choice["finish_reason"] for choice in streamed] == [None] * 8 + ["length"]


def test_stop_string_ends_the_text_and_the_request(served):
    body = {"prompt": PROMPT, "max_tokens": 60, "temperature": 0, "ignore_eos": True}
    text = served.complete(**body).json()["choices"][0]["text"]
    stop = text[20:23]
    before = served.metric("requests_finished_total", reason="stop")
    whole = served.complete(**body, stop=stop).json()
    assert whole["choices"][0]["text"] == text[: text.find(stop)]
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert whole["usage"]["completion_tokens"] < 60
    streamed = [event["choices"][0] for event in events(served.complete(**body, stop=["nope", stop], stream=True))]
    assert "".join(choice["text"] for choice in streamed) == text[: text.find(stop)]
    until(lambda: served.metric("requests_finished_total", reason="stop") == before + 2, "both ended by stop")
    assert served.metric("requests_running") == 0


def test_stop_token_ids_and_min_tokens(served):
    body = {"prompt": [9, 8, 7], "max_tokens": 20, "temperature": 0, "ignore_eos": True, "return_token_ids": True}
    ids = served.complete(**body).json()["choices"][0]["token_ids"]
    stopped = served.complete(**body, stop_token_ids=[ids[4]]).json()["choices"][0]
    cut = ids.index(ids[4]) + 1
    assert (stopped["token_ids"], stopped["finish_reason"]) == (ids[:cut], "stop")
    late = served.complete(**body, stop_token_ids=[ids[4]], min_tokens=10).json()["choices"][0]
    assert len(late["token_ids"]) >= 11 or late["finish_reason"] == "length"
    assert ids[4] not in late["token_ids"][:10]


def test_durations_and_request_id_come_back(served):
    headers = {names.HEADER_REQUEST_ID: "abc-1"}
    response = served.post("/v1/completions", {"prompt": [5], "max_tokens": 20, "ignore_eos": True}, headers=headers)
    assert response.headers[names.HEADER_REQUEST_ID] == "abc-1"
    wait, first, each = (
        float(response.headers[name]) for name in (names.HEADER_QUEUE_WAIT, names.HEADER_TTFT, names.HEADER_TPOT)
    )
    assert 0 <= wait <= first <= response.elapsed.total_seconds()
    assert 0 < each * 19 + first <= response.elapsed.total_seconds()
    assert served.post("/v1/completions", {}).headers[names.HEADER_REQUEST_ID]


LONG = [5] * 3000


@pytest.mark.parametrize(
    ("body", "status", "param", "message"),
    [
        (b"{", 400, None, "not JSON"),
        (b"\xff\xfe", 400, None, "not JSON"),
        (b"[]", 400, None, "JSON object, got list"),
        ({}, 400, "prompt", "Field required"),
        ({"prompt": []}, 400, "prompt", "expected a text"),
        ({"prompt": ""}, 400, "prompt", "must not be empty"),
        ({"prompt": [1, -1]}, 400, "prompt", "expected a text"),
        ({"prompt": [1, 512]}, 400, "prompt", "token id 512 is outside the vocabulary of 512"),
        ({"prompt": [True]}, 400, "prompt", "expected a text"),
        ({"prompt": [[5]] * 3000, "n": 64}, 400, "prompt", "prompts times n is 192000, at most 256"),
        ({"prompt": "x" * 4_000_001}, 400, "prompt", "at most 4000000 characters"),
        ({"prompt": "x", "model": "gpt"}, 404, "model", "`gpt` does not exist; this worker serves `tiny`"),
        ({"prompt": "x", "max_tokens": 0}, 400, "max_tokens", "greater than or equal to 1"),
        ({"prompt": "x", "max_tokens": "many"}, 400, "max_tokens", "valid integer"),
        ({"prompt": "x", "max_tokens": 5000}, 400, "prompt", "maximum context length is 2048 tokens"),
        ({"prompt": LONG}, 400, "prompt", "maximum context length is 2048 tokens"),
        ({"prompt": "x", "temperature": -1}, 400, "temperature", "greater than or equal to 0"),
        ({"prompt": "x", "temperature": float("nan")}, 400, "temperature", "finite"),
        ({"prompt": "x", "top_p": 0}, 400, "top_p", "greater than 0"),
        ({"prompt": "\ud800"}, 400, None, "not Unicode"),
        ({"prompt": "x", "stop_token_ids": [512]}, 400, "stop_token_ids", "512 is outside the vocabulary of 512"),
        ({"prompt": "x", "max_tokens": 3, "min_tokens": 4}, 400, "min_tokens", "at most max_tokens, 3"),
        ({"prompt": "x", "logprobs": 5}, 400, "logprobs", "not supported"),
        ({"prompt": "x", "echo": True}, 400, "echo", "not supported"),
        ({"prompt": "x", "presence_penalty": 0.5}, 400, "presence_penalty", "not supported"),
        ({"prompt": "x", "stop": 5}, 400, "stop", "valid string"),
        ({"prompt": "x", "stream_options": 5}, 400, "stream_options", "valid dictionary"),
    ],
)
def test_bad_completions_get_openai_errors(served, body, status, param, message):
    response = served.post("/v1/completions", body)
    error = response.json()["error"]
    assert response.status_code == status
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert message in error["message"]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "at least 1 item"),
        ([{"content": "x"}], "role: Field required"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "'text'"),
        ("hello", "valid list"),
    ],
)
def test_bad_chats_get_openai_errors(served, messages, message):
    response = served.post("/v1/chat/completions", {"messages": messages})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "messages")
    assert message in response.json()["error"]["message"]


def test_errors_reach_the_client_as_its_own(client):
    with pytest.raises(openai.NotFoundError) as missing:
        client.completions.create(model="gpt", prompt="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=MODEL, prompt=LONG)
    assert long.value.code == "context_length_exceeded"


def test_neutral_and_unknown_fields_are_ignored(served):
    neutral = {"presence_penalty": 0.0, "logit_bias": {}, "logprobs": None, "echo": False, "best_of": 1, "n": 1}
    assert served.complete(prompt="x", max_tokens=1, user="me", made_up={"a": 1}, **neutral).status_code == 200


@pytest.mark.parametrize(
    "extreme",
    [{"top_k": 10**30}, {"top_k": -1}, {"temperature": 1e-320}, {"seed": -(2**63)}, {"stop_token_ids": [511] * 99}],
)
def test_extreme_values_are_served(served, extreme):
    answer = served.complete(**{"prompt": [5], "max_tokens": 3, "temperature": 1, "min_tokens": 2} | extreme)
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] >= 2


def test_other_paths_and_methods(served):
    missing = requests.get(f"{served.url}/v2", timeout=30)
    wrong = requests.get(f"{served.url}/v1/completions", timeout=30)
    assert (missing.status_code, missing.json()["error"]["message"]) == (404, "Not Found: GET /v2")
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (405, "invalid_request_error")
    assert requests.get(f"{served.url}/drain", timeout=30).status_code == 404  # never on the serving port


def test_without_a_tokenizer_ids_still_work(serve, wordless):
    worker = serve(wordless)
    answer = worker.complete(prompt=[1, 2, 3], max_tokens=4, temperature=0, ignore_eos=True).json()["choices"][0]
    assert (answer["text"], len(answer["token_ids"])) == ("", 4)
    text = worker.complete(prompt="hello")
    assert (text.status_code, text.json()["error"]["param"]) == (400, "prompt")
    assert "no tokenizer; send the prompt as token ids" in text.json()["error"]["message"]
    chat = worker.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]})
    assert (chat.status_code, chat.json()["error"]["param"]) == (400, "messages")


def test_big_bodies_are_taken_and_bigger_ones_refused(served):
    long = served.complete(prompt=[5] * 900_000)
    assert (long.status_code, long.json()["error"]["code"]) == (400, "context_length_exceeded")
    longer = served.post("/v1/completions", b" " * (65 << 20))
    assert (longer.status_code, set(longer.json())) == (413, {"error"})
