"""The list that the panels are made of: its columns, cursor, keys and mouse, what it draws again, and hostile text."""

from __future__ import annotations

import logging
import math
import unicodedata
from collections.abc import Hashable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import App, ComposeResult
from textual.color import Color
from textual.filter import Monochrome
from textual.geometry import Region
from textual.pilot import Pilot
from textual.theme import Theme

from agentdash.text import cell_width, shorten
from agentdash.ui.panels.cells import fit, place
from agentdash.ui.panels.lines import STYLES, Cell, Column, Line, LineList
from agentdash.ui.panels.painter import Painter
from agentdash.ui.themes import THEMES
from tests.ui.screen_text import until, widget_lines

COLUMNS = (Column("id", 6), Column("state", 9, rank=1), Column("n", 4, "right", 2), Column("text", 0))


def line(number: int, text: str = "some words", *, marked: bool = False) -> Line:
    return Line(number, (Cell(f"t{number}"), Cell("running", "good"), Cell(str(number)), Cell(text)), marked)


def some(count: int) -> list[Line]:
    return [line(number) for number in range(count)]


class Stage(App[None]):
    """A list, and another one for the focus to go to."""

    CSS = "#list { height: 8; } #other { height: auto; max-height: 5; }"

    def __init__(self) -> None:
        super().__init__()
        for theme in THEMES:
            self.register_theme(theme)
        self.list = LineList(COLUMNS, empty="Nothing here yet.", id="list")
        self.other = LineList((Column("x", 0),), empty="Nothing there. " * 6, id="other")
        self.moved: list[int] = []
        self.chosen: list[Hashable] = []

    def compose(self) -> ComposeResult:
        yield self.list
        yield self.other

    def on_mount(self) -> None:
        self.list.focus()

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        if event.control is self.list:
            self.moved.append(event.index)

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        self.chosen.append(event.key)


async def showing(pilot: Pilot[None], lines: Sequence[Line]) -> LineList:
    assert isinstance(pilot.app, Stage)
    pilot.app.list.show(lines)
    await pilot.pause()
    return pilot.app.list


def drawn_again(lines: LineList, monkeypatch: pytest.MonkeyPatch) -> list[Region]:
    """What is asked to be drawn from now on."""
    regions: list[Region] = []

    def refresh(*asked: Region, **_: object) -> LineList:
        regions.extend(asked or [lines.size.region])
        return lines

    monkeypatch.setattr(lines, "refresh", refresh)
    return regions


def keys_seen(lines: LineList) -> list[str]:
    return [text.split()[0].lstrip("✓") if text.strip() else "" for text in rows_seen(lines)]


def rows_seen(lines: LineList) -> list[str]:
    return [text[2:] for text in widget_lines(lines)[1:]]


# -- columns and texts -----------------------------------------------------------------------------------------------
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


# -- what is shown ---------------------------------------------------------------------------------------------------
async def test_titles_stay_while_rows_scroll() -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(100))
        assert widget_lines(lines)[0].split() == ["id", "state", "n", "text"]
        assert keys_seen(lines) == ["t0", "t1", "t2", "t3", "t4", "t5", "t6"]
        lines.scroll_to(y=40, animate=False)
        await pilot.pause()
        assert widget_lines(lines)[0].split() == ["id", "state", "n", "text"]
        assert keys_seen(lines)[0] == "t40"
        lines.scroll_to(y=1000, animate=False)
        await pilot.pause()
        assert keys_seen(lines)[-1] == "t99"
        lines.show_heads = False
        await pilot.pause()
        assert len(rows_seen(lines)) == 7
        assert widget_lines(lines)[0].split()[0] == "t92"


async def test_the_scrollbar_follows_the_number_of_rows() -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        shown = []
        for count in (7, 8, 7):
            lines = await showing(pilot, some(count))
            shown.append(lines.show_vertical_scrollbar)
        assert shown == [False, True, False]
        lines = await showing(pilot, some(80))
        assert lines.vertical_scrollbar.window_virtual_size == 81
        lines.scroll_to(y=73, animate=False)
        await showing(pilot, some(10))
        assert keys_seen(lines)[-1] == "t9"


async def test_marks_and_the_cursor_stand_before_the_first_column() -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, [line(0, marked=True), line(1), line(2, marked=True)])
        assert [text[:4] for text in widget_lines(lines)[1:4]] == ["▸✓t0", "  t1", " ✓t2"]


async def test_numbers_stand_at_the_right_and_no_text_is_markup() -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, [line(7, "[b]a[/]b [@click=app.quit]x[/]")])
        assert rows_seen(lines)[0] == "t7     running      7 [b]a[/]b [@click=app.quit]x[/]"


async def test_an_empty_list_says_what_would_fill_it() -> None:
    app = Stage()
    async with app.run_test(size=(40, 20)) as pilot:
        await pilot.pause()
        assert rows_seen(app.list)[0] == "Nothing here yet."
        assert app.other.size.height == 1 + 3  # auto height: as many lines as the words take
        app.list.empty = "Other words."
        await pilot.pause()
        assert rows_seen(app.list)[0] == "Other words."
        app.other.show([line(1)])
        await pilot.pause()
        assert app.other.size.height == 2


async def test_rows_that_are_not_known_yet_are_dots() -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, [])
        lines.show(some(3), start=0, total=100_000)
        await pilot.pause()
        assert keys_seen(lines) == ["t0", "t1", "t2", "·", "·", "·", "·"]
        await pilot.press("G")
        assert lines.cursor == 99_999
        assert lines.current is None
        lines.show([line(99_999)], start=99_999, total=100_000)
        await pilot.pause()
        assert keys_seen(lines)[-1] == "t99999"
        assert lines.current == line(99_999)


# -- what is drawn again ---------------------------------------------------------------------------------------------
async def test_equal_lines_are_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(100))
        regions = drawn_again(lines, monkeypatch)
        lines.show(some(100))
        assert regions == []


async def test_only_visible_lines_that_changed_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(100))
        lines.scroll_to(y=10, animate=False)
        await pilot.pause()
        regions = drawn_again(lines, monkeypatch)
        changed = some(100)
        for index in (0, 11, 12, 15, 50):
            changed[index] = line(index, "new")
        lines.show(changed)
        width = lines.size.width - 1  # the scrollbar's
        assert regions == [Region(0, 2, width, 2), Region(0, 6, width, 1)]
        monkeypatch.undo()
        lines.refresh()
        await pilot.pause()
        assert [text.endswith("new") for text in rows_seen(lines)] == [False, True, True, False, False, True, False]


async def test_cells_that_have_no_room_draw_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def numbered(number: int) -> list[Line]:
        return [Line(0, (Cell("t0"), Cell("running"), Cell(str(number)), Cell("some words")))]

    for width, drawn in ((35, 0), (60, 1)):
        async with Stage().run_test(size=(width, 20)) as pilot:
            lines = await showing(pilot, numbered(1))
            regions = drawn_again(lines, monkeypatch)
            lines.show(numbered(2))
            assert len(regions) == drawn
            lines.show([replace(numbered(2)[0], marked=True)])
            assert len(regions) == drawn + 1
            monkeypatch.undo()


async def test_scrolling_draws_new_rows_only() -> None:
    drawn: list[int] = []

    class Counted(Painter):
        def _cells(self, gutter: str, cells: Sequence[Cell], state: str):  # type: ignore[no-untyped-def]
            drawn.append(1)
            return super()._cells(gutter, cells, state)

    async with Stage().run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(100))
        lines._painter = Counted(COLUMNS, lines.get_component_rich_style)
        lines.refresh()
        await pilot.pause()
        drawn.clear()
        lines.scroll_to(y=1, animate=False)
        await pilot.pause()
        assert len(drawn) <= 2  # the titles and a row


async def test_colours_change_with_the_theme() -> None:
    app = Stage()
    async with app.run_test(size=(60, 20)) as pilot:
        app.theme = THEMES[0].name
        lines = await showing(pilot, some(3))

        def colours() -> set[str]:
            return {str(segment.style) for segment in lines.render_line(2)}

        dark = colours()
        app.theme = THEMES[1].name
        await until(pilot, lambda: not colours() & dark)


async def test_the_cursor_is_seen_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with Stage().run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(3))

        def looks(y: int) -> set[tuple[str, str, bool, bool]]:
            """How a line reaches the terminal: colours as they are seen, underlined or not, bold or not."""
            row = lines.region.y + y
            styles = [s.style for s in pilot.app.screen._compositor.render_strips()[row].apply_filter(
                Monochrome(), Color.parse("black")) if s.style is not None]  # fmt: skip
            assert not any(style.reverse for style in styles)  # it would turn the cursor's colours back
            return {(str(s.color), str(s.bgcolor), bool(s.underline), bool(s.bold)) for s in styles}

        focused, plain = looks(1), looks(2)
        assert all(underline and bold for _, _, underline, bold in focused)
        assert not any(underline for _, _, underline, _ in plain)
        await pilot.press("tab")
        await pilot.pause()
        blurred = looks(1)
        assert not focused & blurred
        assert not any(underline for _, _, underline, _ in blurred)
        assert lines.render_line(1).text.startswith("▸")  # not focused: dimmer, but there


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
async def test_what_is_dim_can_be_read_where_the_cursor_is_not_focused(theme: Theme) -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        pilot.app.theme = theme.name
        lines = await showing(pilot, [Line(1, (Cell("x", "dim"),)), Line(2, (Cell("x", "dim"),))])
        await pilot.press("tab")
        await pilot.pause()
        under, plain = (
            next(s.style for s in lines.render_line(y) if "x" in s.text and s.style is not None) for y in (1, 2)
        )
        assert under.bgcolor != plain.bgcolor
        assert contrast(under) >= 4.5


def contrast(style: Style) -> float:
    """How well a text can be read, as WCAG measures it."""

    assert style.color is not None
    assert style.bgcolor is not None
    luminances: list[float] = []
    for color in (style.color, style.bgcolor):
        channels = [value / 255 for value in color.get_truecolor()]
        red, green, blue = (
            channel / 12.92 if channel <= 0.03928 else math.pow((channel + 0.055) / 1.055, 2.4) for channel in channels
        )
        luminances.append(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


async def test_every_style_has_a_look() -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        rows = [Line(name, (Cell("x", name),)) for name in STYLES]
        lines = await showing(pilot, rows)
        for y in range(1, len(rows) + 1):
            assert "failed" not in lines.render_line(y).text


# -- the cursor ------------------------------------------------------------------------------------------------------
async def test_keys_move_the_cursor_and_keep_it_in_sight() -> None:
    app = Stage()
    async with app.run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(100))
        app.moved.clear()
        for key, cursor in (
            ("j", 1), ("down", 2), ("k", 1), ("up", 0), ("up", 0), ("pagedown", 6), ("pagedown", 12), ("pageup", 6),
            ("G", 99), ("end", 99), ("j", 99), ("g", 0), ("end", 99), ("home", 0),
        ):  # fmt: skip
            await pilot.press(key)
            assert (key, lines.cursor) == (key, cursor)
            assert lines.top_row <= cursor < lines.top_row + lines.page_size
        await pilot.pause()
        assert app.moved == [1, 2, 1, 0, 6, 12, 6, 99, 0, 99, 0]
        assert not any(active.binding.show for active in app.active_bindings.values() if active.node is lines)
        await pilot.press("enter")
        assert app.chosen == [0]


async def test_the_cursor_stays_on_its_row_when_rows_move() -> None:
    app = Stage()
    async with app.run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(100))
        lines.move_to(5)
        await pilot.pause()
        app.moved.clear()
        await showing(pilot, [line(number) for number in range(-20, 100)])
        assert lines.current == line(5)
        assert lines.cursor == 25
        assert "t5" in keys_seen(lines)
        assert app.moved == []  # it is on the same row


async def test_the_cursor_takes_the_place_of_a_row_that_is_gone() -> None:
    app = Stage()
    async with app.run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(100))
        lines.move_to(98)
        await showing(pilot, [row for row in some(100) if row.key != 98])
        assert lines.current == line(99)
        await showing(pilot, some(3))
        assert lines.current == line(2)
        assert keys_seen(lines)[:3] == ["t0", "t1", "t2"]
        await pilot.pause()
        assert app.moved[-3:] == [98, 98, 2]


async def test_keys_in_an_empty_list_do_nothing() -> None:
    app = Stage()
    async with app.run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(3))
        await showing(pilot, [])
        assert lines.current is None
        await pilot.press("enter", "j", "G", "pageup")
        assert (lines.cursor, app.chosen) == (0, [])


async def test_the_cursor_is_in_sight_after_a_resize() -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(100))
        lines.move_to(6)
        lines.styles.height = 4
        await until(pilot, lambda: lines.page_size == 3)
        await until(pilot, lambda: "t6" in keys_seen(lines))
        await pilot.resize_terminal(30, 20)
        await pilot.pause()
        assert widget_lines(lines)[0].split() == ["id", "text"]


async def test_rows_before_the_first_layout_are_shown_after_it() -> None:
    app = Stage()
    app.list.show(some(3))
    app.list.render_line(0)
    async with app.run_test(size=(60, 20)) as pilot:
        await pilot.pause()
        assert keys_seen(app.list)[:3] == ["t0", "t1", "t2"]


# -- the mouse -------------------------------------------------------------------------------------------------------
async def test_a_click_moves_the_cursor_and_a_double_click_chooses() -> None:
    app = Stage()
    async with app.run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(100))
        app.other.focus()
        lines.scroll_to(y=20, animate=False)
        await pilot.pause()
        await pilot.click(lines, offset=(5, 3))
        assert lines.current == line(22)
        assert lines.has_focus
        assert app.chosen == []
        await pilot.click(lines, offset=(5, 5), times=2)
        assert app.chosen == [24]


async def test_a_double_click_chooses_what_was_clicked_first_though_rows_move() -> None:
    app = Stage()
    async with app.run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(5))
        await pilot.click(lines, offset=(5, 3))
        await showing(pilot, some(5)[1:])
        lines.on_click(events.Click(lines, 5, 3, 0, 0, 1, False, False, False, chain=2))
        await pilot.pause()
        assert app.chosen == [2]


async def test_clicks_beside_the_rows_do_nothing_and_titles_are_told_apart() -> None:
    heads: list[int] = []

    class Sorted(LineList):
        def head_clicked(self, column: int) -> None:
            heads.append(column)

    app = Stage()
    app.list = Sorted(COLUMNS, id="list")
    async with app.run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(2))
        await pilot.click(lines, offset=(5, 6))
        assert (lines.cursor, app.chosen) == (0, [])
        for x in (2, 9, 20, 30):
            await pilot.click(lines, offset=(x, 0))
        assert heads == [0, 1, 2, 3]


async def test_a_click_before_the_first_column_is_told_and_else_is_as_any_other() -> None:
    clicked: list[int] = []

    class Marked(LineList):
        def gutter_clicked(self, index: int) -> bool:
            clicked.append(index)
            return True

    app = Stage()
    app.list = Marked(COLUMNS, id="list")
    async with app.run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(5))
        await pilot.click(lines, offset=(1, 3))
        assert (clicked, lines.cursor) == ([2], 2)
        await pilot.click(lines, offset=(2, 4))
        await pilot.click(lines, offset=(0, 7))
        assert (clicked, lines.cursor) == ([2], 3)
        await pilot.click(lines, offset=(0, 1), times=2)
        assert (clicked, app.chosen) == ([2, 0, 0], [])
    app = Stage()
    async with app.run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(5))
        await pilot.click(lines, offset=(0, 3), times=2)
        assert (lines.cursor, app.chosen) == (2, [2])


async def test_the_wheel_scrolls_and_the_row_under_the_mouse_stands_out() -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(100))
        plain = lines.render_line(3)
        await pilot.hover(lines, offset=(5, 3))
        await until(pilot, lambda: lines.render_line(3) != plain)
        assert lines.render_line(3).text == plain.text
        await pilot._post_mouse_events([events.MouseScrollDown], lines, offset=(5, 3))
        await until(pilot, lambda: lines.top_row > 0)
        assert lines.cursor == 0
        await pilot.hover("#other")
        await until(pilot, lambda: [segment.style for segment in lines.render_line(3)] == [s.style for s in plain])


# -- faults ----------------------------------------------------------------------------------------------------------
async def test_a_fault_is_shown_until_the_next_good_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        lines = await showing(pilot, some(3))
        lines.fault(ValueError("\x1b[31m[b]secret"))
        await pilot.pause()
        assert rows_seen(lines) == [""] * 7
        assert widget_lines(lines)[0] == "  this panel failed: ValueError, see the log"
        await pilot.resize_terminal(30, 20)
        await pilot.pause()
        assert widget_lines(lines)[:2] == ["  this panel failed:", "  ValueError, see the log"]  # all of it
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        regions = drawn_again(lines, monkeypatch)
        lines.fault(ValueError("again"))
        assert regions == []
        monkeypatch.undo()
        await showing(pilot, some(3))
        assert keys_seen(lines)[:3] == ["t0", "t1", "t2"]


async def test_a_line_that_cannot_be_drawn_says_so_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with Stage().run_test(size=(60, 20)) as pilot:
        with caplog.at_level(logging.ERROR, "agentdash.ui"):
            lines = await showing(pilot, [line(0), Line(1, (Cell("x", "no such style"),)), line(2)])
            lines.refresh()
            await pilot.pause()
        assert widget_lines(lines)[2] == "this panel failed: KeyError, see the log"
        assert keys_seen(lines)[2] == "t2"
        (record,) = caplog.records
        assert record.action == "panel_fault"  # type: ignore[attr-defined]
        assert "list" in record.getMessage()


def test_shorten_and_the_screen_measure_alike() -> None:
    """`fit` cuts with the first and is drawn by the second; where they differ is worth knowing."""
    text = "漢字 e\u0301 ☃ naïve 🎉 ▸✓"
    assert cell_width(text) == cell_len(text)
    assert cell_len(shorten(text, 9)) <= 9
    assert Segment(text).cell_length == cell_len(text)
