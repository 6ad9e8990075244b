"""Against the real worker on an emulated device whose pace is known: 20 ms a step, four requests at once."""

from __future__ import annotations

import csv
import json

import pytest
from click.testing import CliRunner

from penstock_lab.load.cli import load

STEP_SECONDS = 0.02
CAPACITY = 4 / STEP_SECONDS  # output tokens/s


def invoke(*arguments):
    return CliRunner(env={"OPENAI_API_KEY": None}).invoke(load, [str(each) for each in arguments])


def test_ids_are_sent_and_counted(worker, tmp_path):
    before = worker.scrape()
    found = invoke(
        "--url", worker.url, "--rate", 6, "--duration", 4, "--warmup", 1, "--prompt-tokens", "8:40",
        "--output-tokens", 20, "--ttft", "30s", "--tpot", "5s", "--out", tmp_path, "--save-requests", "--drain", "60s",
    )  # fmt: skip
    assert found.exit_code in (0, 3), found.output  # 3: the machine was too busy for the generator
    report = json.loads((tmp_path / "result.json").read_text())
    requests, meta = report["requests"], report["meta"]
    assert (requests["failed"], requests["refused"], requests["not_sent"]) == (0, 0, 0)
    assert requests["answered"] == requests["measured"] < requests["sent"]
    assert (meta["prompt_as"], meta["context"]) == ("ids", 1024)
    assert meta["tokens_counted_by"] == {"token_ids": requests["sent"]}
    # No token comes faster than a step, except that reading may melt two chunks together.
    assert report["latency"]["ttft_seconds"]["min"] >= STEP_SECONDS * 0.9
    assert report["latency"]["tpot_seconds"]["p50"] >= STEP_SECONDS * 0.9
    assert report["latency"]["itl_seconds"]["count"] <= requests["measured"] * 19
    assert report["latency"]["tpot_seconds"]["count"] == requests["measured"]
    rows = list(csv.DictReader((tmp_path / "requests.csv").read_text().splitlines()))
    assert {row["output_tokens"] for row in rows} == {"20"}
    sent = sum(int(row["prompt_tokens"]) for row in rows)
    name = ("vllm:prompt_tokens_total", (("model_name", "tiny"),))
    grown = [value - before.get(key, 0) for key, value in worker.scrape().items() if key[0] == name[0]]
    assert sum(grown) == sent + 16 + 144  # the two probes


@pytest.mark.parametrize(("endpoint", "prompt_as"), [("chat", "auto"), ("completions", "text")])
def test_text_has_about_the_length_asked_for(worker, tmp_path, endpoint, prompt_as):
    found = invoke(
        "--url", worker.url, "--endpoint", endpoint, "--prompt-as", prompt_as, "--arrivals", "constant", "--rate", 10,
        "--duration", 1, "--prompt-tokens", 120, "--output-tokens", 4, "--out", tmp_path, "--save-requests", "--quiet",
    )  # fmt: skip
    assert found.exit_code in (0, 3), found.output
    rows = list(csv.DictReader((tmp_path / "requests.csv").read_text().splitlines()))
    assert [row["end"] for row in rows] == ["answered"] * 10
    assert {row["output_tokens"] for row in rows} == {"4"}
    lengths = [int(row["prompt_tokens"]) for row in rows]
    assert 90 < sum(lengths) / len(lengths) < 150
    meta = json.loads((tmp_path / "result.json").read_text())["meta"]
    assert meta["prompt_as"] == "text"
    assert any("tokens, a prompt" in note for note in meta["notes"])


def test_lengths_are_cut_to_the_models_context(worker, tmp_path):
    found = invoke(
        "--url", worker.url, "--arrivals", "constant", "--rate", 4, "--duration", 1, "--prompt-tokens", 5000,
        "--output-tokens", 5, "--out", tmp_path, "--quiet",
    )  # fmt: skip
    report = json.loads((tmp_path / "result.json").read_text())
    assert found.exit_code in (0, 3), found.output
    assert report["requests"]["answered"] == 4
    assert report["meta"]["workload"]["shortened_to_fit"] == 4


@pytest.mark.slow
def test_a_sweep_finds_the_knee(worker, tmp_path):
    """Ten tokens a request: the device carries 20 requests/s, and what is above waits longer and longer."""
    found = invoke(
        "--url", worker.url, "--arrivals", "constant", "--sweep", "8,60", "--sweep-steps", 4, "--duration", 3,
        "--warmup", "500ms", "--prompt-tokens", 8, "--output-tokens", 10, "--ttft", "1s", "--attainment", 0.9,
        "--max-lag", "2s", "--out", tmp_path,
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    sweep = json.loads((tmp_path / "sweep.json").read_text())
    knee = sweep["knee"]["requests_per_second"]
    assert CAPACITY / 10 / 2.5 <= knee <= CAPACITY / 10 * 1.5, found.output
    assert [step["requests_per_second"] for step in sweep["steps"]] == sorted({8, 60, 34, *_rates(sweep)})
    assert "Knee: " in found.output
    assert f"{sweep['knee']['missed_at_requests_per_second']:g} requests/s missed" in sweep["knee"]["explanation"]
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def _rates(sweep):
    return [step["requests_per_second"] for step in sweep["steps"]]
