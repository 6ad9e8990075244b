"""What a real worker process exports is what the contract's tables say: names, types, labels, buckets."""

from __future__ import annotations

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from penstock_contract.metrics import LATENCY_BUCKETS, VLLM, WORKER
from penstock_contract.names import HEADER_QUEUE_WAIT, HEADER_TPOT, HEADER_TTFT
from worker_process import WorkerProcess, parse_samples

TABLE = (*WORKER, *VLLM)
REASONS = {"stop", "length", "abort", "error"}


@pytest.fixture(scope="module")
def exposed(tmp_path_factory, tiny):
    """Expositions while loading and after three requests, and the answer to one of them."""
    folder = tmp_path_factory.mktemp("conformance")
    with WorkerProcess(f"--model={tiny}", "--served-model-name=tiny", "--max-num-seqs=8", folder=folder) as worker:
        worker.wait_listening()
        loading = requests.get(f"{worker.url}/metrics", timeout=30)
        assert worker.status("/ready") == 503, "scraped too late to see it loading"
        worker.wait_ready()
        bodies = [{"prompt": [5] * 30, "max_tokens": count, "ignore_eos": True} for count in (1, 15, 20)]
        answers = [worker.complete(**body) for body in bodies]
        served = requests.get(f"{worker.url}/metrics", timeout=30)
        yield {"loading": loading, "served": served, "answer": answers[-1]}


@pytest.fixture(params=["loading", "served"])
def exposition(request, exposed):
    return exposed[request.param]


def test_every_family_is_there_with_its_type_help_and_nothing_else(exposition):
    families = {family.name: family for family in text_string_to_metric_families(exposition.text)}
    for metric in TABLE:
        family = families.pop(metric.name.removesuffix("_total"))
        assert (family.type, family.documentation) == (metric.kind, metric.help)
    assert not families
    assert exposition.headers["Content-Type"].startswith("text/plain")


def test_labels_are_those_of_the_table(exposition):
    families = {family.name: family for family in text_string_to_metric_families(exposition.text)}
    for metric in TABLE:
        for sample in families[metric.name.removesuffix("_total")].samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


def test_labelled_series_exist_before_they_count(exposition):
    samples = parse_samples(exposition.text)
    finished = {dict(labels)["reason"] for name, labels in samples if name == "penstock_worker_requests_finished_total"}
    succeeded = {dict(labels)["finished_reason"] for name, labels in samples if name == "vllm:request_success_total"}
    assert finished == succeeded == REASONS
    assert {dict(labels)["model_name"] for name, labels in samples if name.startswith("vllm:")} == {"tiny"}


def test_histograms_have_the_shared_buckets_and_add_up(exposition):
    samples = parse_samples(exposition.text)
    for metric in TABLE:
        if metric.kind != "histogram":
            continue
        buckets = {
            float(dict(labels)["le"]): value
            for (name, labels), value in samples.items()
            if name == f"{metric.name}_bucket"
        }
        assert sorted(buckets) == [*LATENCY_BUCKETS, float("inf")]
        assert sorted(buckets.values()) == [buckets[bound] for bound in sorted(buckets)]
        (count,) = (value for (name, _labels), value in samples.items() if name == f"{metric.name}_count")
        assert buckets[float("inf")] == count


def test_counters_start_at_zero(exposed):
    samples = parse_samples(exposed["loading"].text)
    counters = {metric.name for metric in TABLE if metric.kind == "counter"}
    counters |= {f"{metric.name}_{part}" for metric in TABLE if metric.kind == "histogram" for part in ("count", "sum")}
    assert {name: value for (name, _labels), value in samples.items() if name in counters and value} == {}
    assert {name for name, _labels in samples} >= counters


def test_three_requests_are_counted(exposed):
    samples = parse_samples(exposed["served"].text)

    def own(name: str, **labels: str) -> float:
        return samples[f"penstock_worker_{name}", tuple(sorted(labels.items()))]

    assert own("requests_arrived_total") == own("requests_finished_total", reason="length") == 3
    assert own("prompt_tokens_total") == 90
    assert own("prompt_tokens_cached_total") == 32  # one full page of 16, found twice
    assert own("prefill_tokens_computed_total") == 58
    assert own("prefill_token_length_total") == 58 * 30
    assert own("generated_tokens_total") == 36
    assert own("decode_sequence_steps_total") == own("engine_steps_total") - 3 == 33
    # A sequence of 30 tokens decodes with 31, 32, … tokens of context.
    assert own("kv_token_steps_total") == sum(range(31, 45)) + sum(range(31, 50))
    assert own("recomputed_tokens_total") == own("preemptions_total") == own("emulated_step_overruns_total") == 0
    assert own("time_to_first_token_seconds_count") == own("queue_wait_seconds_count") == own("e2e_seconds_count") == 3
    assert own("inter_token_latency_seconds_count") == 33
    assert own("time_per_output_token_seconds_count") == 1  # of three, one has the 16 tokens it takes
    assert own("emulated_info", profile="") == own("draining") == own("kv_tokens_used") == 0
    assert own("engine_step_seconds_total") > 0
    assert own("kv_tokens_capacity") > 0
    vllm = (("model_name", "tiny"),)
    assert samples["vllm:prompt_tokens_total", vllm] == 90
    assert samples["vllm:generation_tokens_total", vllm] == 36


def test_whole_replies_carry_durations(exposed):
    headers = exposed["answer"].headers
    wait, first, pace = (float(headers[name]) for name in (HEADER_QUEUE_WAIT, HEADER_TTFT, HEADER_TPOT))
    assert 0 <= wait <= first
    assert pace > 0
