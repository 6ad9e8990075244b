"""An OpenAI endpoint as the load talks to it: where it is, which model, which fields it takes, bodies to send.

Bodies are put together from ready-made JSON, since turning long lists of ids into text is what a generator spends most
of its time on otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from penstock_lab.load.errors import OptionError


class Kind(StrEnum):
    """Which of the two APIs is used."""

    CHAT = "chat"
    COMPLETIONS = "completions"


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which fields outside of OpenAI's own API the endpoint takes.

    Attributes:
        engine: `ignore_eos`, so that answers have the length asked for, and `return_token_ids`, which counts tokens.
        usage: `stream_options.include_usage`.
    """

    engine: bool = True
    usage: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where requests go.

    Attributes:
        base: URL without `/v1` and without a slash at the end.
        model: name in the requests.
        kind: of API.
        headers: sent with each request.
        dialect: fields it takes.
        verify_tls: check certificates.
    """

    base: str
    model: str
    kind: Kind = Kind.COMPLETIONS
    headers: Mapping[str, str] = field(default_factory=dict)
    dialect: Dialect = field(default_factory=Dialect)
    verify_tls: bool = True

    @property
    def url(self) -> str:
        """Where requests are posted."""
        return f"{self.base}/v1/{'chat/completions' if self.kind is Kind.CHAT else 'completions'}"

    def body(self, prompt: bytes, *, output_tokens: int) -> bytes:
        """A streamed request.

        Args:
            prompt: JSON of the prompt, a list of ids or a string.
            output_tokens: asked for.
        """
        fields: dict[str, Any] = {
            "model": self.model,
            "max_tokens": output_tokens,
            "temperature": 0,
            "stream": True,
        }
        if self.dialect.engine:
            fields |= {"ignore_eos": True, "return_token_ids": True}
        if self.dialect.usage:
            fields["stream_options"] = {"include_usage": True}
        head = json.dumps(fields, separators=(",", ":")).encode()[:-1]
        if self.kind is Kind.CHAT:
            return head + b',"messages":[{"role":"user","content":' + prompt + b"}]}"
        return head + b',"prompt":' + prompt + b"}"


def base_of(url: str) -> str:
    """The URL of an endpoint as people write it, without `/v1` and slashes at its end.

    Raises:
        OptionError: it is no http or https URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OptionError(f"--url must be like http://HOST:PORT or https://HOST/PATH, got {url!r}")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")
