"""`/v1/completions`, `/v1/chat/completions`, `/v1/models`: OpenAI replies over a generation, streamed or whole.

A streamed reply sends one event for each step that added tokens, even if no text is certain yet, so that a client
sees the true pace. Its headers wait for the first of them: what goes wrong before it is still an HTTP error, and a
router may still ask another worker. Replies carry the engine's durations as headers, so that no clocks are compared:
queue wait and TTFT, and TPOT if they are whole.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from penstock_contract import names
from penstock_worker.errors import RequestError, model_not_found
from penstock_worker.generation import Choice, Delta, Generation, generate
from penstock_worker.protocol import (
    ChatRequest,
    CompletionRequest,
    GenerationRequest,
    error_body,
    parse,
    usage,
)
from penstock_worker.replica import Replica

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How one endpoint spells its request and its replies."""

    body: type[GenerationRequest]
    id_prefix: str
    object: str
    chunk_object: str
    choice: Callable[[Choice, bool], JsonObject]
    chunk: Callable[[Delta, bool], JsonObject]


def routes(replica: Replica) -> list[web.RouteDef]:
    """The `/v1` routes of a replica."""

    async def completions(request: web.Request) -> web.StreamResponse:
        return await _serve(replica, COMPLETIONS, request)

    async def chat(request: web.Request) -> web.StreamResponse:
        return await _serve(replica, CHAT, request)

    async def models(_request: web.Request) -> web.Response:
        card = {
            "id": replica.model_name,
            "object": "model",
            "created": int(replica.lifecycle.ready_timestamp),
            "owned_by": "penstock",
            "max_model_len": replica.max_model_len,
            "max_num_seqs": replica.scheduler.max_num_seqs if replica.scheduler else None,
        }
        return web.json_response({"object": "list", "data": [card]})

    return [
        web.post("/v1/completions", completions),
        web.post("/v1/chat/completions", chat),
        web.get("/v1/models", models),
    ]


async def _serve(replica: Replica, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
    replica.lifecycle.require_ready()
    body = parse(endpoint.body, await read_json(request))
    if body.model not in {None, replica.model_name}:
        raise model_not_found(str(body.model), replica.model_name)
    head = {
        "id": f"{endpoint.id_prefix}-{uuid.uuid4().hex}",
        "created": int(datetime.now(UTC).timestamp()),
        "model": replica.model_name,
    }
    # Without a tokenizer there is no text: the ids are the answer.
    with_ids = bool(body.return_token_ids) or replica.text is None
    async with generate(replica, body) as generation:
        if body.stream:
            return await _stream(request, endpoint, generation, body=body, head=head, with_ids=with_ids)
        async for _delta in generation.deltas():
            pass
    reply = head | {
        "object": endpoint.object,
        "choices": [endpoint.choice(choice, with_ids) for choice in generation.choices],
        "usage": _usage(generation),
    }
    if with_ids and endpoint is CHAT:
        reply["prompt_token_ids"] = generation.choices[0].prompt_ids
    return web.json_response(reply, headers=_durations(generation))


async def _stream(
    request: web.Request,
    endpoint: Endpoint,
    generation: Generation,
    *,
    body: GenerationRequest,
    head: JsonObject,
    with_ids: bool,
) -> web.StreamResponse:
    head = head | {"object": endpoint.chunk_object}
    deltas = generation.deltas()
    delta = await anext(deltas)
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"} | _durations(generation)
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    try:
        await response.write(_event(head | {"choices": [endpoint.chunk(delta, with_ids)]}))
        async for delta in deltas:
            await response.write(_event(head | {"choices": [endpoint.chunk(delta, with_ids)]}))
        if body.include_usage:
            await response.write(_event(head | {"choices": [], "usage": _usage(generation)}))
    except RequestError as error:  # the status line is gone; say it as an event
        await response.write(_event(error_body(error)))
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


async def read_json(request: web.Request) -> Any:
    """The decoded body.

    Raises:
        RequestError: 400, not JSON.
    """
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The body is not JSON: {error}.") from error


def _event(data: JsonObject) -> bytes:
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def _usage(generation: Generation) -> JsonObject:
    return usage(
        prompt=generation.prompt_tokens,
        cached=generation.cached_tokens,
        completion=generation.completion_tokens,
    )


def _durations(generation: Generation) -> dict[str, str]:
    times = generation.times()
    durations = {
        names.HEADER_QUEUE_WAIT: times.queue_wait,
        names.HEADER_TTFT: times.first_token,
        names.HEADER_TPOT: times.per_output_token,
    }
    return {name: f"{seconds:.6f}" for name, seconds in durations.items() if seconds is not None}


def _completion_choice(choice: Choice, with_ids: bool) -> JsonObject:
    body = {
        "index": choice.index,
        "text": choice.text,
        "logprobs": None,
        "finish_reason": choice.finish_reason,
    }
    return body | ({"prompt_token_ids": choice.prompt_ids, "token_ids": choice.token_ids} if with_ids else {})


def _completion_chunk(delta: Delta, with_ids: bool) -> JsonObject:
    body = {
        "index": delta.choice.index,
        "text": delta.text,
        "logprobs": None,
        "finish_reason": delta.finish_reason,
    }
    if with_ids:
        body["token_ids"] = delta.token_ids
        if delta.first:
            body["prompt_token_ids"] = delta.choice.prompt_ids
    return body


def _chat_choice(choice: Choice, with_ids: bool) -> JsonObject:
    body = {
        "index": choice.index,
        "message": {"role": "assistant", "content": choice.text},
        "logprobs": None,
        "finish_reason": choice.finish_reason,
    }
    return body | ({"token_ids": choice.token_ids} if with_ids else {})


def _chat_chunk(delta: Delta, with_ids: bool) -> JsonObject:
    message = ({"role": "assistant"} if delta.first else {}) | {"content": delta.text}
    body = {
        "index": delta.choice.index,
        "delta": message,
        "logprobs": None,
        "finish_reason": delta.finish_reason,
    }
    return body | ({"token_ids": delta.token_ids} if with_ids else {})


COMPLETIONS = Endpoint(
    body=CompletionRequest,
    id_prefix="cmpl",
    object="text_completion",
    chunk_object="text_completion",
    choice=_completion_choice,
    chunk=_completion_chunk,
)
CHAT = Endpoint(
    body=ChatRequest,
    id_prefix="chatcmpl",
    object="chat.completion",
    chunk_object="chat.completion.chunk",
    choice=_chat_choice,
    chunk=_chat_chunk,
)
