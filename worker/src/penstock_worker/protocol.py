"""The OpenAI API as data: request models, their checks, reply bodies.

As in vLLM, unknown fields are ignored, while known fields that would change the answer and are not supported are
refused, unless they hold their neutral value: silence would be a wrong answer.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penstock_worker.errors import RequestError
from penstock_worker.request import Sampling

_UNSUPPORTED: Final[dict[str, tuple[Any, ...]]] = {
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "prompt_logprobs": (None,),
    "echo": (None, False),
    "suffix": (None, ""),
    "best_of": (None, 1),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "repetition_penalty": (None, 1),
    "logit_bias": (None, {}),
    "min_p": (None, 0),
    "tools": (None, []),
    "response_format": (None, {"type": "text"}),
    "structured_outputs": (None,),
    "use_beam_search": (None, False),
}
_LOWEST_TEMPERATURE: Final = 1e-5  # below it, as in vLLM, sampling is greedy
_DEFAULT_MAX_TOKENS: Final = 16  # of completions, as OpenAI documents it; a chat may fill the context

Body = TypeVar("Body", bound=BaseModel)
TokenId = Annotated[int, Field(ge=0, strict=True)]
Tokens = Annotated[list[TokenId], Field(min_length=1)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class StreamOptions(BaseModel):
    """`stream_options` of a streamed request."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class GenerationRequest(BaseModel):
    """What both endpoints take."""

    model_config = ConfigDict(extra="ignore")
    model: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    min_tokens: Annotated[int, Field(ge=0)] = 0
    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    seed: Seed | None = None
    n: Annotated[int, Field(ge=1, le=64)] | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[TokenId] | None = None
    ignore_eos: bool = False
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = False

    @property
    def stop_strings(self) -> list[str]:
        """Non-empty stop strings."""
        strings = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [string for string in strings if string]

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return self.stream_options is not None and self.stream_options.include_usage

    def token_limit(self, room: int) -> int:
        """Most output tokens, with `room` tokens left in the model's context."""
        return min(_DEFAULT_MAX_TOKENS, room) if self.max_tokens is None else self.max_tokens

    def sampling(self, *, max_tokens: int, eos_ids: tuple[int, ...], vocab: int, choice: int) -> Sampling:
        """Sampling of one choice; choices of one seed differ, and all draws of a seed repeat.

        Args:
            max_tokens: most output tokens.
            eos_ids: the model's end-of-sequence ids.
            vocab: size of the vocabulary; what the engine gets lies within it.
            choice: number of the choice of its prompt.

        Raises:
            RequestError: a value does not fit the model or another value.
        """
        if self.min_tokens > max_tokens:
            raise RequestError(f"`min_tokens`: must be at most max_tokens, {max_tokens}.", param="min_tokens")
        if self.stop_token_ids and max(self.stop_token_ids) >= vocab:
            raise RequestError(
                f"`stop_token_ids`: {max(self.stop_token_ids)} is outside the vocabulary of {vocab}.",
                param="stop_token_ids",
            )
        stop_ids = frozenset(self.stop_token_ids or ()) | frozenset(() if self.ignore_eos else eos_ids)
        temperature = 1.0 if self.temperature is None else self.temperature
        return Sampling(
            max_tokens=max_tokens,
            min_tokens=self.min_tokens,
            temperature=temperature if temperature >= _LOWEST_TEMPERATURE else 0.0,
            top_k=min(max(0, self.top_k or 0), vocab),
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=(secrets.randbits(63) if self.seed is None else self.seed) + choice,
            stop_ids=stop_ids,
        )


class CompletionRequest(GenerationRequest):
    """Body of `POST /v1/completions`."""

    prompt: str | Tokens | Annotated[list[str], Field(min_length=1)] | Annotated[list[Tokens], Field(min_length=1)]

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts of the batch."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)


class TextPart(BaseModel):
    """A part of a message's content."""

    model_config = ConfigDict(extra="ignore")
    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A message of a conversation; other fields are passed on to the chat template."""

    model_config = ConfigDict(extra="allow")
    role: str
    content: str | list[TextPart] | None = None

    def for_template(self) -> dict[str, Any]:
        """The message with its content as one string."""
        content = self.content
        if isinstance(content, list):
            content = "\n".join(part.text for part in content)
        return {**(self.model_extra or {}), "role": self.role, "content": content or ""}


class ChatRequest(GenerationRequest):
    """Body of `POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None

    def token_limit(self, room: int) -> int:
        """Most output tokens; a chat may fill the context."""
        limit = self.max_completion_tokens or self.max_tokens
        return room if limit is None else limit


def parse(model: type[Body], data: Any) -> Body:
    """Check a decoded JSON body.

    Raises:
        RequestError: 400 that names the field.
    """
    if not isinstance(data, dict):
        raise RequestError(f"The body must be a JSON object, got {type(data).__name__}.")
    for name, neutral in _UNSUPPORTED.items():
        if name in data and data[name] not in neutral:
            raise RequestError(f"`{name}` is not supported by this server; leave it out.", param=name)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _bad_field(error) from error


def _bad_field(error: ValidationError) -> RequestError:
    """One field at fault, said once: of the branches of a union, the one that got furthest."""
    errors = error.errors(include_url=False, include_context=False)
    field = str(errors[0]["loc"][0]) if errors[0]["loc"] else None
    fault = max((each for each in errors if each["loc"][:1] == errors[0]["loc"][:1]), key=lambda each: len(each["loc"]))
    if field == "prompt" and fault["type"] != "missing":
        return RequestError(
            "`prompt`: expected a text, a list of token ids, or a non-empty list of either.", param=field
        )
    # Pydantic puts the names of union branches between those of fields.
    path = [str(part) for part in fault["loc"][1:] if isinstance(part, int) or (part.islower() and part.isidentifier())]
    where = ".".join(part for part in path if part != "str")
    return RequestError(f"`{field}`: {where + ': ' if where else ''}{fault['msg']}.", param=field)


def error_body(error: RequestError) -> dict[str, Any]:
    """The OpenAI error body."""
    return {"error": {"message": str(error), "type": error.kind, "param": error.param, "code": error.code}}


def usage(*, prompt: int, cached: int, completion: int) -> dict[str, Any]:
    """The usage object, token counts."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
