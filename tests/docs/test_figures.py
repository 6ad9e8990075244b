"""Figures that pages give and code fixes are those of the code."""

import re
from collections import Counter
from pathlib import Path

import pytest

from pages import ROOT, Page
from penstock_lab.demo.scenario import Scenario
from penstock_lab.load.schedule import Planned
from visitor import matches


@pytest.fixture(scope="module")
def planned() -> list[Planned]:
    """The load of the demo, which its seed fixes."""
    return Scenario(examples=ROOT / "examples", out=Path("out")).plan()


@pytest.mark.parametrize("page", ["README.md", "docs/evidence/demo.md"])
def test_the_demo_sends_as_many_requests_as_its_page_says(page: str, planned: list[Planned]):
    text = (ROOT / page).read_text()
    assert {int(count) for count in re.findall(r"Every one of (\d+) requests", text)} == {len(planned)}


def test_each_phase_of_the_demo_sends_as_many_requests_as_the_page_says(planned: list[Planned]):
    text = (ROOT / "docs" / "evidence" / "demo.md").read_text()
    for phase, count in Counter(item.phase for item in planned).items():
        said = re.findall(rf"^\s*(?:\| )?{phase}\s+(?:\| )?(\d+)\b", text, flags=re.MULTILINE)
        assert said, phase
        assert {int(number) for number in said} == {count}, phase


def test_what_the_readme_shows_of_the_demo_is_of_the_run_that_is_evidence():
    (shown,) = [block.text for block in Page(ROOT / "README.md").blocks if "What it decided" in block.text]
    (run,) = [block.text for block in Page(ROOT / "docs/evidence/demo.md").blocks if "What it decided" in block.text]
    assert matches(f"…\n{shown}\n…", run)
    assert not matches(f"…\n{shown}\n…", run.replace("1224", "947"))
