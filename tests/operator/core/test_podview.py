"""What pages of pods tell, by the table of every engine."""

from collections.abc import Mapping
from typing import Any

import pytest

from penstock_contract.metrics import WORKER
from penstock_operator.adapters.workers import samples_of
from penstock_operator.core.enginemetrics import KINDS, METRICS
from penstock_operator.core.podview import Page, Round, page, view, wanted
from penstock_operator.core.scaling.signals import QUERIES, View

KEY = ("team-a", "chat")
NOW = 1000.0


def read(engine: str, text: str, *, at: float) -> Page | None:
    return page(engine, samples_of(text, wanted(engine)), at=at)


def ours(requests: float, *, running: float = 2.0, **more: float) -> str:
    values = dict.fromkeys(wanted("Penstock"), requests) | {
        "penstock_worker_requests_waiting": 1.0,
        "penstock_worker_requests_running": running,
    }
    return "".join(f"{name} {value}\n" for name, value in (values | more).items())


def pages(*counts: float, every: float = 5.0, engine: str = "Penstock", before: float = 0.0) -> tuple[Page, ...]:
    """Pages with these counts, the last one `before` seconds ago."""
    found = [
        read(engine, ours(count), at=NOW - before - every * (len(counts) - 1 - number))
        for number, count in enumerate(counts)
    ]
    return tuple(one for one in found if one is not None)


def seen(of: Mapping[str, tuple[Page, ...]], *answered: str, window: float = 20.0, now: float = NOW) -> View | None:
    return view(KEY, "Penstock", Round(NOW, of, frozenset(answered)), window_seconds=window, now=now)


def value(found: View | None, kind: str) -> float | None:
    assert found is not None
    answer: Any = found.answers[kind]
    return answer.get(KEY)


def test_everything_that_is_asked_of_our_worker_is_exported() -> None:
    exported = {metric.name for metric in WORKER}
    assert wanted("Penstock") <= exported


def test_rates_are_summed_over_pods_and_gauges_are_as_they_are() -> None:
    found = seen({"a": pages(0, 10, 20, 30, 40), "b": pages(0, 5, 10, 15, 20)}, "a", "b")
    assert found is not None
    assert set(found.answers) == set(QUERIES)
    assert found.error is None
    assert value(found, "arrivals") == value(found, "steps") == pytest.approx(3.0)
    assert (value(found, "waiting"), value(found, "running"), value(found, "reporting")) == (2.0, 4.0, 2.0)
    assert (value(found, "age"), found.window_seconds) == (0.0, 20.0)
    assert value(seen({"a": pages(0, 10, 20)}, "a", now=NOW + 7.0), "age") == 7.0


def test_a_counter_that_falls_began_again_at_zero() -> None:
    assert value(seen({"a": pages(100, 110, 4, 14, 24)}, "a"), "arrivals") == pytest.approx((10 + 4 + 10 + 10) / 20)


def test_a_pod_that_misses_a_round_keeps_its_rate_and_does_not_report() -> None:
    found = seen({"a": pages(0, 10, 20, 30), "b": pages(0, 10, 20, before=5.0)}, "a")
    assert value(found, "arrivals") == pytest.approx(4.0)
    assert (value(found, "reporting"), value(found, "running")) == (1.0, 2.0)


def test_a_pod_without_a_rate_does_not_report() -> None:
    found = seen({"a": pages(0, 10, 20), "new": pages(7)}, "a", "new")
    assert (value(found, "reporting"), value(found, "arrivals")) == (1.0, pytest.approx(2.0))


def test_pages_older_than_the_window_say_nothing() -> None:
    assert value(seen({"a": pages(0, 1000, 1010, 1020)}, "a", window=10.0), "arrivals") == pytest.approx(2.0)


def test_too_little_is_nothing() -> None:
    """Half a window of pages at least, of pods that still answer."""
    assert seen({"a": pages(0, 10, every=9.0)}, "a") is None
    assert seen({"a": pages(0, 10, every=10.0)}, "a") is not None
    assert seen({"a": pages(0, 10, 20, before=5.0)}) is None
    assert seen({}) is None


def test_a_page_of_something_else_is_none() -> None:
    assert read("Penstock", "up 1\n", at=NOW) is None
    assert read("Penstock", "penstock_worker_requests_waiting NaN\n", at=NOW) is None
    assert read("VLLM", ours(1), at=NOW) is None
    copied = 'vllm:num_requests_waiting{model_name="chat"} 1\n'  # our worker exports vLLM's names as well
    assert read("VLLM", copied, at=NOW) is None
    assert read("VLLM", copied.replace("{", '{engine="0",'), at=NOW) is not None


def vllm(step: int) -> str:
    """Of an engine that in each 5 s starts 10 requests, ends 9, makes 50 steps and 200 gaps of 20 ms."""
    labels = 'engine="0",model_name="chat"'
    lines = {
        f"vllm:num_requests_running{{{labels}}}": 3 + step,
        f"vllm:num_requests_waiting{{{labels}}}": 0,
        f'vllm:request_success_total{{{labels},finished_reason="stop"}}': 5 * step,
        f'vllm:request_success_total{{{labels},finished_reason="length"}}': 4 * step,
        f"vllm:prompt_tokens_total{{{labels}}}": 1000 * step,
        f"vllm:prefix_cache_hits_total{{{labels}}}": 400 * step,
        f"vllm:generation_tokens_total{{{labels}}}": 210 * step,
        f"vllm:iteration_tokens_total_count{{{labels}}}": 50 * step,
        f"vllm:inter_token_latency_seconds_count{{{labels}}}": 200 * step,
        f"vllm:inter_token_latency_seconds_sum{{{labels}}}": 4 * step,
        f"vllm:kv_cache_usage_perc{{{labels}}}": 0.25,
    }
    return "".join(f"{name} {number}\n" for name, number in lines.items())


def test_another_engine_by_its_own_formulas() -> None:
    read_pages = tuple(one for step in range(3) if (one := read("VLLM", vllm(step), at=NOW - 10.0 + 5.0 * step)))
    found = view(KEY, "VLLM", Round(NOW, {"a": read_pages}, frozenset("a")), window_seconds=10.0, now=NOW)
    expected = {
        "arrivals": 2.0,
        "prompt_tokens": 200.0,
        "generated_tokens": 42.0,
        "steps": 10.0,
        "step_seconds": 10.0 * 0.020,
        "decode_sequences": 40.0,
        "prefill_tokens": 120.0,
        "finished": 1.8,
        "waiting": 0.0,
        "running": 5.0,
        "kv_use": 0.25,
    }
    assert set(expected) == set(KINDS)
    assert {kind: value(found, kind) for kind in expected} == pytest.approx(expected)


def test_what_an_engine_does_not_export_is_missing() -> None:
    lines = [line for line in vllm(1).splitlines() if "iteration" not in line and "latency" not in line]
    one = [read("VLLM", "\n".join(lines) + "\n", at=NOW - 10.0), read("VLLM", "\n".join(lines) + "\n", at=NOW)]
    given = tuple(item for item in one if item is not None)
    found = view(KEY, "VLLM", Round(NOW, {"a": given}, frozenset("a")), window_seconds=10.0, now=NOW)
    assert {kind for kind in KINDS if value(found, kind) is None} == {"steps", "step_seconds", "decode_sequences"}


@pytest.mark.parametrize("engine", METRICS)
def test_every_engine_has_a_mark_among_what_is_wanted(engine: str) -> None:
    assert METRICS[engine].mark in wanted(engine)
    assert read(engine, "", at=NOW) is None
