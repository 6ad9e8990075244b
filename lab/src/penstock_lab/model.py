"""`penstock model`: small seeded checkpoints, so that nothing is downloaded for a demo or a test.

A tiny model is a complete Hugging Face checkpoint of a real architecture: the configuration comes from transformers'
classes, the weights from a seeded generator, the byte-level BPE tokenizer from a built-in text. Same arguments, same
bytes. Weights are scaled so that every layer matters and greedy output does not collapse into one repeated token,
as it would with the usual small initialisation.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    import torch

FAMILIES: Final = ("qwen3", "llama")
SPECIAL_TOKENS: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_CHAT_TEMPLATE: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_TEXT: Final = (
    "A penstock is the gate that meters water into a turbine. The reservoir behind the dam holds what the rain "
    "brought, and the gate decides how much of it runs through the pipe at any hour. Too little, and the lights "
    "go out; too much, and the water that is needed tomorrow is gone today. The keeper of the gate watches the "
    "level, the load and the weather, and opens early rather than late, because a wheel takes its time to turn. "
    "When the evening comes and the town goes to sleep, the gate closes step by step, and the reservoir fills "
    "again. Nobody thanks the keeper for the light that did not fail, but everybody knows the name of the night "
    "when it did. "
)
# What a byte-level tokenizer writes for each byte: printable ones as themselves, the others shifted (GPT-2's table).
_PRINTABLE: Final = (*range(33, 127), *range(161, 173), *range(174, 256))


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyModel:
    """Shape of a tiny checkpoint; sizes are counts.

    Attributes:
        family: qwen3 or llama.
        head_dim: size of one head; default hidden / heads.
        llama3_rope: Llama 3.1's rotary scaling (llama only).
        tied: output head shares the embedding.
        bias: attention (and, for llama, MLP) projections have biases.
        shards: weight files; more than one brings an index.
        tokenizer: write tokenizer files and a chat template.
    """

    family: str = "qwen3"
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int | None = None
    intermediate: int | None = None
    vocab: int = 512
    max_positions: int = 32768
    seed: int = 0
    dtype: str = "float32"
    llama3_rope: bool = False
    tied: bool = False
    bias: bool = False
    shards: int = 1
    tokenizer: bool = True

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {self.family!r}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.head_dim is None and self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads}), or give head_dim")
        if self.size_of_head % 2:
            raise ValueError(f"head_dim ({self.size_of_head}) must be even")
        least = 256 + len(SPECIAL_TOKENS)
        if self.tokenizer and self.vocab < least:
            raise ValueError(f"vocab must be at least {least} (256 bytes and {len(SPECIAL_TOKENS)} special tokens)")
        if self.llama3_rope and self.family != "llama":
            raise ValueError("llama3_rope goes with family llama")

    @property
    def size_of_head(self) -> int:
        """Head size in elements."""
        return self.head_dim or self.hidden // self.heads

    @property
    def size_of_mlp(self) -> int:
        """Intermediate size of the MLP."""
        return self.intermediate or 3 * self.hidden


def make_tiny(folder: Path, spec: TinyModel) -> None:
    """Write the checkpoint into a folder, which is made if needed; files of the same names are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_model(folder, spec)
    if spec.tokenizer:
        _write_tokenizer(folder, spec)
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)  # written 0600, but a worker may run as another user


@click.group()
def model() -> None:
    """Make small seeded model checkpoints."""


@model.command("make-tiny")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--family", type=click.Choice(FAMILIES), default="qwen3", show_default=True)
@click.option("--hidden", type=click.IntRange(min=2), default=64, show_default=True, help="Hidden size.")
@click.option("--layers", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--heads", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--kv-heads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--head-dim", type=click.IntRange(min=2), default=None, help="Default: hidden / heads.")
@click.option("--intermediate", type=click.IntRange(min=1), default=None, help="MLP size. Default: 3 x hidden.")
@click.option("--vocab", type=click.IntRange(min=8), default=512, show_default=True, help="Vocabulary size.")
@click.option("--max-positions", type=click.IntRange(min=16), default=32768, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--llama3-rope", is_flag=True, help="Llama 3.1 rotary scaling (family llama).")
@click.option("--tied", is_flag=True, help="Tie the output head to the embedding.")
@click.option("--bias", is_flag=True, help="Give the projections biases.")
@click.option("--shards", type=click.IntRange(min=1), default=1, show_default=True, help="Weight files.")
@click.option("--tokenizer/--no-tokenizer", default=True, show_default=True)
def _make_tiny(folder: Path, **fields: Any) -> None:
    """Write a small seeded checkpoint into FOLDER; the same options give the same bytes."""
    try:
        spec = TinyModel(**fields)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    make_tiny(folder, spec)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    click.echo(f"{folder}: {spec.family}, {spec.layers} layers, {size / 1e6:.1f} MB of weights, seed {spec.seed}")


def _write_model(folder: Path, spec: TinyModel) -> None:
    # Imported here: `penstock --help` loads this module and must not wait for torch.
    from safetensors.torch import save_file  # noqa: PLC0415
    from transformers import GenerationConfig  # noqa: PLC0415

    config = _config(spec)
    config.architectures = ["Qwen3ForCausalLM" if spec.family == "qwen3" else "LlamaForCausalLM"]
    config.dtype = spec.dtype
    config.save_pretrained(folder)
    GenerationConfig(eos_token_id=config.eos_token_id).save_pretrained(folder)
    weights = _weights(_shapes(spec), spec)
    names = sorted(weights)
    if spec.shards == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map = {}
    for shard in range(spec.shards):
        file = f"model-{shard + 1:05d}-of-{spec.shards:05d}.safetensors"
        part = {name: weights[name] for name in names[shard :: spec.shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    total = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    _write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def _config(spec: TinyModel) -> Any:
    """The configuration object of the family."""
    from transformers import LlamaConfig, Qwen3Config  # noqa: PLC0415 - see `_write_model`

    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
    if spec.llama3_rope:
        rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0}
        rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": max(8, spec.max_positions // 8)}
    biases = {"mlp_bias": spec.bias} if spec.family == "llama" else {}
    return (Qwen3Config if spec.family == "qwen3" else LlamaConfig)(
        vocab_size=spec.vocab,
        hidden_size=spec.hidden,
        intermediate_size=spec.size_of_mlp,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.size_of_head,
        max_position_embeddings=spec.max_positions,
        rope_parameters=rope,
        tie_word_embeddings=spec.tied,
        attention_bias=spec.bias,
        bos_token_id=None,
        eos_token_id=0,
        **biases,
    )


def _shapes(spec: TinyModel) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the family's tensors; written out, since asking the model class costs ten seconds."""
    q, kv = spec.heads * spec.size_of_head, spec.kv_heads * spec.size_of_head
    attention = {"q_proj": (q, spec.hidden), "k_proj": (kv, spec.hidden), "v_proj": (kv, spec.hidden)}
    attention["o_proj"] = (spec.hidden, q)
    mlp = {"gate_proj": (spec.size_of_mlp, spec.hidden), "up_proj": (spec.size_of_mlp, spec.hidden)}
    mlp["down_proj"] = (spec.hidden, spec.size_of_mlp)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (spec.vocab, spec.hidden)}
    shapes["model.norm.weight"] = (spec.hidden,)
    if not spec.tied:
        shapes["lm_head.weight"] = (spec.vocab, spec.hidden)
    for layer in range(spec.layers):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.{norm}.weight": (spec.hidden,) for norm in ("input_layernorm", "post_attention_layernorm")}
        shapes |= {f"{at}.self_attn.{name}.weight": shape for name, shape in attention.items()}
        shapes |= {f"{at}.mlp.{name}.weight": shape for name, shape in mlp.items()}
        if spec.bias:
            shapes |= {f"{at}.self_attn.{name}.bias": shape[:1] for name, shape in attention.items()}
        if spec.bias and spec.family == "llama":
            shapes |= {f"{at}.mlp.{name}.bias": shape[:1] for name, shape in mlp.items()}
        if spec.family == "qwen3":
            shapes |= {f"{at}.self_attn.{norm}.weight": (spec.size_of_head,) for norm in ("q_norm", "k_norm")}
    return shapes


def _weights(shapes: dict[str, tuple[int, ...]], spec: TinyModel) -> dict[str, torch.Tensor]:
    """Seeded tensors: matrices keep the variance of their input, norms and biases are near 1 and 0."""
    import torch  # noqa: PLC0415 - see `_write_model`

    generator = torch.Generator().manual_seed(spec.seed)
    weights = {}
    for name in sorted(shapes):
        drawn = torch.randn(shapes[name], generator=generator)
        if name.endswith("bias"):
            drawn = drawn * 0.1
        elif drawn.ndim == 1:
            drawn = 1 + 0.1 * drawn
        elif "embed_tokens" not in name:  # those feed a norm
            drawn = drawn * (1.5 / math.sqrt(drawn.shape[1]))
        weights[name] = drawn.to(getattr(torch, spec.dtype)).contiguous()
    return weights


def _write_tokenizer(folder: Path, spec: TinyModel) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: PLC0415 - see `_write_model`

    vocab, merges = _train_bpe(spec.vocab)
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": SPECIAL_TOKENS[0],
        "model_max_length": spec.max_positions,
        "clean_up_tokenization_spaces": False,
        "chat_template": _CHAT_TEMPLATE,
    }
    _write_json(folder / "tokenizer_config.json", settings)


def _train_bpe(size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-pair vocabulary of at most `size` entries, special tokens first; ties go to the smaller pair."""
    symbols = _byte_symbols()
    vocab = {token: number for number, token in enumerate((*SPECIAL_TOKENS, *symbols))}
    merges: list[tuple[str, str]] = []
    words = Counter((" " + word) for word in _TEXT.split())
    split = {word: [symbols[byte] for byte in word.encode()] for word in words}
    while len(vocab) < size:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in zip(split[word], split[word][1:], strict=False):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        vocab.setdefault("".join(best), len(vocab))
        split = {word: _merge(parts, best) for word, parts in split.items()}
    return vocab, merges


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def _byte_symbols() -> list[str]:
    """The character that stands for each byte."""
    shifted = iter(range(256, 512))
    return [chr(byte) if byte in _PRINTABLE else chr(next(shifted)) for byte in range(256)]


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
