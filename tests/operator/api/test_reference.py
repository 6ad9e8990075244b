"""The reference page is complete and current."""

from __future__ import annotations

from pathlib import Path

from penstock_operator.api import REASONS, reference
from penstock_operator.api.spec import InferenceServiceSpec

PAGES = Path(__file__).parents[3] / "docs" / "reference"


def test_the_committed_page_is_current(capsys):
    assert reference.main(["--check", f"--out={PAGES}"]) == 0, capsys.readouterr().err


def test_check_of_another_page_fails(tmp_path, capsys):
    (tmp_path / reference.FILE_NAME).write_text("# Something else\n")

    assert reference.main(["--check", f"--out={tmp_path}"]) == 1
    assert "run `make generate`" in capsys.readouterr().err


def test_it_names_every_condition_every_reason_and_every_rule():
    page = reference.render()

    for condition, reasons in REASONS.items():
        assert f"### {condition}\n" in page
        assert all(f"| `{reason}` | {reason.meaning} |" in page for reason in reasons)
    assert all(rule.message in page for rule in InferenceServiceSpec.rules)


def test_fields_are_shown_with_type_bounds_and_default():
    page = reference.render()

    assert "| `spec.scaling.mode` | Auto \\| Advise \\| Paused | `Auto` |" in page
    assert "| `spec.scaling.maxReplicas` | integer, 1 to 1000 | required |" in page
    assert "| `spec.sla.objectives[].percentile` | integer or string | required |" in page
