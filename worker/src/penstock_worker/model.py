"""One decoder for the Qwen3 and Llama families, driven by its config.

Plain tensors and functions, fused projections (q, k, v in one matrix, gate and up in one), keys and values as a list
of per-layer tensors (one big tensor indexed by layer would be copied whole by a compiler). Numerics follow
`transformers` (`modeling_qwen3.py`, `modeling_llama.py`), which is the oracle: norms compute in float32, rotary
tables are made in float32.

Shapes: N tokens of the step, H hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, rms_norm, silu

from penstock_worker.attention import AttentionPlan, LayerCache, attend
from penstock_worker.checkpoint import ModelConfig, Rope


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights of one decoder layer; biases and query/key norms only where the family has them."""

    input_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    q_norm: Tensor | None
    k_norm: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    mlp_norm: Tensor
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None


class Decoder:
    """A loaded model.

    Args:
        config: its shape.
        weights: tensors by checkpoint name, already of the serving dtype and on the device.
        max_model_len: positions the rotary table covers.
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor], *, max_model_len: int) -> None:
        self.config = config
        self.embed = weights["model.embed_tokens.weight"]
        self.head = self.embed if config.tied else weights["lm_head.weight"]
        self.norm = weights["model.norm.weight"]
        self.layers = [_layer(weights, f"model.layers.{number}.") for number in range(config.layers)]
        self.cos, self.sin = _rotary(config.rope, config.head_dim, max_model_len)
        self.cos = self.cos.to(self.embed)
        self.sin = self.sin.to(self.embed)

    def forward(self, ids: Tensor, positions: Tensor, plan: AttentionPlan, caches: Sequence[LayerCache]) -> Tensor:
        """Final hidden states.

        Args:
            ids: token ids [N].
            positions: position of each in its sequence [N].
            plan: the step's attention layout.
            caches: keys and values of each layer; the new ones are written.

        Returns:
            [N, H], before the final norm.
        """
        config = self.config
        q_size, kv_size = config.heads * config.head_dim, config.kv_heads * config.head_dim
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        hidden = embedding(ids, self.embed)
        for layer, cache in zip(self.layers, caches, strict=True):
            x = self._norm(hidden, layer.input_norm)
            q, k, v = torch.split(linear(x, layer.qkv, layer.qkv_bias), [q_size, kv_size, kv_size], dim=-1)
            q, k, v = (part.view(len(ids), -1, config.head_dim) for part in (q, k, v))
            if layer.q_norm is not None and layer.k_norm is not None:
                q, k = self._norm(q, layer.q_norm), self._norm(k, layer.k_norm)
            mixed = attend(plan, cache, _rotate(q, cos, sin), _rotate(k, cos, sin), v)
            hidden = hidden + linear(mixed.reshape(len(ids), q_size), layer.out, layer.out_bias)
            x = self._norm(hidden, layer.mlp_norm)
            gate, up = linear(x, layer.gate_up, layer.gate_up_bias).chunk(2, dim=-1)
            hidden = hidden + linear(silu(gate) * up, layer.down, layer.down_bias)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [rows, vocabulary] in float32 of hidden states [rows, H]."""
        return linear(self._norm(hidden, self.norm), self.head).float()

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return rms_norm(x, weight.shape, weight, self.config.norm_eps)


def _layer(weights: Mapping[str, Tensor], at: str) -> Layer:
    def fused(*names: str, kind: str = "weight") -> Tensor | None:
        found = [weights[f"{at}{name}.{kind}"] for name in names if f"{at}{name}.{kind}" in weights]
        return torch.cat(found) if found else None

    qkv = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    gate_up = ("mlp.gate_proj", "mlp.up_proj")
    fused_qkv, fused_gate_up = fused(*qkv), fused(*gate_up)
    assert fused_qkv is not None
    assert fused_gate_up is not None
    return Layer(
        input_norm=weights[f"{at}input_layernorm.weight"],
        qkv=fused_qkv,
        qkv_bias=fused(*qkv, kind="bias"),
        q_norm=weights.get(f"{at}self_attn.q_norm.weight"),
        k_norm=weights.get(f"{at}self_attn.k_norm.weight"),
        out=weights[f"{at}self_attn.o_proj.weight"],
        out_bias=weights.get(f"{at}self_attn.o_proj.bias"),
        mlp_norm=weights[f"{at}post_attention_layernorm.weight"],
        gate_up=fused_gate_up,
        gate_up_bias=fused(*gate_up, kind="bias"),
        down=weights[f"{at}mlp.down_proj.weight"],
        down_bias=weights.get(f"{at}mlp.down_proj.bias"),
    )


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of [N, heads, D] in the half-split layout of Hugging Face checkpoints."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-high, low), dim=-1) * sin


def _rotary(rope: Rope, head_dim: int, positions: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [positions, D] in float32."""
    frequencies = 1.0 / rope.theta ** (torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim)
    if rope.kind == "linear":
        frequencies = frequencies / rope.factor
    elif rope.kind == "llama3":
        frequencies = _llama3(frequencies, rope)
    angles = torch.outer(torch.arange(positions).float(), frequencies)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def _llama3(frequencies: Tensor, rope: Rope) -> Tensor:
    """Llama 3.1's scaling: long waves are stretched, short ones kept, those between blended.

    Source: `transformers/modeling_rope_utils.py`, `_compute_llama3_parameters`.
    """
    waves = 2 * math.pi / frequencies
    longest = rope.original_max_positions / rope.low_freq_factor
    shortest = rope.original_max_positions / rope.high_freq_factor
    smooth = (rope.original_max_positions / waves - rope.low_freq_factor) / (
        rope.high_freq_factor - rope.low_freq_factor
    )
    blended = (1 - smooth) * frequencies / rope.factor + smooth * frequencies
    scaled = torch.where(waves > longest, frequencies / rope.factor, frequencies)
    return torch.where((waves <= longest) & (waves >= shortest), blended, scaled)
