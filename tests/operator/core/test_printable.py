"""What a terminal gets to see of other people's text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("TTFT p99 ≤ 2 s, größer", "TTFT p99 ≤ 2 s, größer"),
        ("\x1b]0;title\x07\x1b[2J", "\ufffd]0;title\ufffd\ufffd[2J"),
        ("\x9b31m", "\ufffd31m"),
        ("one\r\ntwo\tthree", "one  two three"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("half \ud800", "half \ufffd"),
    ],
)
def test_controls_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(max_size=50))
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    assert len(shown) == len(text)
