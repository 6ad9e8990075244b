"""One request of a trace, and many of them as arrays.

Times are seconds from the start of the trace. A loader yields requests in order of arrival and holds few of them at
once, so that a trace of days needs no more memory than one of minutes; whoever needs all at once takes `Arrays`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HASH_BLOCK_TOKENS = 512
"""Tokens of a prefix block that one hash id stands for, as Mooncake publishes them."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request.

    Attributes:
        arrival_seconds: from the start of the trace.
        prompt_tokens: at least 1.
        output_tokens: at least 1.
        hash_ids: ids of the prompt's blocks of 512 tokens; two prompts share the blocks whose ids they share.
        model: served model, where the trace tells.
        client: who sent it, where the trace tells.
    """

    arrival_seconds: float
    prompt_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...] = ()
    model: str | None = None
    client: str | None = None


@dataclass(frozen=True, slots=True)
class Arrays:
    """Requests as columns; all of the same length n.

    Attributes:
        arrival_seconds: float64 (n,), not decreasing.
        prompt_tokens: int32 (n,).
        output_tokens: int32 (n,).
        hash_ids: int64, those of all requests one after the other; empty when the trace has none.
        hash_ends: int64 (n,), where those of each request end; empty when the trace has none.
    """

    arrival_seconds: NDArray[np.float64]
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    hash_ids: NDArray[np.int64]
    hash_ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.arrival_seconds)

    def hashes(self, index: int) -> NDArray[np.int64]:
        """Hash ids of one request."""
        if not len(self.hash_ends):
            return self.hash_ids
        start = self.hash_ends[index - 1] if index else 0
        return self.hash_ids[start : self.hash_ends[index]]


def arrays(requests: Iterable[TraceRequest]) -> Arrays:
    """Collect requests, 16 bytes each and 8 for each hash id."""
    arrivals, prompts, outputs = array("d"), array("i"), array("i")
    ids, ends = array("q"), array("q")
    for request in requests:
        arrivals.append(request.arrival_seconds)
        prompts.append(request.prompt_tokens)
        outputs.append(request.output_tokens)
        ids.extend(request.hash_ids)
        ends.append(len(ids))
    return Arrays(
        np.frombuffer(arrivals, np.float64) if arrivals else np.empty(0),
        np.frombuffer(prompts, np.int32) if prompts else np.empty(0, np.int32),
        np.frombuffer(outputs, np.int32) if outputs else np.empty(0, np.int32),
        np.frombuffer(ids, np.int64) if ids else np.empty(0, np.int64),
        np.frombuffer(ends, np.int64) if ids else np.empty(0, np.int64),
    )
