"""What the gateway has to know of a request's body: where it goes and how much work it is.

The body itself is passed on byte by byte; fields that are wrong in ways that do not matter here are the worker's to
refuse. Prompt tokens are exact for token ids and estimated from the text's bytes otherwise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from penstock_gateway.affinity import LENGTHS, Prefix, prefixes
from penstock_gateway.errors import Refusal

_BYTES_PER_TOKEN: Final = 4
_NO_TEXT: Final = {"role", "type", "image_url", "input_audio"}  # an image is no text, however long its encoding


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One request for tokens.

    Attributes:
        model: the served name asked for, if any.
        stream: whether the answer is streamed.
        prompt_tokens: of all prompts together.
        max_tokens: most output tokens of one choice, if limited.
        choices: answers asked for: prompts times `n`.
        prefixes: of the prompt, see `affinity`.
    """

    model: str | None
    stream: bool
    prompt_tokens: int
    max_tokens: int | None
    choices: int
    prefixes: tuple[Prefix, ...] = ()


def read(body: bytes) -> Inquiry:
    """Read a request body.

    Raises:
        Refusal: 400, it is not a JSON object.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"The body is not JSON: {error}.") from error
    if not isinstance(data, dict):
        raise Refusal(f"The body must be a JSON object, got {type(data).__name__}.")
    tokens, prompts = _prompt(data)
    model = data.get("model")
    return Inquiry(
        model=model if isinstance(model, str) else None,
        stream=data.get("stream") is True,
        prompt_tokens=tokens,
        max_tokens=_positive(data.get("max_completion_tokens")) or _positive(data.get("max_tokens")),
        choices=prompts * (_positive(data.get("n")) or 1),
        prefixes=_prefixes(data) if tokens >= LENGTHS[-1] and prompts == 1 else (),
    )


def _prompt(data: dict[str, Any]) -> tuple[int, int]:
    """Tokens of all prompts, and how many prompts there are."""
    if "messages" in data:
        return _text(data["messages"]), 1
    prompt = data.get("prompt")
    if not isinstance(prompt, list) or not prompt:
        return _text(prompt), 1
    if isinstance(prompt[0], int):
        return len(prompt), 1
    return sum(len(one) if isinstance(one, list) else _text(one) for one in prompt), len(prompt)


def _prefixes(data: dict[str, Any]) -> tuple[Prefix, ...]:
    """Prefixes of a single prompt; a conversation that goes on keeps those it had."""
    if "messages" in data:
        return prefixes(_lead(data["messages"]), units_per_token=_BYTES_PER_TOKEN)
    prompt = data.get("prompt")
    if isinstance(prompt, str):
        return prefixes(prompt, units_per_token=_BYTES_PER_TOKEN)
    head = prompt[: LENGTHS[0]] if isinstance(prompt, list) else []
    return prefixes(head) if all(isinstance(one, int) for one in head) else ()


def _lead(messages: Any) -> str:
    """The beginning of a conversation as one text; of what is no text, nothing."""
    most = LENGTHS[0] * _BYTES_PER_TOKEN
    lead = ""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        parts = content if isinstance(content, list) else [{"text": content}]
        for part in parts:
            text = part.get("text") if isinstance(part, dict) else None
            if isinstance(text, str):
                lead += f"{message.get('role')}\n{text[:most]}\n"
        if len(lead) >= most:
            break
    return lead


def _text(value: Any) -> int:
    """Tokens of all text in a value, estimated."""
    return -(-_characters(value) // _BYTES_PER_TOKEN)


def _characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode(errors="replace"))
    if isinstance(value, list):
        return sum(_characters(one) for one in value)
    if isinstance(value, dict):
        return sum(_characters(one) for key, one in value.items() if key not in _NO_TEXT)
    return 0


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
