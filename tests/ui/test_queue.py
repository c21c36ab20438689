"""The queue under the hand: its cursor, marks and order, and that no task and no width breaks it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agentdash.model import TaskQuery, TaskSort, TaskState
from agentdash.ui.panels import marks, taskrows
from agentdash.ui.panels.asking import HOLD_S
from tests.ui.moments import HOSTILE, NOW
from tests.ui.queue_stage import SIZE, Stage, Store, ids_seen, many, of_state, rows_seen, settled, task, until
from tests.ui.screen_text import screen_text, widget_lines


# -- the cursor ------------------------------------------------------------------------------------------------------
async def test_the_cursor_stays_on_its_task_when_others_come_and_go() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        await pilot.press("j", "j", "j", "j")
        app.store.tasks = [row for row in many() if row.seq not in (0, 2)]
        app.tick(1)
        await until(pilot, lambda: app.queue.cursor == 2)
        assert app.queue.selected_ids() == ("t0004",)
        app.store.tasks = [row for row in many() if row.seq not in (0, 2, 4)]
        app.tick(1)
        await until(pilot, lambda: app.queue.selected_ids() == ("t0005",))  # what stands in its place
        assert app.queue.cursor == 2


async def test_a_task_that_moved_by_less_than_a_screenful_is_followed() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        await pilot.press("j")
        app.store.tasks = [task(number) for number in range(1000, 1010)] + many()
        app.tick(1)
        await until(pilot, lambda: app.queue.cursor == 11)
        assert app.queue.selected_ids() == ("t0001",)
        assert "t0001" in ids_seen(app)


async def test_a_cursor_out_of_sight_keeps_its_task() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        await pilot.press("j", "j")
        app.queue.scroll_to(y=300, animate=False)
        await settled(pilot)
        app.store.tasks = many()[1:]
        app.tick(1)
        await settled(pilot)
        assert app.queue.selected_ids() == ("t0002",)
        app.queue.scroll_to(y=0, animate=False)
        await settled(pilot)
        assert (app.queue.cursor, app.queue.selected_ids()) == (1, ("t0002",))


async def test_the_newest_is_watched_from_the_top() -> None:
    async with Stage(Store(of_state(TaskState.SUCCEEDED, 50))).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        await pilot.press("s")
        await settled(pilot)
        assert app.queue.query_shown.sort is TaskSort.RECENT
        app.store.tasks += [replace(task(99, TaskState.SUCCEEDED), since=NOW + 5)]
        app.tick(1)
        await until(pilot, lambda: app.queue.selected_ids() == ("t0099",))
        assert app.queue.cursor == 0
        await pilot.press("j")
        app.store.tasks += [replace(task(98, TaskState.SUCCEEDED), since=NOW + 6)]
        app.tick(HOLD_S)
        await until(pilot, lambda: app.queue.cursor == 2)
        assert app.queue.selected_ids() == ("t0000",)  # elsewhere the cursor stays on its task,
        assert app.queue.top_row == 1  # and both where they are on the screen


async def test_a_click_beside_a_task_marks_it() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        await pilot.click(app.queue, offset=(0, 3))
        assert app.queue.marked == 1
        marked = app.queue.selected_ids()
        await pilot.click(app.queue, offset=(0, 3))
        assert app.queue.marked == 0
        assert app.queue.selected_ids() == marked


async def test_enter_and_a_double_click_open_the_task() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        await pilot.press("j", "enter")
        await pilot.click(app.queue, offset=(10, 4), times=2)
        assert app.opened == ["t0001", "t0003"]


# -- marks -----------------------------------------------------------------------------------------------------------
async def test_space_marks_and_goes_on_and_marks_are_what_is_selected() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        assert app.queue.selected_ids() == ("t0000",)
        await pilot.press("space", "j", "space", "space")
        await pilot.pause()
        assert app.queue.cursor == 4
        assert app.queue.selected_ids() == ("t0000", "t0002", "t0003")
        assert [text[1] for text in rows_seen(app)[:5]] == ["✓", " ", "✓", "✓", " "]
        assert "3 marked" in screen_text(app)
        await pilot.press("k", "space")
        assert app.queue.selected_ids() == ("t0000", "t0002")
        assert [row.state for row in app.queue.selected_rows()] == [TaskState.SUCCEEDED, TaskState.PENDING]
        app.panel.set_state(3)
        await settled(pilot)
        assert app.queue.selected_ids() == ("t0000", "t0002")  # also where they don't show
        app.queue.clear_marks()
        await pilot.pause()
        assert "marked" not in screen_text(app)
        assert app.queue.selected_ids() == ("t0003",)


async def test_the_states_of_marked_tasks_are_kept_up_to_date() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        await pilot.press("j", "space")
        assert [row.state for row in app.queue.selected_rows()] == [TaskState.RUNNING]
        app.store.tasks[1] = task(1, TaskState.FAILED)
        app.tick(1)
        await until(pilot, lambda: [row.state for row in app.queue.selected_rows()] == [TaskState.FAILED])


async def test_marks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "MOST_MARKS", 2)
    rung: list[bool] = []
    async with Stage(Store(many())).run_test(size=SIZE, notifications=True) as pilot:
        app = await settled(pilot)
        monkeypatch.setattr(app, "bell", lambda: rung.append(True))
        await pilot.press("space", "space", "space")
        assert app.queue.marked == 2
        assert rung
        await pilot.press("g", "space", "G")
        assert app.queue.marked == 1


# -- order -----------------------------------------------------------------------------------------------------------
async def test_sorting_by_key_and_by_title() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        seen = []
        for key in ("s", "S", "s", "s", "s"):
            await pilot.press(key)
            await settled(pilot)
            head = next((word for word in widget_lines(app.queue)[0].split() if word[-1] in "▲▼"), "")
            seen.append((app.queue.query_shown.sort.value, app.queue.query_shown.descending, head))
        assert seen == [
            ("recent", False, ""),  # it neither rises nor falls: the border says it in words
            ("recent", True, ""),
            ("tries", False, "try▼"),
            ("id", False, "id▲"),
            ("order", False, ""),
        ]
        titles = widget_lines(app.queue)[0]
        for title, expected in (
            ("id", TaskQuery(sort=TaskSort.ID)),
            ("id", TaskQuery(sort=TaskSort.ID, descending=True)),
            ("age", TaskQuery(sort=TaskSort.RECENT)),
            ("try", TaskQuery(sort=TaskSort.TRIES)),
            ("worker", TaskQuery(sort=TaskSort.TRIES)),
            ("state", TaskQuery()),
        ):
            await pilot.click(app.queue, offset=(titles.index(title), 0))
            assert app.queue.query_shown == expected
        await pilot.press("s")
        await pilot.pause()
        assert "running first, then the newest" in widget_lines(app.panel)[-1]
        for tab, words in ((2, "by age ▼"), (4, "by age ▲")):  # the longest first; the newest first
            app.panel.set_state(tab)
            await settled(pilot)
            assert words in widget_lines(app.panel)[-1]


# -- whatever it holds -----------------------------------------------------------------------------------------------
async def test_hostile_tasks_are_only_shown() -> None:
    hostile = [
        replace(task(number), id=f"{number}{HOSTILE}", text=HOSTILE, error=HOSTILE, worker=HOSTILE)
        for number in range(8)
    ]
    async with Stage(Store(hostile)).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        assert "this panel failed" not in screen_text(app)
        assert "[/]b" in screen_text(app)
        assert all(character.isprintable() or character == "\n" for character in screen_text(app))
        await pilot.press("space")
        assert app.queue.selected_ids() == (f"0{HOSTILE}",)


@pytest.mark.parametrize(
    ("state", "words"),
    [(0, "No tasks yet."), (1, "No task is waiting."), (2, "No task is running."), (3, "No task has failed.")],
)
async def test_an_empty_list_says_what_it_would_hold(state: int, words: str) -> None:
    async with Stage(Store([])).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.panel.set_state(state)
        await settled(pilot)
        assert words in rows_seen(app)[0]
        app.panel.filter_by("a[/]b", taskrows.TABS[state][0])
        await settled(pilot)
        assert "No task matches “a[/]b”. Esc clears the filter." in rows_seen(app)[0]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
async def test_no_width_breaks_the_panel(width: int) -> None:
    async with Stage(Store(many())).run_test(size=(width, 12)) as pilot:
        app = await settled(pilot)
        assert "t0000" in screen_text(app)
        for height in (3, 2, 1, 20):
            await pilot.resize_terminal(width, height)
            await settled(pilot)
        assert "failed:" not in screen_text(app)
        assert "t0000" in screen_text(app)
