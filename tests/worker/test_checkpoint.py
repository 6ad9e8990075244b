"""A checkpoint that cannot work is refused with one line that names file and fix, before torch is imported."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys

import pytest

from penstock_worker.checkpoint import open_checkpoint
from penstock_worker.cli import run
from penstock_worker.config import ServeOptions, derive
from penstock_worker.errors import CheckpointError, ConfigError


@pytest.fixture
def folder(qwen, tmp_path):
    return shutil.copytree(qwen, tmp_path / "m")


@pytest.fixture
def sharded(llama, tmp_path):
    return shutil.copytree(llama, tmp_path / "m")


def edit(path, **fields):
    data = json.loads(path.read_text())
    data.update(fields)
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))


def header(path, change):
    """Rewrite the tensor table of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    table = json.loads(content[8 : 8 + length])
    change(table)
    encoded = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "unsupported architecture GPT2LMHeadModel; supported are"),
        ({"architectures": None}, "unsupported architecture none"),
        ({"hidden_size": "64"}, "hidden_size must be a positive integer, got '64'"),
        ({"num_hidden_layers": ...}, "num_hidden_layers must be a positive integer, got None"),
        ({"rms_norm_eps": -1}, "rms_norm_eps must be a positive number"),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is no multiple of num_key_value_heads 3"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"use_sliding_window": True}, "sliding-window attention is not supported"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config (gptq) is not supported"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope type 'yarn' is not supported"),
        ({"num_hidden_layers": 3}, "tensor model.layers.2.input_layernorm.weight is missing"),
        ({"intermediate_size": 100}, "shape [192, 64], config.json asks for [100, 64]"),
    ],
)
def test_configuration_that_does_not_fit(folder, fields, message):
    edit(folder / "config.json", **fields)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is not a folder"):
        open_checkpoint(folder / "config.json")
    (folder / "config.json").rename(folder / "aside.json")
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        open_checkpoint(folder)
    (folder / "aside.json").rename(folder / "config.json")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors and no"):
        open_checkpoint(folder)


def test_missing_shard_is_named(sharded):
    (sharded / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00003\.safetensors is missing"):
        open_checkpoint(sharded)


def test_broken_weights_are_named(folder):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    for broken in (b"", content[:4], b"\xff" * 100, content[:100], content[:-4]):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="truncated"):
            open_checkpoint(folder)
    path.write_bytes(content)
    header(path, lambda table: table["lm_head.weight"].update(dtype="I8"))
    with pytest.raises(CheckpointError, match=r"lm_head\.weight is I8; supported are F32, BF16, F16"):
        open_checkpoint(folder)


def test_json_that_is_none(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not JSON"):
        open_checkpoint(folder)


def test_older_spellings_mean_the_same(llama, tmp_path):
    folder = shutil.copytree(llama, tmp_path / "m")
    new = open_checkpoint(folder).config
    raw = json.loads((folder / "config.json").read_text())
    rope = raw.pop("rope_parameters")
    raw["torch_dtype"] = raw.pop("dtype")
    raw["rope_theta"] = rope.pop("rope_theta")
    raw["rope_scaling"] = rope
    (folder / "config.json").write_text(json.dumps(raw))
    assert open_checkpoint(folder).config == new
    assert new.rope.kind == "llama3"


def test_end_of_sequence_ids_come_from_the_generation_config(folder):
    edit(folder / "config.json", eos_token_id=5)
    edit(folder / "generation_config.json", eos_token_id=[1, 2])
    assert open_checkpoint(folder).config.eos_ids == (1, 2)
    (folder / "generation_config.json").unlink()
    assert open_checkpoint(folder).config.eos_ids == (5,)


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["--model={model}/nope"], 1, "{model}/nope: no such folder; --model takes a Hugging Face checkpoint folder"),
        ([], 2, "Missing option '--model'."),
        (["--model={model}", "--port=x"], 2, "Invalid value for '--port': 'x' is not a valid integer range."),
        (["--model={model}", "--dtype=int3"], 2, "Invalid value for '--dtype'"),
        (["--model={model}", "--nope"], 2, "No such option '--nope'."),
        (["--model={model}", "--max-model-len=4096"], 1, "--max-model-len 4096 exceeds"),
        (["--model={model}", "--max-num-seqs=64", "--max-num-batched-tokens=8"], 1, "--max-num-batched-tokens 8"),
        (["--model={model}", "--kv-cache-tokens=64", "--max-model-len=128"], 1, "the KV cache holds 64 tokens"),
        (["--model={model}", "--tensor-parallel-size=2"], 1, "--tensor-parallel-size 2"),
        (["--model={model}", "--emulate-device=nope"], 1, "--emulate-device: nope: no such file"),
    ],
)
def test_command_line_mistakes_are_one_line(qwen, capfd, arguments, status, line):
    assert run(["serve", *[argument.format(model=qwen) for argument in arguments]]) == status
    error = capfd.readouterr().err.splitlines()
    assert error[-1].startswith(f"penstock-worker: error: {line.format(model=qwen)}")
    assert not any("Traceback" in each for each in error)


def test_a_process_exits_with_the_line_and_without_torch(tmp_path):
    code = (
        "import sys; from penstock_worker.cli import run; status = run(sys.argv[1:]);"
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", f"--model={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"penstock-worker: error: {tmp_path}: no config.json; is this a Hugging Face checkpoint folder?\n"
    )


def test_sizes_come_from_flag_then_profile_then_default(qwen, slow_profile):
    model = open_checkpoint(qwen).config
    fixed = {"model": qwen, "host": "127.0.0.1", "port": 1, "admin_port": 2}

    plain = derive(ServeOptions(**fixed), model, None, 1 << 30)
    assert (plain.max_num_seqs, plain.max_num_batched_tokens, plain.max_model_len) == (256, 2048, 2048)
    assert plain.dtype == "float32"
    small = derive(ServeOptions(**fixed), model, None, 512 * 1000)
    assert small.kv_tokens == 992  # 512 bytes a token: 2 layers, 2 heads of 16, keys and values in 4 bytes
    assert small.max_model_len == 992
    emulated = derive(ServeOptions(**fixed), model, slow_profile, 1 << 30)
    assert (emulated.max_num_seqs, emulated.max_num_batched_tokens, emulated.kv_tokens) == (8, 512, 8192)
    assert emulated.threads == 1
    flags = ServeOptions(**fixed, max_num_seqs=4, max_num_batched_tokens=64, kv_cache_tokens=4096, max_model_len=100)
    both = derive(flags, model, slow_profile, 1 << 30)
    assert (both.max_num_seqs, both.max_num_batched_tokens) == (4, 64)
    assert (both.kv_tokens, both.max_model_len) == (4096, 100)
    with pytest.raises(ConfigError, match="--kv-cache-tokens"):
        derive(ServeOptions(**fixed, kv_cache_tokens=8), model, None, 1 << 30)
