"""Columns and the texts in them: who gets how many cells, and that none steers the terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from agentdash.text import cell_width, shorten
from agentdash.ui.panels.cells import Cell, Column, Line, fit, place
from agentdash.ui.panels.lines import STYLES
from agentdash.ui.panels.painter import Painter
from tests.ui.line_stage import COLUMNS


@pytest.mark.parametrize(
    ("room", "placed"),
    [
        (60, [(0, 6), (1, 9), (2, 4), (3, 38)]),
        (34, [(0, 6), (1, 9), (2, 4), (3, 12)]),
        (33, [(0, 6), (1, 9), (3, 16)]),
        (28, [(0, 6), (3, 21)]),
        (12, [(0, 6), (3, 5)]),
        (5, [(0, 5)]),
        (0, []),
    ],
)
def test_columns_share_the_width_and_the_highest_rank_goes_first(room: int, placed: list[tuple[int, int]]) -> None:
    assert place(COLUMNS, room) == placed


def test_fixed_columns_are_dropped_too_where_nothing_is_flexible() -> None:
    assert place((Column("a", 10), Column("b", 10, rank=1)), 20) == [(0, 10)]
    assert place((Column("a", 0), Column("b", 0)), 41) == [(0, 20), (1, 20)]


@pytest.mark.parametrize(
    ("text", "width", "align", "shown"),
    [
        ("abc", 5, "left", "abc  "),
        ("abc", 5, "right", "  abc"),
        ("abcdef", 5, "left", "abcd…"),
        ("日本語", 5, "left", "日本…"),
        ("日本語", 4, "left", "日… "),
        ("日本", 6, "right", "  日本"),
        ("a\x1b[31mb", 8, "left", "a␛[31mb "),
        ("[b]x[/]", 8, "left", "[b]x[/] "),
        ("\N{WARNING SIGN}\N{VARIATION SELECTOR-16}!", 4, "left", "\N{WARNING SIGN}!  "),
        ("☰☰☰", 4, "left", "☰☰"),  # wide since Unicode 16: Python 3.11 does not know it, Rich does
        ("abc", 0, "left", ""),
    ],
)
def test_a_text_fills_its_place(text: str, width: int, align: str, shown: str) -> None:
    assert fit(text, width, align) == shown


@given(st.text(st.characters(codec=None)), st.integers(0, 60), st.sampled_from(["left", "right"]))
def test_any_text_fills_its_place_exactly_and_steers_no_terminal(text: str, width: int, align: str) -> None:
    shown = fit(text, width, align)
    assert cell_len(shown) == width
    assert shown.isprintable()


hostile = st.builds(Cell, st.text(st.characters(codec=None), max_size=80), st.sampled_from(STYLES))


@given(
    st.lists(hostile, max_size=6),
    st.sampled_from(["", "cursor", "cursor-blurred", "hover"]),
    st.integers(0, 120),
    st.booleans(),
)
def test_whatever_the_cells_hold_a_row_is_as_wide_as_the_list_and_printable(
    cells: list[Cell], state: str, width: int, marked: bool
) -> None:
    strip = Painter(COLUMNS, lambda _: Style()).row(0, Line(0, tuple(cells), marked), state, width)
    assert strip.cell_length == sum(cell_len(segment.text) for segment in strip) == width
    assert strip.text.isprintable()
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in strip.text)


def test_shorten_and_the_screen_measure_alike() -> None:
    """`fit` cuts with the first and is drawn by the second; where they differ is worth knowing."""
    text = "漢字 e\u0301 ☃ naïve 🎉 ▸✓"
    assert cell_width(text) == cell_len(text)
    assert cell_len(shorten(text, 9)) <= 9
    assert Segment(text).cell_length == cell_len(text)
