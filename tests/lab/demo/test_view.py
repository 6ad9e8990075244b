"""The live view at every size, and the lines that stand in for it."""

import io
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from rich.console import Console

from penstock_lab.demo.display import Lines, fits, open_display
from penstock_lab.demo.progress import progress
from penstock_lab.demo.record import Record
from penstock_lab.demo.scenario import Scenario
from penstock_lab.demo.settings import Settings
from penstock_lab.demo.summary import Result
from penstock_lab.demo.view import Screen

MOMENT = 120.0


def terminal(width: int, height: int) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None, legacy_windows=False
    )


def shown(screen: Screen, width: int, height: int) -> list[str]:
    console = terminal(width, height)
    with console.capture() as capture:
        console.print(screen, end="")
    return capture.get().split("\n")


@pytest.fixture
def screen(scenario: Scenario, burst: Result) -> Screen:
    """In the middle of the burst."""
    seen = burst.record
    record = Record(seen.planned)
    record.begin(seen.epoch)
    for sample in seen.samples:
        if sample.at <= MOMENT:
            record.take(sample)
    record.outcomes.extend(one for one in seen.outcomes if one.at + one.e2e_seconds <= MOMENT)
    return Screen(scenario, record, MOMENT, 2.5)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (200, 60), (60, 15), (30, 5)])
def test_it_fits(screen: Screen, width: int, height: int) -> None:
    lines = shown(screen, width, height)
    assert len([line for line in lines if line.strip()]) <= height
    assert len(lines) <= height + 1
    assert max(cell_len(line.rstrip()) for line in lines) <= width


def test_what_a_small_screen_shows(screen: Screen) -> None:
    text = "\n".join(shown(screen, 80, 24))
    for part in (
        "EMULATED", "burst, 14 req/s", "0:20 left", "0:50 of the load", "4 ready", "0 starting", "0 draining",
        "offered 970", "served 610", "capacity 1000 (4 x 250)", "97%", "2 held", "4 waiting", "0 failed", "TTFT p99",
        "1.31 s of 2.00 s", "TPOT p99", "budget left 30%", "10.00 USD/h", "1 -> 4", "OfferedLoad", "951 tok/s",
    ):  # fmt: skip
        assert part in text, part


def test_a_large_screen_shows_more(screen: Screen) -> None:
    small, large = (
        [line for line in shown(screen, width, height) if line.strip()] for width, height in ((80, 24), (200, 60))
    )
    assert len(large) > len(small)


def test_numbers_that_are_not_known_are_question_marks(finished: Callable[..., Result], scenario: Scenario) -> None:
    nothing = finished((1,), [], load={}, capacity={}, cost=None, decision=None)
    text = "\n".join(shown(Screen(scenario, nothing.record, 5.0, 0.0), 80, 24))
    assert "offered ?  served ?  capacity ?" in text
    assert "none yet" in text
    assert "? so far" in text


def test_before_the_operators_first_word(scenario: Scenario) -> None:
    assert "waiting for the operator" in "\n".join(shown(Screen(scenario, Record(), 0.0, 0.0), 80, 24))


def test_an_operator_that_went_silent_is_said_to_be(scenario: Scenario, burst: Result) -> None:
    after = burst.record.samples[-1].at + 12
    assert "has not answered for 12 s" in "\n".join(shown(Screen(scenario, burst.record, after, 2.5), 80, 24))


def test_lines_tell_each_change_once(scenario: Scenario, burst: Result) -> None:
    said: list[str] = []
    lines, record = Lines(scenario, say=said.append), Record(burst.record.planned)
    record.begin(burst.record.epoch)
    for sample in burst.record.samples:
        record.take(sample)
        lines.show(record, at=sample.at, price=2.5)
        lines.show(record, at=sample.at, price=2.5)
    told = "\n".join(said)
    assert told.count("decision: 1 -> 4 replicas") == 1
    assert told.count("ready 4") == 1
    assert [told.count(f"load: {phase.name}, ") for phase in scenario.phases] == [1, 1, 1, 1]
    assert "load: over" in told
    assert len(said) < 25, "a line per change, not per second"


def test_the_terminal_is_given_back_when_the_run_fails(scenario: Scenario, burst: Result) -> None:
    console = terminal(80, 24)
    assert isinstance(console.file, io.StringIO)

    def run() -> None:
        with open_display(scenario, console, plain=False, say=print) as display:
            display.show(burst.record, at=MOMENT, price=2.5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    written = console.file.getvalue()
    for enter, leave in (("\x1b[?1049h", "\x1b[?1049l"), ("\x1b[?25l", "\x1b[?25h")):
        assert enter in written
        assert written.rindex(leave) > written.rindex(enter)


@pytest.mark.parametrize(
    ("env", "keep", "plain"),
    [
        ({"TERM": "xterm-256color"}, False, False),
        ({"TERM": "xterm", "KEEP": "1"}, True, False),
        ({"TERM": "xterm", "KEEP": "0", "CI": "false", "NO_COLOR": ""}, False, False),
        ({"TERM": "xterm", "CI": "true"}, False, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, True),
        ({"TERM": "dumb"}, False, True),
        ({}, False, True),
    ],
)
def test_the_environment_chooses(env: dict[str, str], keep: bool, plain: bool) -> None:
    assert Settings.from_environment(env) == Settings(keep=keep, plain=plain)


def test_no_live_screen_without_a_terminal(scenario: Scenario) -> None:
    pipe = Console(file=io.StringIO(), force_terminal=False)
    assert not fits(pipe)
    with open_display(scenario, pipe, plain=False, say=print) as display:
        assert isinstance(display, Lines)
    assert pipe.file.getvalue() == ""  # type: ignore[attr-defined]  # the StringIO of the line above


def test_progress_counts_down(scenario: Scenario) -> None:
    now = progress(scenario, 25.0)
    assert (now.phase, now.left_seconds, now.load_left_seconds) == ("burst grows", 85.0, 145.0)
    assert progress(scenario, -3.0).load_left_seconds == scenario.seconds
    assert progress(scenario, scenario.seconds + 1).load_left_seconds == 0.0
