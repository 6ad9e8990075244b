import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_contract.metrics import LATENCY_BUCKETS
from penstock_operator.core.sla import Attainment, Objective, fraction_within, quantile

BUCKETS = {0.1: 50.0, 0.2: 80.0, 0.5: 99.0, math.inf: 100.0}
TTFT = Objective("TTFT", 99.0, 2.0)


@pytest.mark.parametrize(
    ("threshold", "share"),
    [(0.1, 0.5), (0.2, 0.8), (0.5, 0.99), (0.05, 0.25), (0.15, 0.65), (0.35, 0.895), (0.6, 0.99), (1e9, 0.99), (0, 0)],
    ids=["bound", "bound 2", "last bound", "in the first", "half way", "in the third", "beyond", "far beyond", "zero"],
)
def test_exact_at_bounds_and_linear_between(threshold: float, share: float) -> None:
    assert fraction_within(BUCKETS, threshold) == pytest.approx(share, abs=1e-12)


@given(values=st.lists(st.floats(1e-4, 200), min_size=1, max_size=50), index=st.integers(0, len(LATENCY_BUCKETS) - 1))
def test_exact_at_every_bound_of_the_contract(values: list[float], index: int) -> None:
    buckets = {bound: float(sum(value <= bound for value in values)) for bound in (*LATENCY_BUCKETS, math.inf)}
    threshold = LATENCY_BUCKETS[index]
    assert fraction_within(buckets, threshold) == sum(value <= threshold for value in values) / len(values)


@given(
    counts=st.lists(st.floats(0, 1e6), min_size=3, max_size=3),
    first=st.floats(0, 5),
    second=st.floats(0, 5),
)
def test_a_share_that_grows_with_the_threshold(counts: list[float], first: float, second: float) -> None:
    a, b, c = sorted(counts)
    buckets = {0.5: a, 2.0: b, math.inf: c}
    low, high = sorted((first, second))
    shares = fraction_within(buckets, low), fraction_within(buckets, high)
    if c == 0:
        assert shares == (None, None)
        return
    assert shares[0] is not None
    assert shares[1] is not None
    assert 0 <= shares[0] <= shares[1] + 1e-12 <= 1 + 1e-12


@pytest.mark.parametrize("buckets", [{}, {0.1: 5.0}, {math.inf: 0.0, 0.1: 0.0}], ids=["none", "no total", "no traffic"])
def test_unknown_without_observations(buckets: dict[float, float]) -> None:
    assert fraction_within(buckets, 0.1) is None


def test_a_total_alone_proves_nothing_within() -> None:
    assert fraction_within({math.inf: 10.0}, 5.0) == 0


@pytest.mark.parametrize("percentile", [*range(1, 100), 99.5, 99.9, 99.99, 57.1])
def test_an_objective_is_met_from_exactly_its_percentile_on(percentile: float) -> None:
    objective = Objective("TTFT", percentile, 1.0)
    total = 10_000
    enough = round(percentile * 100)
    assert Attainment(objective, enough / total).met
    assert not Attainment(objective, (enough - 1) / total).met


def test_nothing_measured_is_nothing_missed() -> None:
    assert Attainment(TTFT, None).met


def test_labels_are_for_people() -> None:
    assert Attainment(TTFT, 1.0).label == "TTFT p99 <= 2000 ms"
    assert Attainment(Objective("TPOT", 99.9, 0.05), 1.0).label == "TPOT p99.9 <= 50 ms"


@pytest.mark.parametrize(
    ("percentile", "value"),
    [(50, 0.1), (80, 0.2), (65, 0.15), (25, 0.05), (99, 0.5), (99.9, 0.5), (0, 0.0)],
    ids=["bound", "bound 2", "half way", "in the first", "last bound", "beyond", "none"],
)
def test_the_percentile_is_where_the_share_is_reached(percentile: float, value: float) -> None:
    assert quantile(BUCKETS, percentile) == pytest.approx(value)


@given(counts=st.lists(st.integers(0, 1000), min_size=4, max_size=4), percentile=st.floats(1, 100))
def test_percentile_and_share_agree(counts: list[int], percentile: float) -> None:
    sums = [float(sum(counts[: number + 1])) for number in range(4)]
    buckets = dict(zip((0.1, 1.0, 10.0, math.inf), sums, strict=True))
    value = quantile(buckets, percentile)
    if not sums[-1]:
        assert value is None
    elif sums[2] * 100 >= percentile * sums[-1] + 1e-6:
        share = fraction_within(buckets, value)
        assert share is not None
        assert share * 100 >= percentile - 1e-6
    else:
        assert value is not None
        assert value <= 10.0


def test_a_percentile_needs_observations_and_bounds() -> None:
    assert quantile({}, 99) is None
    assert quantile({math.inf: 5.0}, 99) is None
