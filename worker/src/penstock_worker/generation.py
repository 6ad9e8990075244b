"""From an API request to engine requests and back to choices: tokens counted, text cut, times read.

One API request may ask for several prompts and several choices of each; they share one queue of outputs. Nothing
here knows HTTP.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from penstock_worker.accounting import seconds_per_output_token
from penstock_worker.engine import Output
from penstock_worker.errors import RequestError, engine_failed
from penstock_worker.protocol import ChatRequest, CompletionRequest, GenerationRequest
from penstock_worker.replica import Replica
from penstock_worker.request import Request
from penstock_worker.text import Detokenizer

MAX_CHOICES = 256
MAX_PROMPT_CHARACTERS = 4_000_000


@dataclass(slots=True)
class Choice:
    """One output as it grows."""

    index: int
    request: Request
    prompt_ids: list[int]
    detokenizer: Detokenizer
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step added to a choice."""

    choice: Choice
    text: str
    token_ids: list[int]
    finish_reason: str | None
    first: bool


@dataclass(frozen=True, slots=True)
class Times:
    """Durations of the slowest choice, in seconds; None where undefined."""

    queue_wait: float | None
    first_token: float | None
    per_output_token: float | None


class Generation:
    """The choices of one API request and the queue of their outputs."""

    def __init__(self, replica: Replica, choices: Sequence[Choice], queue: asyncio.Queue[Output]) -> None:
        self.choices = choices
        self._replica = replica
        self._queue = queue
        self._by_id = {choice.request.id: choice for choice in choices}

    async def deltas(self) -> AsyncIterator[Delta]:
        """Yield what is added, until every choice has finished.

        Raises:
            RequestError: the engine died.
        """
        while self._by_id:
            output = await self._queue.get()
            choice = self._by_id.get(output.request.id)
            if choice is None:
                continue  # computed after its stop string was found
            if output.finish_reason == "error":
                raise engine_failed()
            delta = self._apply(choice, output)
            if delta.finish_reason is not None:
                del self._by_id[choice.request.id]
                self._replica.end(choice.request, "stop")
            yield delta

    def _apply(self, choice: Choice, output: Output) -> Delta:
        text = ""
        token_ids: list[int] = []
        reason: str | None = output.finish_reason
        detokenizer = choice.detokenizer
        if output.token is not None:
            token_ids = [output.token]
            # A stop token ends the text before itself.
            text = "" if reason == "stop" else detokenizer.push(output.token)
        if detokenizer.stopped:
            reason = "stop"
        elif reason is not None:
            text += detokenizer.finish()
            reason = "stop" if detokenizer.stopped else reason
        first = not choice.token_ids
        choice.text += text
        choice.token_ids += token_ids
        choice.finish_reason = reason
        return Delta(choice, text, token_ids, reason, first)

    def times(self) -> Times:
        """Durations as the engine measured them."""
        requests = [choice.request for choice in self.choices]
        waits = [r.scheduled_at - r.arrived_at for r in requests if r.scheduled_at is not None]
        firsts = [r.first_token_at - r.arrived_at for r in requests if r.first_token_at is not None]
        paces = [pace for r in requests if (pace := seconds_per_output_token(r)) is not None]
        return Times(max(waits, default=None), max(firsts, default=None), max(paces, default=None))

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens; a prompt with several choices counts once."""
        return sum(len(choice.prompt_ids) for choice in self._firsts())

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that came from the prefix cache."""
        return sum(choice.request.cached for choice in self._firsts())

    @property
    def completion_tokens(self) -> int:
        """Output tokens of all choices."""
        return sum(len(choice.token_ids) for choice in self.choices)

    def _firsts(self) -> list[Choice]:
        """The first choice of each prompt (choices of a prompt share the list object)."""
        return list({id(choice.prompt_ids): choice for choice in reversed(self.choices)}.values())


@asynccontextmanager
async def generate(replica: Replica, body: GenerationRequest) -> AsyncIterator[Generation]:
    """Start what a checked API request asks for; leaving the context aborts what has not finished.

    Raises:
        RequestError: a prompt cannot be served.
    """
    _check_size(body)
    prompts = _prompt_ids(replica, body)
    choices = [
        _choice(replica, body, prompt, index=number * (body.n or 1) + choice, choice=choice)
        for number, prompt in enumerate(prompts)
        for choice in range(body.n or 1)
    ]
    with replica.stream([choice.request for choice in choices]) as queue:
        yield Generation(replica, choices, queue)


def _check_size(body: GenerationRequest) -> None:
    """One request is one client's: what it asks for must not stop the event loop or fill the memory."""
    prompts: Sequence[str | list[int]] = body.prompts if isinstance(body, CompletionRequest) else ()
    if max(1, len(prompts)) * (body.n or 1) > MAX_CHOICES:
        raise RequestError(
            f"prompts times n is {len(prompts) * (body.n or 1)}, at most {MAX_CHOICES}; send several requests",
            param="prompt",
        )
    for prompt in prompts:
        if isinstance(prompt, str) and len(prompt) > MAX_PROMPT_CHARACTERS:
            raise RequestError(f"a prompt has at most {MAX_PROMPT_CHARACTERS} characters", param="prompt")


def _prompt_ids(replica: Replica, body: GenerationRequest) -> list[list[int]]:
    if isinstance(body, ChatRequest):
        text = replica.text
        if text is None:
            raise RequestError(
                "The model has no tokenizer, so it cannot chat; send token ids to /v1/completions.", param="messages"
            )
        return [text.chat([message.for_template() for message in body.messages])]
    assert isinstance(body, CompletionRequest)
    return [_encode(replica, prompt) for prompt in body.prompts]


def _encode(replica: Replica, prompt: str | list[int]) -> list[int]:
    if isinstance(prompt, str):
        if replica.text is None:
            raise RequestError("The model has no tokenizer; send the prompt as token ids.", param="prompt")
        prompt = replica.text.encode(prompt)
        if not prompt:
            raise RequestError("`prompt`: must not be empty.", param="prompt")
    elif max(prompt) >= replica.model.vocab:
        raise RequestError(
            f"`prompt`: token id {max(prompt)} is outside the vocabulary of {replica.model.vocab}.", param="prompt"
        )
    return prompt


def _choice(replica: Replica, body: GenerationRequest, prompt: list[int], *, index: int, choice: int) -> Choice:
    room = replica.max_model_len - len(prompt)
    limit = body.token_limit(room)
    if room < 1 or limit > room:
        raise RequestError(
            f"This model's maximum context length is {replica.max_model_len} tokens; you requested"
            f" {len(prompt) + max(limit, 1)} ({len(prompt)} in the prompt, {max(limit, 1)} in the completion).",
            param="messages" if isinstance(body, ChatRequest) else "prompt",
            code="context_length_exceeded",
        )
    model = replica.model
    sampling = body.sampling(max_tokens=limit, eos_ids=model.eos_ids, vocab=model.vocab, choice=choice)
    request = Request(uuid.uuid4().hex, list(prompt), sampling, arrived_at=time.monotonic())
    return Choice(index, request, prompt, Detokenizer(replica.text, body.stop_strings))
