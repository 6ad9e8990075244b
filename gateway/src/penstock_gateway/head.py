"""The head of a worker's answer: what the gateway has to know of it, and what of it the client gets.

Field lines pass as they are, but for those that are about the connection or set by us.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from penstock_contract.names import HEADER_REQUEST_ID

_NOT_PASSED_BACK: Final = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
        b"content-length", HEADER_REQUEST_ID.lower().encode(),
    )
)  # fmt: skip


@dataclass(slots=True)
class Head:
    """A head.

    Attributes:
        status: HTTP status.
        reason: status and phrase, as the worker says them.
        fields: by name in lower case; the first one of a name.
        lines: of the client's answer.
        keep: the connection may be used again.
        chunked: the body comes in chunks.
        length: bytes of the body, if the head tells.
    """

    status: int = 0
    reason: bytes = b""
    fields: dict[bytes, bytes] = field(default_factory=dict)
    lines: bytes = b""
    keep: bool = False
    chunked: bool = False
    length: int | None = None


NO_HEAD: Final = Head()


def read_head(data: bytes) -> Head:
    """Understand a head, which is given without the empty line at its end.

    Raises:
        ValueError: it is none, or could be read in more than one way.
    """
    first, *lines = data.split(b"\r\n")
    if not first.startswith(b"HTTP/1.") or (status := int(first[9:12])) < 100:
        raise ValueError(f"not an answer of HTTP/1.1: {first[:40]!r}")
    breaks = data.count(b"\n") + data.count(b"\r")
    if breaks != 2 * len(lines) or b"\r\n " in data or b"\r\n\t" in data:
        raise ValueError("a line of the head is no field")
    fields: dict[bytes, bytes] = {}
    passed: list[bytes] = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise ValueError(f"not a field: {line[:40]!r}")
        name = name.lower()
        fields.setdefault(name, value.strip())
        if name not in _NOT_PASSED_BACK:
            passed += (line, b"\r\n")
    length = fields.get(b"content-length")
    if length is not None and not length.isdigit():
        raise ValueError(f"not a length: {length[:40]!r}")
    return Head(
        status,
        first[9:],
        fields,
        b"".join(passed),
        keep=first.startswith(b"HTTP/1.1") and b"close" not in fields.get(b"connection", b"").lower(),
        chunked=fields.get(b"transfer-encoding", b"").lower() == b"chunked",
        length=None if length is None else int(length),
    )
