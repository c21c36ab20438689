"""The sanitiser: nothing it lets through moves a cursor, turns text round or hides."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.cli.throttle import Throttle
from agentdash.text import cell_width, clean, clean_lines, shorten


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode, 漢字", "plain, ünïcode, 漢字"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("a\nb\r\nc\td", "a b c d"),
        ("\x00\x07\x7f\x9b", "␀␇␡�"),
        ("user\u202etxt.exe\u2066", "user�txt.exe�"),
        ("zero\u200bwidth\ufeff", "zero�width�"),
        ("no\u00a0break", "no break"),
        ("\ud800", "�"),
        ("[bold]not markup[/]", "[bold]not markup[/]"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_clean_lines_keeps_lines() -> None:
    assert clean_lines("a\tb\r\n\x1bc\u2028d") == "a    b\n␛c\nd"


@given(st.text())
def test_clean_text_is_harmless_and_stays_so(text: str) -> None:
    shown = clean(text)
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in shown)
    assert clean(shown) == shown


@given(st.text(), st.integers(0, 30))
def test_shorten_keeps_to_the_cells(text: str, cells: int) -> None:
    assert cell_width(shorten(clean(text), cells)) <= cells


def test_shorten_marks_the_cut() -> None:
    assert shorten("漢字漢字", 5) == "漢字…"
    assert shorten("abc", 3) == "abc"


def test_a_storm_of_events_is_a_few_lines() -> None:
    throttle = Throttle()
    told = [line for n in range(100) for line in throttle.offer("limited", f"key-{n}", n / 100)]
    assert told == ["key-0", "key-1", "key-2"]
    assert throttle.offer("failed", "t1", 1.0) == ["t1"]
    assert throttle.due(4.9) == []
    assert throttle.due(5.0) == ["… and 97 more like that (limited)"]
    assert throttle.offer("limited", "key-x", 6.0) == ["key-x"]
    assert throttle.offer("limited", "key-x", 6.1) == []
    assert throttle.rest() == ["… and 1 more like that (limited)"]
