"""The API server and the models agree on specifications that nobody thought of."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, note, settings
from hypothesis import strategies as st
from kubernetes.client import ApiException

from penstock_operator.api import InferenceService, InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS = [
    case["spec"]
    for case in yaml.safe_load((Path(__file__).parent / "accepted.yaml").read_text())
    if case["case"] == "everything"
]

# Values at the edges of something, to be put anywhere. No float that is a whole number: JSON does not tell 1.0 from
# 1, the API server takes either, and YAML written by people has neither.
EDGES = st.sampled_from(
    [None, True, -1, 0, 1, 2, 3, 64, 65, 99, 100, 1000, 1001, 3601, 2**31, 2**53, 1.5,
     "", "0", "1", "99", "99.9", "99.90", "9.9999", "99.", ".5", "0.5", "+9.9", "1e1", "1e1.5", "99.9\n", "٣.٣",
     "2.50", "1000000000", "0.1234567", "500m", "32Gi", "32GB", "+1.5Gi", "1e3", "-1", ".5", "5.", "1Ei", "1E",
     "chat", "Chat", "a.b", "a..b", "-a", "a-", "a b", "ü", "a/b", "/a/b", "/a/../b", "..", "x" * 300,
     "--port", "-port", "--port=1", "--port-range=1", "--emulate-device=/x", "--model", "--model\n", "model",
     "PENSTOCK_X", "penstock_x", "A-B", "TTFT", "Equal", "Exists", "NoExecute", "Auto", "USD", "usd",
     [], {}, [None], [{}], {"name": "a"}, [{"name": "a"}], [{"name": "a"}, {"name": "a"}], {"cpu": 1}, {"a b": "c"}]
)  # fmt: skip


def _paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, child in steps:
        yield (*path, step)
        yield from _paths(child, (*path, step))


@st.composite
def specifications(draw: st.DrawFn) -> dict[str, Any]:
    """The full specification with up to three of its values replaced or removed."""
    spec = deepcopy(SEEDS[0])
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(list(_paths(spec))))
        node: Any = spec
        for step in parents:
            node = node[step]
        if draw(st.booleans()):
            node[last] = deepcopy(draw(EDGES))
        else:
            del node[last]
        if not spec:
            break
    return spec


@pytest.mark.cluster
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(spec=specifications())
def test_server_and_models_agree(api, spec):
    manifest = {
        "apiVersion": "inference.penstock.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "chat"},
        "spec": spec,
    }
    try:
        # Unknown fields are the one thing that the models leave to the server, and only strict validation refuses.
        stored = api.create(manifest, unknown_fields="Ignore")
    except ApiException as refusal:
        if refusal.status != 422:
            raise
        note(refusal.body)
        stored = None

    if stored is None:
        with pytest.raises(InvalidSpec):
            InferenceService.parse(manifest)
    else:
        assert InferenceService.parse(stored).spec == InferenceService.parse(manifest).spec
