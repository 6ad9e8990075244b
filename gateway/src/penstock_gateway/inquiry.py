"""What the gateway has to know of a request's body: where it goes and how much work it is.

The body itself is passed on byte by byte; fields that are wrong in ways that do not matter here are the worker's to
refuse. Prompt tokens are exact for token ids and estimated from the text's bytes otherwise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

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
    """

    model: str | None
    stream: bool
    prompt_tokens: int
    max_tokens: int | None
    choices: int


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
