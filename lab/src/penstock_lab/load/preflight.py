"""Before the load: does the endpoint answer, does it serve the model, which fields does it take, how long is a word.

A load against a wrong address or model is an hour lost, so `GET /v1/models` and two small requests come first. They
are not measured. What an endpoint refuses of the fields that engines add to OpenAI's API is left out from then on.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import aiohttp

from penstock_lab.load.endpoint import Dialect, Endpoint, Kind
from penstock_lab.load.errors import EndpointError, OptionError
from penstock_lab.load.exchange import Answer, FailedError, exchange
from penstock_lab.load.prompts import Prompts, Shape
from penstock_lab.load.sender import client

_MODELS_SECONDS: Final = 10.0
_SHORT_WORDS, _LONG_WORDS = 16, 144
_PROBE_OUTPUT_TOKENS: Final = 2
_DIALECTS: Final = (Dialect(), Dialect(engine=False), Dialect(engine=False, usage=False))
_MOST_NAMES: Final = 20


@dataclass(frozen=True, slots=True)
class Ready:
    """What the load will talk to.

    Attributes:
        endpoint: with its model and dialect.
        shape: of prompts.
        context: most tokens of prompt and answer, where the endpoint tells.
        notes: what was found and changed, for people.
    """

    endpoint: Endpoint
    shape: Shape
    context: int | None
    notes: tuple[str, ...]


async def check(endpoint: Endpoint, shape: Shape, *, prompt_as: str, probe_seconds: float) -> Ready:
    """Find out what the endpoint serves and takes.

    Args:
        endpoint: with an empty model when none was named.
        shape: of the prompts, as far as options say.
        prompt_as: auto, ids or text.
        probe_seconds: how long a probe may take; a service at zero replicas has to start first. 0 for no probes.

    Raises:
        EndpointError: it does not answer, or refuses even the plainest request.
        OptionError: the model is not there, or must be named.
    """
    async with client(endpoint) as session:
        cards = await _models(session, endpoint)
        model, context = _choose(endpoint, cards)
        endpoint = replace(endpoint, model=model)
        ids = endpoint.kind is Kind.COMPLETIONS if prompt_as == "auto" else prompt_as == "ids"
        if ids and endpoint.kind is Kind.CHAT:
            raise OptionError("--prompt-as ids: chat takes text; use --endpoint completions, or --prompt-as text")
        shape = replace(shape, as_ids=ids)
        if not probe_seconds:
            return Ready(endpoint, shape, context, ("not probed: prompts may be refused, words count as one token",))
        return await _probe(session, Ready(endpoint, shape, context, ()), prompt_as=prompt_as, seconds=probe_seconds)


async def _models(session: aiohttp.ClientSession, endpoint: Endpoint) -> list[dict[str, Any]] | None:
    """The models listed; None where the endpoint has no such list."""
    url = f"{endpoint.base}/v1/models"
    try:
        async with asyncio.timeout(_MODELS_SECONDS), session.get(url, headers=endpoint.headers) as response:
            if response.status in (401, 403):
                raise EndpointError(f"{url} answers {response.status}: give a key with --api-key or OPENAI_API_KEY")
            if response.status in (404, 405, 501):
                if said := _said(await response.text()):
                    raise EndpointError(f"{url} answers {response.status}: {said}")
                return None
            if response.status != 200:
                text = (await response.text())[:200]
                raise EndpointError(f"{url} answers {response.status}: {text.strip() or 'nothing'}")
            data = await response.json(content_type=None)
            return [card for card in data["data"] if isinstance(card["id"], str)]
    except TimeoutError as error:
        raise EndpointError(f"{url} does not answer within {_MODELS_SECONDS:g} s: is --url right?") from error
    except (aiohttp.ClientError, OSError) as error:
        raise EndpointError(f"{url} cannot be reached: {error}; is --url right, and is the service up?") from error
    except (ValueError, LookupError, TypeError) as error:
        raise EndpointError(f"{url} does not answer with a list of models: is --url an OpenAI endpoint?") from error


def _said(text: str) -> str:
    """The message of an OpenAI error body, which tells more than that there is no list; empty for anything else."""
    try:
        return str(json.loads(text)["error"]["message"])[:200]
    except (ValueError, LookupError, TypeError):
        return ""


def _choose(endpoint: Endpoint, cards: list[dict[str, Any]] | None) -> tuple[str, int | None]:
    if cards is None:
        if not endpoint.model:
            raise OptionError(f"--model is needed: {endpoint.base}/v1/models lists no models")
        return endpoint.model, None
    names = [str(card["id"]) for card in cards]
    listed = ", ".join(names[:_MOST_NAMES]) or "none"
    if not endpoint.model and len(set(names)) != 1:
        raise OptionError(f"--model is needed: the endpoint lists {listed}")
    model = endpoint.model or names[0]
    if model not in names:
        raise OptionError(f"--model {model}: the endpoint does not list it; it lists {listed}")
    context = next(card for card in cards if card["id"] == model).get("max_model_len")
    return model, context if isinstance(context, int) and context > 1 else None


async def _probe(session: aiohttp.ClientSession, ready: Ready, *, prompt_as: str, seconds: float) -> Ready:
    """Try the fullest dialect first; what is refused with 400 or 422 is tried again with less."""
    shapes = [ready.shape, replace(ready.shape, as_ids=False)] if prompt_as == "auto" else [ready.shape]
    first: FailedError | None = None
    for shape in shapes[: 1 + shapes[0].as_ids]:
        for dialect in _DIALECTS:
            endpoint = replace(ready.endpoint, dialect=dialect)
            try:
                answers = [
                    await _ask(session, endpoint, shape, words=words, number=number, seconds=seconds)
                    for number, words in enumerate((_SHORT_WORDS, _LONG_WORDS))
                ]
            except FailedError as error:
                first = first or error
                if error.reason not in ("failed: http 400", "failed: http 422"):
                    raise EndpointError(f"{endpoint.url}: {_explain(error)}") from error
                continue
            return _found(replace(ready, endpoint=endpoint), shape, answers)
    assert first is not None
    raise EndpointError(f"{ready.endpoint.url} takes none of the requests tried; the first answer was {first}")


def _explain(error: FailedError) -> str:
    fixes: list[tuple[str, str]] = [
        ("http 401", "give a key with --api-key or OPENAI_API_KEY"),
        ("http 403", "give a key with --api-key or OPENAI_API_KEY"),
        ("http 404", "is --endpoint (chat or completions) right, and does --model name a served model?"),
        ("timeout", "--probe-timeout gives it longer, 0 skips the probes"),
    ]
    fix = next((fix for part, fix in fixes if part in error.reason), "a first, small request failed")
    return f"{error.reason} ({error.detail}); {fix}"


async def _ask(
    session: aiohttp.ClientSession, endpoint: Endpoint, shape: Shape, *, words: int, number: int, seconds: float
) -> Answer:
    prompt = Prompts(replace(shape, tokens_per_word=1.0, overhead_tokens=0.0, shared=0.0)).json(number, words)
    answer = Answer()
    headers = {"Content-Type": "application/json", **endpoint.headers}
    nothing: Callable[..., None] = lambda *_: None  # noqa: E731 - shorter than a function that does nothing
    try:
        async with asyncio.timeout(seconds):
            body = endpoint.body(prompt, output_tokens=_PROBE_OUTPUT_TOKENS)
            await exchange(session, url=endpoint.url, headers=headers, body=body, answer=answer, on_tokens=nothing)
    except TimeoutError as error:
        raise FailedError("timeout", f"no answer within {seconds:g} s") from error
    return answer


def _found(ready: Ready, shape: Shape, answers: list[Answer]) -> Ready:
    notes = []
    if not ready.endpoint.dialect.engine:
        notes.append("the endpoint takes no `ignore_eos`: answers may be shorter than asked for")
    if not shape.as_ids:
        short, long = (answer.usage[0] if answer.usage else 0 for answer in answers)
        if long > short:
            each = (long - short) / (_LONG_WORDS - _SHORT_WORDS)
            shape = replace(shape, tokens_per_word=each, overhead_tokens=max(0.0, short - each * _SHORT_WORDS))
            notes.append(f"a word of the prompts is {each:.2f} tokens, a prompt {shape.overhead_tokens:.0f} more")
        else:
            notes.append("the endpoint does not count prompt tokens: a word is taken for one")
    notes.append(f"output tokens are counted by {answers[-1].counted.value}")
    return replace(ready, shape=shape, notes=tuple(notes))
