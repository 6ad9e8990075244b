"""The table of metrics is whole, and the page that users read says what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock_contract.metrics import VLLM, WORKER
from penstock_operator.core.enginemetrics import KINDS, METRICS
from penstock_operator.core.engines import ENGINES
from penstock_operator.core.scaling.signals import QUERIES, queries

PAGE = (Path(__file__).parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")
STEPS = {"steps", "step_seconds", "decode_sequences", "prefill_tokens"}


def test_every_engine_has_a_row() -> None:
    assert set(METRICS) == set(ENGINES)


@pytest.mark.parametrize("engine", METRICS)
def test_an_engine_exports_what_a_decision_needs_and_all_of_its_steps_or_nothing(engine: str) -> None:
    kinds = set(METRICS[engine].kinds)
    assert kinds <= set(KINDS)
    assert kinds >= {"arrivals", "prompt_tokens", "generated_tokens", "finished", "waiting", "running"}
    assert kinds & STEPS in (STEPS, set())


@pytest.mark.parametrize("engine", [engine for engine in METRICS if engine != "Penstock"])
def test_the_page_names_every_series(engine: str) -> None:
    metrics = METRICS[engine]
    series = {name for formulas in metrics.kinds.values() for formula in formulas for name in formula.series()}
    series |= {name for spellings in metrics.histograms.values() for name in spellings}
    said = set(re.findall(r"`([a-z_]+:?[a-z0-9_]+)`", PAGE))
    assert {name for name in series if name not in said and re.sub(r"_(sum|count)$", "", name) not in said} == set()


def test_our_worker_answers_in_its_own_words_though_it_speaks_those_of_vllm() -> None:
    """Its copies of vLLM's names carry no engine, and whatever carries one is asked of after its own names."""
    own = {metric.name for metric in WORKER}
    assert {name for formulas in METRICS["Penstock"].kinds.values() for one in formulas for name in one.series()} <= own
    assert all("engine" not in metric.labels for metric in VLLM)
    for text in queries(20.0).values():
        assert all("engine!=" in part for part in re.findall(r"vllm:\w+(\{[^}]*\}|\b)", text))
        assert text.index("penstock_worker_") < min(text.find(prefix) for prefix in ("vllm:", "tgi_") if prefix in text)


def test_no_query_is_longer_than_what_every_proxy_takes() -> None:
    assert set(KINDS) < set(QUERIES)
    assert max(len(text) for text in queries(20.0).values()) < 2000
