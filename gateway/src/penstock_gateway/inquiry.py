"""What the gateway has to know of a request's body: where it goes and how much work it is.

The body itself is passed on byte by byte; fields that are wrong in ways that do not matter here are the worker's to
refuse. Prompt tokens are exact for token ids and estimated from the text's bytes otherwise. Reading runs between the
chunks of everybody's streams, so its time is bounded: the body is scanned once, no field over `_LARGE_BYTES` is built
as objects, and a large prompt is counted by its bytes (`docs/evidence/gateway.md` has the times).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from penstock_gateway.affinity import LENGTHS, Prefix, prefixes
from penstock_gateway.errors import Refusal, too_many_choices

_BYTES_PER_TOKEN: Final = 4
_NO_TEXT: Final = {"role", "type", "image_url", "input_audio"}  # an image is no text, however long its encoding
_LARGE_BYTES: Final = 128 << 10
_MOST_CHOICES: Final = 1 << 16
# Images and sound inside a large conversation, the first thousand of them.
_MEDIA: Final = re.compile(rb'"data:[^"]*"|"data":\s*"[^"]*"')
_MOST_MEDIA: Final = 1000
_HEAD_IDS_BYTES: Final = 1 << 17  # of the longest prefix, as token ids with spaces


class _Fields(msgspec.Struct, gc=False):
    """The fields that matter, as their bytes; empty if they are not there."""

    model: msgspec.Raw = msgspec.Raw()
    stream: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()
    max_tokens: msgspec.Raw = msgspec.Raw()
    max_completion_tokens: msgspec.Raw = msgspec.Raw()
    n: msgspec.Raw = msgspec.Raw()


_FIELDS: Final = msgspec.json.Decoder(_Fields)


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
        Refusal: 400, it is not a JSON object or asks for too many answers.
    """
    try:
        fields = _FIELDS.decode(body)
    except msgspec.ValidationError as error:
        raise Refusal(f"The body must be a JSON object: {error}.") from error
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise Refusal(f"The body is not JSON: {error}.") from error
    tokens, prompts, known = _prompt(fields)
    choices = prompts * (_positive(_value(fields.n)) or 1)
    if choices > _MOST_CHOICES:
        raise too_many_choices(_MOST_CHOICES)
    model = _value(fields.model)
    return Inquiry(
        model=model if isinstance(model, str) else None,
        stream=_value(fields.stream) is True,
        prompt_tokens=tokens,
        max_tokens=_positive(_value(fields.max_completion_tokens)) or _positive(_value(fields.max_tokens)),
        choices=choices,
        prefixes=known,
    )


def _value(raw: msgspec.Raw) -> Any:
    """A field as objects; None if it is not there, large, or nothing that can be read."""
    if not raw or len(raw) > _LARGE_BYTES:
        return None
    try:
        return msgspec.json.decode(raw)
    except ValueError:  # half a surrogate pair, say
        return None


def _prompt(fields: _Fields) -> tuple[int, int, tuple[Prefix, ...]]:
    """Tokens of all prompts, how many prompts there are, and prefixes if it is one."""
    if fields.messages:
        if len(fields.messages) > _LARGE_BYTES:
            return _large_chat(bytes(fields.messages))
        messages = _value(fields.messages)
        tokens = _text(messages)
        return tokens, 1, prefixes(_lead(messages), units_per_token=_BYTES_PER_TOKEN) if _reaches(tokens) else ()
    if len(fields.prompt) > _LARGE_BYTES:
        return _large_prompt(bytes(fields.prompt))
    return _small_prompt(_value(fields.prompt))


def _small_prompt(prompt: Any) -> tuple[int, int, tuple[Prefix, ...]]:
    if isinstance(prompt, str):
        tokens = _text(prompt)
        return tokens, 1, prefixes(prompt, units_per_token=_BYTES_PER_TOKEN) if _reaches(tokens) else ()
    if not isinstance(prompt, list) or not prompt:
        return _text(prompt), 1, ()
    if isinstance(prompt[0], int):
        return len(prompt), 1, _of_ids(prompt)
    tokens = sum(len(one) if isinstance(one, list) else _text(one) for one in prompt)
    return tokens, len(prompt), ()


def _large_chat(raw: bytes) -> tuple[int, int, tuple[Prefix, ...]]:
    """A long conversation, by its bytes as they are: all but its images count as text."""
    text = len(_MEDIA.sub(b"", raw, count=_MOST_MEDIA))
    lead = raw[: LENGTHS[0] * _BYTES_PER_TOKEN].decode("latin-1")
    return -(-text // _BYTES_PER_TOKEN), 1, prefixes(lead, units_per_token=_BYTES_PER_TOKEN)


def _large_prompt(raw: bytes) -> tuple[int, int, tuple[Prefix, ...]]:
    """A long prompt or many: texts become a string at most, of lists only brackets and commas are counted."""
    if raw.startswith(b'"'):
        try:
            return _small_prompt(msgspec.json.decode(raw))
        except ValueError:
            return len(raw) // _BYTES_PER_TOKEN, 1, ()
    first = raw[1:64].lstrip()[:1]
    if raw.startswith(b"[") and first in b"-0123456789":
        head = raw[:_HEAD_IDS_BYTES]
        ids = _value(msgspec.Raw(head[: head.rfind(b",")] + b"]"))
        return raw.count(b",") + 1, 1, _of_ids(ids) if isinstance(ids, list) else ()
    if first == b"[":
        return raw.count(b",") + 1, raw.count(b"[") - 1, ()
    return len(raw) // _BYTES_PER_TOKEN, raw.count(b'",') - raw.count(b'\\",') + 1, ()


def _of_ids(prompt: list[Any]) -> tuple[Prefix, ...]:
    head = prompt[: LENGTHS[0]]
    return prefixes(head) if _reaches(len(prompt)) and all(isinstance(one, int) for one in head) else ()


def _reaches(tokens: int) -> bool:
    """Long enough for the shortest prefix."""
    return tokens >= LENGTHS[-1]


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
