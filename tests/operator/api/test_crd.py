"""The committed CRD is what the models say, and a server takes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock_contract import names
from penstock_operator.api import crd

if TYPE_CHECKING:
    from collections.abc import Iterator

CRDS = Path(__file__).parents[3] / "crds"


def _walk(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from _walk(child, f"{path}.{name}")
    for keyword, mark in (("items", "[]"), ("additionalProperties", "[*]")):
        if keyword in node:
            yield from _walk(node[keyword], path + mark)


@pytest.fixture
def version() -> dict[str, Any]:
    return crd.document()["spec"]["versions"][0]


def test_the_committed_file_is_current(capsys):
    assert crd.main(["--check", f"--out={CRDS}"]) == 0, capsys.readouterr().err


def test_check_shows_the_difference_and_the_remedy(tmp_path, capsys):
    assert crd.main([f"--out={tmp_path}"]) == 0
    file = tmp_path / crd.FILE_NAME
    file.write_text(file.read_text().replace("maximum: 1000\n", "maximum: 7\n", 1))

    assert crd.main(["--check", f"--out={tmp_path}"]) == 1

    said = capsys.readouterr().err
    assert "maximum: 7" in said
    assert "out of date: run `make generate`" in said


def test_check_of_a_missing_file_fails(tmp_path):
    assert crd.main(["--check", f"--out={tmp_path / 'none'}"]) == 1


def test_names_are_those_of_the_contract(version):
    spec = crd.document()["spec"]

    assert (spec["group"], version["name"]) == (names.GROUP, names.VERSION)
    assert spec["names"]["shortNames"] == ["infsvc"]
    assert spec["scope"] == "Namespaced"


def test_every_field_is_described(version):
    fields = dict(_walk(version["schema"]["openAPIV3Schema"]))
    undescribed = [path for path, node in fields.items() if path.endswith(("]", ".metadata")) is False
                   and "description" not in node]  # fmt: skip

    assert undescribed == []
    assert len(fields) > 80


def test_every_rule_says_what_is_wrong(version):
    for path, node in _walk(version["schema"]["openAPIV3Schema"]):
        for validation in node.get("x-kubernetes-validations", ()):
            assert validation["message"].strip(), path
            assert "\n" not in validation["message"], path


def test_it_fits_into_the_annotation_of_a_client_side_apply():
    assert len(crd.render()) < 128 * 1024


@pytest.mark.cluster
def test_the_server_takes_it_without_a_warning(api):
    applied = api.kubectl("apply", "--server-side", "--dry-run=server", "-f", str(CRDS))

    assert applied.returncode == 0, applied.stderr
    assert applied.stderr == ""
    assert api.crd_conditions() == {"Established": "True", "NamesAccepted": "True"}
