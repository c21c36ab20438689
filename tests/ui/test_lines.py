"""The list that the panels are made of: what it shows, what it draws again, its looks and its faults."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.style import Style
from textual.color import Color
from textual.filter import Monochrome
from textual.geometry import Region
from textual.theme import Theme

from agentdash.ui.panels.lines import STYLES, Cell, Line, LineList
from agentdash.ui.panels.painter import Painter
from agentdash.ui.themes import THEMES
from tests.ui.line_stage import COLUMNS, Stage, keys_seen, line, rows_seen, showing, some
from tests.ui.screen_text import until, widget_lines


def drawn_again(lines: LineList, monkeypatch: pytest.MonkeyPatch) -> list[Region]:
    """What is asked to be drawn from now on."""
    regions: list[Region] = []

    def refresh(*asked: Region, **_: object) -> LineList:
        regions.extend(asked or [lines.size.region])
        return lines

    monkeypatch.setattr(lines, "refresh", refresh)
    return regions


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


# -- its looks --------------------------------------------------------------------------------------------------------
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
