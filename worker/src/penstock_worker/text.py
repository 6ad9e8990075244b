"""Text in, text out: tokenizer, chat template, incremental detokenisation, stop strings.

All optional: without `tokenizer.json` the worker serves token ids. Without a chat template, messages are laid out
plainly as `role: content` lines, ending in `assistant:`. Text is decided on this side of the engine, so a stop string
ends a request one step after its last character was sampled at the latest, and its tokens beyond are dropped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from penstock_worker.errors import CheckpointError, RequestError

# No character takes more tokens than it has bytes; what is longer incomplete is not text at all.
_LONGEST_CHARACTER: Final = 8
_REPLACEMENT: Final = "\ufffd"


class Text:
    """Tokenizer and chat template of a checkpoint."""

    def __init__(self, tokenizer: Any, *, template: str | None, special: dict[str, str]) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._template = None
        if template is not None:
            environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
            environment.filters["tojson"] = _tojson
            environment.globals["raise_exception"] = _raise_exception
            environment.globals["strftime_now"] = lambda layout: datetime.now(UTC).strftime(layout)
            self._template = environment.from_string(template)

    @classmethod
    def load(cls, folder: Path) -> Text | None:
        """The text side of a checkpoint, or None if it has no tokenizer.

        Raises:
            CheckpointError: the tokenizer or its settings cannot be read.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            return None
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:
            raise CheckpointError(f"{path}: cannot be read ({error})") from error
        settings = _settings(folder / "tokenizer_config.json")
        special = {
            key: value["content"] if isinstance(value, dict) else str(value)
            for key, value in settings.items()
            if key.endswith("_token") and value
        }
        try:
            return cls(tokenizer, template=_template(folder, settings), special=special)
        except TemplateError as error:
            raise CheckpointError(f"{folder}: chat template cannot be read ({error})") from error

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of a text, with what the tokenizer adds around it if `special`.

        Raises:
            RequestError: the text is not text (JSON can spell half a surrogate pair).
        """
        try:
            return list(self._tokenizer.encode(text, add_special_tokens=special).ids)
        except TypeError as error:
            raise RequestError("The text holds characters that are not Unicode.") from error

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def chat(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        """Token ids of a conversation, ready for the assistant's turn.

        Raises:
            RequestError: the template refuses the messages.
        """
        if self._template is None:
            return self.encode("".join(f"{m['role']}: {m['content']}\n" for m in messages) + "assistant:")
        try:
            text = self._template.render(messages=messages, add_generation_prompt=True, **self._special)
        except TemplateError as error:
            raise RequestError(f"The chat template refuses the messages: {error}", param="messages") from error
        except Exception as error:  # a template is a program of the checkpoint; what it trips over is the input
            raise RequestError(f"The chat template failed on the messages: {error!r}", param="messages") from error
        return self.encode(text, special=False)  # templates write their own special tokens


class Detokenizer:
    """Text of one growing output, held back while a character is incomplete or a stop string may have begun.

    Args:
        text: the tokenizer; None gives empty text.
        stop: strings that end the output; they are not part of it.
    """

    def __init__(self, text: Text | None, stop: Sequence[str] = ()) -> None:
        self._text = text
        self._stop = tuple(stop)
        self._hold = max((len(string) for string in stop), default=1) - 1
        self._ids: list[int] = []
        self._prefix = 0  # tokens before it are context no longer needed to decode
        self._read = 0  # tokens before it are in the text
        self._pending = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token; the text that is now certain. Sets `stopped` when a stop string was found."""
        self._ids.append(token)
        if self._text is None:
            return ""
        return self._take(final=False)

    def finish(self) -> str:
        """What was held back, at the end of the output."""
        return "" if self._text is None or self.stopped else self._take(final=True)

    def _take(self, *, final: bool) -> str:
        self._pending += self._decode(final=final)
        found = [at for at in (self._pending.find(string) for string in self._stop) if at >= 0]
        if found:
            self.stopped = True
            certain, self._pending = self._pending[: min(found)], ""
            return certain
        keep = 0 if final else min(self._hold, len(self._pending))
        certain = self._pending[: len(self._pending) - keep]
        self._pending = self._pending[len(certain) :]
        return certain

    def _decode(self, *, final: bool) -> str:
        """Newly complete characters (the prefix window of TGI's and vLLM's incremental detokenisers)."""
        assert self._text is not None
        if self._read == len(self._ids):
            return ""
        before = self._text.decode(self._ids[self._prefix : self._read])
        after = self._text.decode(self._ids[self._prefix :])
        incomplete = after.endswith(_REPLACEMENT) and len(self._ids) - self._read < _LONGEST_CHARACTER
        if len(after) <= len(before) or (incomplete and not final):
            return ""
        self._prefix, self._read = self._read, len(self._ids)
        return after[len(before) :]


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    return settings if isinstance(settings, dict) else {}


def _template(folder: Path, settings: dict[str, Any]) -> str | None:
    """The default chat template, from its own file or the tokenizer's settings."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = settings.get("chat_template")
    if isinstance(template, list):  # several named ones
        template = next((entry["template"] for entry in template if entry.get("name") == "default"), None)
    return template


def _tojson(value: Any, indent: int | None = None) -> str:
    """As transformers does: jinja's own filter escapes HTML, which no model was trained on."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
