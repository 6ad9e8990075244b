"""A tiny checkpoint is a real one, and the same options give the same bytes."""

from __future__ import annotations

import hashlib
import json

import pytest
from click.testing import CliRunner

from late import Late
from penstock_lab.model import TinyModel, make_tiny, model

torch, transformers = Late("torch"), Late("transformers")

LLAMA = TinyModel(family="llama", layers=1, seed=4, llama3_rope=True, bias=True, tied=True, shards=2, max_positions=512)
QWEN = TinyModel(layers=1, seed=4, head_dim=8, intermediate=40, bias=True, dtype="bfloat16")


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("spec", [LLAMA, QWEN], ids=["llama", "qwen3"])
def test_transformers_loads_all_of_it_and_nothing_is_missing(tmp_path, spec):
    make_tiny(tmp_path, spec)
    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert loaded.config.model_type == spec.family
    assert loaded.dtype == getattr(torch, spec.dtype)
    assert loaded.config.tie_word_embeddings == spec.tied
    assert (tmp_path / "model.safetensors.index.json").exists() == (spec.shards > 1)


def test_tokenizer_is_one_that_transformers_reads(tmp_path):
    make_tiny(tmp_path, QWEN)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    original = "The gate opens early; naïve € signs survive."
    ids = tokenizer(original)["input_ids"]
    assert tokenizer.decode(ids) == original
    assert len(ids) < len(original.encode())
    assert tokenizer.eos_token_id == 0
    assert max(tokenizer.get_vocab().values()) < QWEN.vocab


def test_same_options_same_bytes(tmp_path):
    make_tiny(tmp_path / "a", LLAMA)
    make_tiny(tmp_path / "b", LLAMA)
    make_tiny(tmp_path / "c", TinyModel(layers=1, seed=5))
    make_tiny(tmp_path / "d", TinyModel(layers=1, seed=6))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    differing = {name for name, digest in digests(tmp_path / "c").items() if digests(tmp_path / "d")[name] != digest}
    assert differing == {"model.safetensors"}


def test_command(tmp_path):
    arguments = ["make-tiny", str(tmp_path), "--family=llama", "--layers=1", "--hidden=32", "--vocab=300", "--seed=3"]
    done = CliRunner().invoke(model, [*arguments, "--heads=2", "--kv-heads=1"])
    assert done.exit_code == 0, done.output
    assert "llama, 1 layers" in done.output
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["hidden_size"], config["vocab_size"], config["num_key_value_heads"]) == (32, 300, 1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--vocab=100"], "vocab must be at least 259"),
        (["--heads=3"], "heads (3) must be a multiple of kv_heads (2)"),
        (["--hidden=66"], "hidden (66) must be a multiple of heads (4)"),
        (["--head-dim=7"], "head_dim (7) must be even"),
        (["--llama3-rope"], "llama3_rope goes with family llama"),
    ],
)
def test_options_that_do_not_fit(tmp_path, flags, message):
    done = CliRunner().invoke(model, ["make-tiny", str(tmp_path), *flags])
    assert done.exit_code == 2
    assert message in done.output
    assert not list(tmp_path.iterdir())
