"""The tables themselves, their prose, and the operator's exposition. The worker's is in test_worker_conformance."""

from prometheus_client.parser import text_string_to_metric_families

from penstock_contract import reference
from penstock_contract.metrics import GATEWAY, LATENCY_BUCKETS, OPERATOR, VLLM, WORKER
from penstock_operator.runtime.measure import HISTOGRAMS
from penstock_operator.runtime.metrics import Metrics


def test_names_are_unique_and_well_formed() -> None:
    every = [metric for table in (WORKER, VLLM, GATEWAY, OPERATOR) for metric in table]
    assert len({metric.name for metric in every}) == len(every)
    for metric in every:
        assert metric.name.endswith("_total") is (metric.kind == "counter"), metric.name
        assert metric.help.endswith("."), metric.name
        assert not {"pod"} & set(metric.labels), "target labels are not an exporter's to set"


def test_buckets_hold_the_common_thresholds() -> None:
    assert list(LATENCY_BUCKETS) == sorted(LATENCY_BUCKETS)
    assert {0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0} <= set(LATENCY_BUCKETS)


def test_the_reference_page_is_made_from_the_tables() -> None:
    assert reference.PAGE.read_text(encoding="utf-8") == reference.render(), "run `make generate`"


def test_the_operator_exports_its_table_and_nothing_else() -> None:
    from prometheus_client.exposition import generate_latest

    families = text_string_to_metric_families(generate_latest(Metrics().registry).decode())
    found = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert {name for name in found if not name.endswith("_created")} == {metric.name for metric in OPERATOR}


def test_the_operator_asks_only_for_what_the_worker_exports() -> None:
    names = {metric.name for metric in WORKER if metric.kind == "histogram"}
    assert set(HISTOGRAMS.values()) <= names
