"""A Hugging Face checkpoint folder, read without torch: architecture, tensor table, end-of-sequence ids.

Everything that can be wrong with a checkpoint is found here, from JSON files and safetensors headers, before torch
is imported: a broken model costs a second and one clear line, not a minute and a traceback. What passes here loads.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from penstock_worker.errors import CheckpointError

ARCHITECTURES: Final = {"Qwen3ForCausalLM": "qwen3", "LlamaForCausalLM": "llama"}
DTYPES: Final = {"F32": 4, "BF16": 2, "F16": 2}
_MAX_HEADER: Final = 100 << 20
_ROPE_TYPES: Final = ("default", "linear", "llama3")


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary embedding; `factor` divides frequencies (linear) or the low ones (llama3)."""

    theta: float
    kind: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 8192


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of one decoder; sizes are counts, `dtype` is the checkpoint's."""

    family: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    max_positions: int
    norm_eps: float
    rope: Rope
    tied: bool
    attention_bias: bool
    mlp_bias: bool
    qk_norm: bool
    dtype: str
    eos_ids: tuple[int, ...]

    def kv_bytes_per_token(self, item_size: int) -> int:
        """Bytes of K and V of one token over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * item_size

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor the decoder needs."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        table: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab, self.hidden)}
        if not self.tied:
            table["lm_head.weight"] = (self.vocab, self.hidden)
        table["model.norm.weight"] = (self.hidden,)
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            table[f"{at}input_layernorm.weight"] = (self.hidden,)
            table[f"{at}post_attention_layernorm.weight"] = (self.hidden,)
            projections = {
                "self_attn.q_proj": (q, self.hidden),
                "self_attn.k_proj": (kv, self.hidden),
                "self_attn.v_proj": (kv, self.hidden),
                "self_attn.o_proj": (self.hidden, q),
                "mlp.gate_proj": (self.intermediate, self.hidden),
                "mlp.up_proj": (self.intermediate, self.hidden),
                "mlp.down_proj": (self.hidden, self.intermediate),
            }
            for name, shape in projections.items():
                table[f"{at}{name}.weight"] = shape
                if self.attention_bias if name.startswith("self_attn") else self.mlp_bias:
                    table[f"{at}{name}.bias"] = shape[:1]
            if self.qk_norm:
                table[f"{at}self_attn.q_norm.weight"] = (self.head_dim,)
                table[f"{at}self_attn.k_norm.weight"] = (self.head_dim,)
        return table


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checked checkpoint: its folder, its shape, and in which file each tensor lies."""

    folder: Path
    config: ModelConfig
    files: dict[str, Path]


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read and check a checkpoint folder.

    Raises:
        CheckpointError: a file is missing, unreadable or truncated, the architecture is not supported, or a
            tensor is missing or of the wrong shape.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "no such folder"
        raise CheckpointError(f"{folder}: {what}; --model takes a Hugging Face checkpoint folder")
    config = _model_config(folder)
    files = _locate(folder)
    tied_head = config.tied and "lm_head.weight"
    headers = {path: _header(path) for path in sorted(set(files.values()))}
    for name, shape in config.tensors().items():
        entry = headers[files[name]].get(name) if name in files else None
        if entry is None:
            raise CheckpointError(f"{folder}: tensor {name} is missing from the weights")
        if tuple(entry["shape"]) != shape:
            raise CheckpointError(
                f"{files[name]}: tensor {name} has shape {list(entry['shape'])}, config.json asks for {list(shape)}"
            )
        if entry["dtype"] not in DTYPES:
            raise CheckpointError(
                f"{files[name]}: tensor {name} is {entry['dtype']}; supported are {', '.join(DTYPES)}"
            )
    wanted = {name: path for name, path in files.items() if name != tied_head}
    return Checkpoint(folder, config, wanted)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def _model_config(folder: Path) -> ModelConfig:
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder}: no config.json; is this a Hugging Face checkpoint folder?")
    raw = _read_json(path)
    names = raw.get("architectures") or []
    family = next((ARCHITECTURES[name] for name in names if name in ARCHITECTURES), None)
    if family is None:
        got = ", ".join(map(str, names)) or "none"
        raise CheckpointError(
            f"{path}: unsupported architecture {got}; supported are {', '.join(sorted(ARCHITECTURES))}"
        )
    _refuse_unsupported(raw, path)
    heads = _count(raw, "num_attention_heads", path)
    hidden = _count(raw, "hidden_size", path)
    kv_heads = _count(raw, "num_key_value_heads", path, default=heads)
    head_dim = _count(raw, "head_dim", path, default=128 if family == "qwen3" else hidden // heads)
    if heads % kv_heads:
        raise CheckpointError(f"{path}: num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}")
    if head_dim % 2:
        raise CheckpointError(f"{path}: head_dim {head_dim} must be even")
    return ModelConfig(
        family=family,
        layers=_count(raw, "num_hidden_layers", path),
        hidden=hidden,
        intermediate=_count(raw, "intermediate_size", path),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=_count(raw, "vocab_size", path),
        max_positions=_count(raw, "max_position_embeddings", path),
        norm_eps=_positive(raw, "rms_norm_eps", path, default=1e-6),
        rope=_rope(raw, path),
        tied=bool(raw.get("tie_word_embeddings", False)),
        attention_bias=bool(raw.get("attention_bias", False)),
        mlp_bias=bool(raw.get("mlp_bias", False)),
        qk_norm=family == "qwen3",
        dtype=str(raw.get("dtype") or raw.get("torch_dtype") or "float32"),
        eos_ids=_eos_ids(raw, folder),
    )


def _refuse_unsupported(raw: dict[str, Any], path: Path) -> None:
    if raw.get("hidden_act", "silu") != "silu":
        raise CheckpointError(f"{path}: hidden_act {raw['hidden_act']!r} is not supported; only silu is")
    if raw.get("use_sliding_window") or "sliding_attention" in (raw.get("layer_types") or []):
        raise CheckpointError(f"{path}: sliding-window attention is not supported")
    if quantization := raw.get("quantization_config"):
        method = quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else quantization
        raise CheckpointError(f"{path}: quantization_config ({method}) is not supported")


def _rope(raw: dict[str, Any], path: Path) -> Rope:
    """Both spellings: `rope_parameters` (transformers 5) and `rope_theta` with `rope_scaling` (before)."""
    scaling = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if not isinstance(scaling, dict):
        raise CheckpointError(f"{path}: rope_scaling must be an object")
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind not in _ROPE_TYPES:
        raise CheckpointError(f"{path}: rope type {kind!r} is not supported; supported are {', '.join(_ROPE_TYPES)}")
    merged = {"rope_theta": raw.get("rope_theta") or 10000.0, **{k: v for k, v in scaling.items() if v is not None}}
    if merged.get("partial_rotary_factor", 1.0) != 1.0:
        raise CheckpointError(f"{path}: partial_rotary_factor {merged['partial_rotary_factor']} is not supported")
    return Rope(
        theta=_positive(merged, "rope_theta", path),
        kind=kind,
        factor=_positive(merged, "factor", path, default=1.0),
        low_freq_factor=_positive(merged, "low_freq_factor", path, default=1.0),
        high_freq_factor=_positive(merged, "high_freq_factor", path, default=4.0),
        original_max_positions=_count(
            merged,
            "original_max_position_embeddings",
            path,
            default=raw.get("max_position_embeddings", 8192),
        ),
    )


def _eos_ids(raw: dict[str, Any], folder: Path) -> tuple[int, ...]:
    """End-of-sequence ids; generation_config.json, which chat models fill, goes before config.json."""
    generation = folder / "generation_config.json"
    value = _read_json(generation).get("eos_token_id") if generation.is_file() else None
    value = raw.get("eos_token_id") if value is None else value
    ids = value if isinstance(value, list) else [] if value is None else [value]
    # Some checkpoints name ids of a bigger tokenizer; the model cannot produce those.
    return tuple(token for token in ids if isinstance(token, int) and 0 <= token < raw["vocab_size"])


def _count(raw: dict[str, Any], key: str, path: Path, *, default: int | None = None) -> int:
    value = raw.get(key)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"{path}: {key} must be a positive integer, got {value!r}")
    return value


def _positive(raw: dict[str, Any], key: str, path: Path, *, default: float | None = None) -> float:
    value = raw.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise CheckpointError(f"{path}: {key} must be a positive number, got {value!r}")
    return float(value)


def _locate(folder: Path) -> dict[str, Path]:
    """File of each tensor, from the sharded index or the single file."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weight_map = _read_json(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise CheckpointError(f"{index}: no weight_map")
        for name in sorted(set(weight_map.values())):
            if not (folder / name).is_file():
                raise CheckpointError(f"{folder}: {name} is missing, {index.name} names it")
        return {tensor: folder / name for tensor, name in weight_map.items()}
    single = folder / "model.safetensors"
    if not single.is_file():
        raise CheckpointError(f"{folder}: no model.safetensors and no model.safetensors.index.json")
    return dict.fromkeys(_header(single), single)


def _header(path: Path) -> dict[str, Any]:
    """The tensor table of a safetensors file; its size is checked against the offsets."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, _MAX_HEADER):
                raise CheckpointError(f"{path}: truncated or not a safetensors file (header of {length} bytes)")
            table = json.loads(file.read(length))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except (struct.error, ValueError) as error:
        raise CheckpointError(f"{path}: truncated or not a safetensors file ({error})") from error
    table.pop("__metadata__", None)
    needed = 8 + length + max((entry["data_offsets"][1] for entry in table.values()), default=0)
    if size < needed:
        raise CheckpointError(f"{path}: truncated, {size} of {needed} bytes; download it again")
    return dict(table)
