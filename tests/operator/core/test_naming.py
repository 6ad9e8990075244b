import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_contract import names
from penstock_operator.core import naming

POD_SUFFIX = "-" + "a" * 10 + "-" + "b" * 5
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

services = st.integers(1, 80).flatmap(
    lambda length: st.text("ab-9", min_size=length, max_size=length).map(lambda name: f"a{name}"[:-1] + "z")
)


@given(services)
def test_the_pods_of_a_child_have_a_legal_name(service: str) -> None:
    pod = naming.child_name(service) + POD_SUFFIX
    assert len(pod) <= 63
    assert DNS_LABEL.fullmatch(pod)


@pytest.mark.parametrize("length", range(1, 81))
def test_a_name_of_any_length_is_kept_or_cut(length: int) -> None:
    found = naming.child_name("a" * length)
    assert len(found) == min(length, 46)
    assert len(found + POD_SUFFIX) <= 63


@given(services)
def test_a_name_that_fits_is_kept(service: str) -> None:
    assert (naming.child_name(service) == service) == (len(service) <= 46)


def test_cut_names_of_different_services_differ() -> None:
    assert len({naming.child_name("a" * 50 + str(i)) for i in range(100)}) == 100


def test_a_cut_leaves_no_separator_before_the_hash() -> None:
    assert "--" not in naming.child_name("a" * 36 + "-" * 5 + "b" * 40)


def test_the_selector_is_minimal_and_part_of_the_labels() -> None:
    assert naming.selector("chat") == {names.LABEL_NAME: names.WORKER_NAME, names.SERVICE: "chat"}
    assert naming.selector("chat").items() <= naming.labels("chat").items()
    assert naming.labels("chat")[names.LABEL_MANAGED_BY] == names.MANAGED_BY


@pytest.mark.parametrize("service", ["chat", "a" * 60])
def test_the_selector_string_says_the_same(service: str) -> None:
    parsed = dict(part.split("=") for part in naming.selector_string(service).split(","))
    assert parsed == naming.selector(service)
