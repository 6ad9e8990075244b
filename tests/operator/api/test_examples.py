"""Every manifest that we show is one that the server takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from penstock_operator.api import InferenceService

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


def test_there_are_examples():
    assert {path.name for path in EXAMPLES} >= {"chat.yaml", "static.yaml"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_models_take_it(path):
    services = [item for item in yaml.safe_load_all(path.read_text()) if item["kind"] == "InferenceService"]
    assert services
    for manifest in services:
        assert InferenceService.parse(manifest).kind == "InferenceService"


@pytest.mark.cluster
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_server_takes_it_without_a_warning(api, path):
    applied = api.kubectl("apply", "--dry-run=server", "-f", str(path))

    assert applied.returncode == 0, applied.stderr
    assert applied.stderr == ""
