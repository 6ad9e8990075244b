"""Runs a step plan on the device: input preparation, forward pass, sampling.

Device state belongs to slots, not to batch rows: the block table has one row a slot and is told of new pages only.
A plan is all that crosses from scheduler to runner, a token a sampling chunk is all that comes back.
"""

from __future__ import annotations

import numpy as np
import torch

from penstock_worker.attention import LayerCache, plan_attention
from penstock_worker.config import EngineConfig
from penstock_worker.model import Decoder
from penstock_worker.sampler import sample
from penstock_worker.scheduler import Chunk, StepPlan


class Runner:
    """Forward passes of one decoder over its paged cache.

    Args:
        decoder: the loaded model.
        config: sizes of the engine.
    """

    def __init__(self, decoder: Decoder, config: EngineConfig) -> None:
        self._decoder = decoder
        self._page_size = config.block_size
        self._device = decoder.embed.device
        most_pages = -(-config.max_model_len // config.block_size)
        self._table = np.zeros((config.max_num_seqs, most_pages), dtype=np.int64)
        shape = (config.kv_pages + 1, config.block_size, decoder.config.kv_heads, decoder.config.head_dim)
        self._caches = [self._cache(shape) for _ in range(decoder.config.layers)]

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> list[int]:
        """Compute the plan's chunks.

        Returns:
            One token for each chunk with `samples`, in the plan's order.
        """
        for chunk in plan.chunks:
            end = chunk.page_offset + len(chunk.new_pages)
            self._table[chunk.slot, chunk.page_offset : end] = chunk.new_pages
        order = sorted(range(len(plan.chunks)), key=lambda number: _row_order(plan.chunks[number]))
        chunks = [plan.chunks[number] for number in order]
        ids, positions = self._inputs(chunks)
        layout = plan_attention(
            self._table[:, : -(-max(chunk.end for chunk in chunks) // self._page_size)][
                [chunk.slot for chunk in chunks]
            ],
            [chunk.start for chunk in chunks],
            [chunk.count for chunk in chunks],
            page_size=self._page_size,
            device=self._device,
        )
        hidden = self._decoder.forward(ids, positions, layout, self._caches)
        return self._sample(hidden, plan, chunks)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Run once on the padding page, so that the first request does not pay for lazy initialisation."""
        layout = plan_attention(self._table[:1], [0], [2], page_size=self._page_size, device=self._device)
        ids = torch.zeros(2, dtype=torch.int64, device=self._device)
        self._decoder.logits(self._decoder.forward(ids, ids, layout, self._caches))

    def _inputs(self, chunks: list[Chunk]) -> tuple[torch.Tensor, torch.Tensor]:
        ids: list[int] = []
        positions: list[int] = []
        for chunk in chunks:
            ids.extend(chunk.request.tokens[chunk.start : chunk.end])
            positions.extend(range(chunk.start, chunk.end))
        return torch.tensor(ids, device=self._device), torch.tensor(positions, device=self._device)

    def _sample(self, hidden: torch.Tensor, plan: StepPlan, chunks: list[Chunk]) -> list[int]:
        ends = np.cumsum([chunk.count for chunk in chunks])
        rows = {id(chunk): int(end) - 1 for chunk, end in zip(chunks, ends, strict=True)}
        sampling = [chunk for chunk in plan.chunks if chunk.samples]
        if not sampling:
            return []
        last = torch.tensor([rows[id(chunk)] for chunk in sampling], device=self._device)
        return sample(self._decoder.logits(hidden[last]), [chunk.request for chunk in sampling])

    def _cache(self, shape: tuple[int, ...]) -> LayerCache:
        """Zeroed keys and values; on a CPU the kernel maps their memory when it is first written."""
        dtype = self._decoder.embed.dtype
        if self._device.type != "cpu":
            return torch.zeros(shape, dtype=dtype, device=self._device), torch.zeros(
                shape, dtype=dtype, device=self._device
            )
        item = np.float32 if dtype == torch.float32 else np.uint16
        keys, values = (torch.from_numpy(np.zeros(shape, dtype=item)).view(dtype) for _ in range(2))
        return keys, values


def _row_order(chunk: Chunk) -> tuple[bool, int]:
    """One-token rows first, longest context first."""
    return (chunk.count > 1, -chunk.end)
