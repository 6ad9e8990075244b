"""Load from a pod inside of a kind cluster, watched from outside."""

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from waiting import eventually

PYTHON = "/opt/penstock/bin/python"
ANSWERED = "answered"


@dataclass
class Load:
    """Requests that are sent until the block ends.

    Attributes:
        answers: of the requests that have ended, as the client printed them.
        sent: how many there were; None until all have ended.
        said: by the client, on stderr.
    """

    answers: list[dict[str, Any]] = field(default_factory=list)
    sent: int | None = None
    said: str = ""

    def read(self, line: str) -> None:
        found = json.loads(line)
        if "sent" in found:
            self.sent = found["sent"]
        else:
            self.answers.append(found)

    def more(self, count: int, *, seconds: float = 120.0) -> None:
        """Wait for so many further requests to end."""
        goal = len(self.answers) + count
        eventually(lambda: len(self.answers) >= goal, what=f"{count} more answers: {self.said}", seconds=seconds)

    @property
    def not_answered(self) -> list[dict[str, Any]]:
        return [answer for answer in self.answers if answer["end"] != ANSWERED]

    def counts(self) -> dict[str, int]:
        return dict(Counter(answer["end"] for answer in self.answers))


@contextmanager
def load(
    begin: Any, url: str, *, rate: float, namespace: str, pod: str, seed: int = 1, output: tuple[int, int] | None = None
) -> Iterator[Load]:
    """Send `rate` requests a second until the block ends, and wait for all answers.

    Args:
        begin: starts kubectl and gives the process.
        url: of the service at the gateways.
        rate: mean of the Poisson process.
        namespace: of the pod to send from.
        pod: to send from.
        seed: of arrivals and lengths.
        output: shortest and longest answer in tokens; the client's own if None.
    """
    numbers = [str(number) for number in output or ()]
    command = [PYTHON, "/client/client.py", url, str(rate), str(seed), *numbers]
    process: subprocess.Popen[str] = begin("exec", "--stdin", f"--namespace={namespace}", pod, "--", *command)
    seen = Load()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            seen.read(line)

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            seen.said += line

    readers = [threading.Thread(target=target, daemon=True) for target in (read, listen)]
    try:
        for reader in readers:
            reader.start()
        seen.more(3)
        yield seen
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(180) == 0, seen.said
    finally:
        process.kill()
        process.wait()
        for reader in readers:
            reader.join()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
    assert seen.sent == len(seen.answers), f"{seen.sent} sent, {len(seen.answers)} ended: {seen.said}"
