"""The API server's audit log as the list of requests that were really made, by whom and how they ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, urlsplit

# Renews its own identity lease every ten seconds, whatever happens.
_UNRELATED_WRITERS = frozenset({"system:apiserver"})
_WRITES = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True, slots=True)
class Request:
    """One request that the API server answered.

    Attributes:
        user: who.
        verb: get, list, watch, create, update, patch, delete.
        resource: plural, with the subresource after a slash.
        name: of the object; empty for collections.
        manager: field manager of an apply.
        code: HTTP status.
        received_at: Unix seconds.
        answered_at: Unix seconds; for a watch the end of its first answer.
    """

    user: str
    verb: str
    resource: str
    name: str
    manager: str
    code: int
    received_at: float
    answered_at: float

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.verb in _WRITES and self.user not in _UNRELATED_WRITERS

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return 200 <= self.code < 300


class AuditLog:
    """Everything that was asked, as a list that grows with each look.

    Attributes:
        requests: all so far.
        last_write_at: when the last write was received, whoever made it; 0 before the first.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._rest = b""
        self.requests: list[Request] = []
        self.last_write_at = 0.0

    def read(self) -> list[Request]:
        """Read what is new; returns it."""
        new = [request for line in self._lines() if (request := _request(json.loads(line))) is not None]
        self.requests += new
        self.last_write_at = max((one.received_at for one in new if one.writes), default=self.last_write_at)
        return new

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def between(self, start: float, end: float, *, user: str | None = None) -> list[Request]:
        """Requests received in a span, by one user or by all."""
        return [one for one in self.requests if start <= one.received_at < end and (user is None or one.user == user)]

    def _lines(self) -> Iterator[bytes]:
        while True:
            if self._file is None:
                if not self._path.exists():
                    return
                self._file = self._path.open("rb")
            rotated = self._rotated(self._file)  # asked before reading: what a rotated file holds is final
            while chunk := self._file.read(1 << 22):
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                yield from (line for line in lines if line)
            if not rotated:
                return
            self.close()

    def _rotated(self, file: IO[bytes]) -> bool:
        # The server renames a log of 100 MB and begins another; ours is still the old one, and read to its end.
        try:
            return self._path.stat().st_ino != Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino
        except FileNotFoundError:
            return False


def by_verb_and_resource(requests: Iterable[Request]) -> dict[str, int]:
    """Counts under `verb resource`, most frequent first; failed ones apart."""
    counts = Counter(
        f"{one.verb} {one.resource}{'' if one.ok else f' -> {one.code}'}{f' by {one.manager}' if one.manager else ''}"
        for one in requests
    )
    return dict(counts.most_common())


def _request(event: dict[str, object]) -> Request | None:
    reference = event.get("objectRef")
    status = event.get("responseStatus")
    user = event.get("user")
    if not isinstance(reference, dict) or not isinstance(status, dict) or not isinstance(user, dict):
        return None
    if event["verb"] == "watch" and event["stage"] != "ResponseStarted":
        return None  # a watch is logged when it begins and when it ends: count it once
    sub = reference.get("subresource")
    query = parse_qs(urlsplit(str(event["requestURI"])).query)
    return Request(
        user=str(user.get("username")),
        verb=str(event["verb"]),
        resource=f"{reference.get('resource')}{f'/{sub}' if sub else ''}",
        name=str(reference.get("name") or ""),
        manager=query.get("fieldManager", [""])[0],
        code=int(status.get("code") or 0),
        received_at=datetime.fromisoformat(str(event["requestReceivedTimestamp"])).timestamp(),
        answered_at=datetime.fromisoformat(str(event["stageTimestamp"])).timestamp(),
    )
