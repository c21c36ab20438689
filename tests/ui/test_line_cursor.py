"""The cursor of a list: keys and mouse that move it, and the rows that move under it."""

from __future__ import annotations

from textual import events

from agentdash.ui.panels.lines import LineList
from tests.ui.line_stage import COLUMNS, Stage, keys_seen, line, showing, some
from tests.ui.screen_text import until, widget_lines


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
