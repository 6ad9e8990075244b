from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core.drift import covers, quantity, with_hash

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(plain)
def test_an_object_covers_itself(value: Any) -> None:
    assert covers(value, value)


@given(st.dictionaries(st.text(max_size=3), plain, max_size=3), st.dictionaries(st.text(max_size=3), plain, max_size=3))
def test_what_the_server_adds_does_not_matter(wanted: dict[str, Any], added: dict[str, Any]) -> None:
    assert covers(added | wanted, wanted)


@pytest.mark.parametrize(
    ("live", "wanted", "same"),
    [
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": {}}, False),
        ({"cpu": "4"}, {"cpu": "4000m"}, True),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}, True),
        ({"memory": "1Gi"}, {"memory": "1G"}, False),
        ({"cpu": "4"}, {"cpu": 4}, True),
        ({"memory": "1Ei"}, {"memory": "1024Pi"}, True),
        ({"memory": "1E"}, {"memory": "1000P"}, True),
        ({"a": 1.5}, {"a": "1"}, False),
        ({"a": "1e999999P"}, {"a": "b"}, False),
        ({"a": True}, {"a": 1}, False),
        ([{"name": "x", "v": 1}, {"name": "y"}], [{"name": "x", "v": 1}], True),
        ([{"name": "x", "v": 1}], [{"name": "x", "v": 2}], False),
        ([{"name": "x"}], [{"name": "z"}], False),
        (["a", "b"], ["a"], False),
        (["a"], ["a"], True),
        ([], [], True),
        ([{"a": 1, "b": 2}], [{"a": 1}], True),
        ([{"a": 1}, {"a": 2}], [{"a": 1}], False),
        ("x", [], False),
        (None, {}, False),
    ],
)
def test_covers(live: Any, wanted: Any, same: bool) -> None:
    assert covers(live, wanted) is same


def test_a_dropped_field_shows_in_the_hash() -> None:
    manifest = {"metadata": {"name": "x"}, "spec": {"a": 1, "b": 2}}
    live = with_hash(manifest)
    smaller = with_hash({"metadata": {"name": "x"}, "spec": {"a": 1}})
    assert covers(live, with_hash(manifest))
    assert not covers(live, smaller)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", Decimal(1)),
        ("500m", Decimal("0.5")),
        ("2Ki", Decimal(2048)),
        ("x", None),
        ("", None),
        ("1Zi", None),
        ("2E", Decimal(2 * 10**18)),
        ("9e999999P", None),
    ],
)
def test_quantity(text: str, value: Decimal | None) -> None:
    assert quantity(text) == value
