"""Which rows the queue reads and when, and what it makes of answers that come late, fail or differ."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest
from textual.geometry import Region

from agentdash.model import TaskQuery, TaskRow, TaskSort, TaskState, TaskWindow
from agentdash.ui.panels.asking import HOLD_S, LIVE_S
from tests.ui.moments import NOW, regions_drawn
from tests.ui.queue_stage import SIZE, Stage, Store, ids_seen, many, of_state, rows_seen, settled, task, until
from tests.ui.screen_text import screen_text

LIVE = TaskQuery(sort=TaskSort.RECENT)


async def test_the_visible_rows_and_a_screenful_on_either_side_are_read() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        assert app.store.asked == [(TaskQuery(), 0, 16)]
        assert ids_seen(app) == [f"t{number:04}" for number in range(8)]
        app.queue.scroll_to(y=200, animate=False)
        await settled(pilot)
        assert app.store.asked[-1] == (TaskQuery(), 192, 24)
        app.queue.scroll_to(y=206, animate=False)
        await settled(pilot)
        assert app.store.asked[-1] == (TaskQuery(), 192, 24)  # those are there already
        assert ids_seen(app)[0] == "t0206"
        assert app.queue.row_count == 500


async def test_ages_grow_without_reading_anything() -> None:
    async with Stage(Store(of_state(TaskState.SUCCEEDED, 20))).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        assert " 3.0s " in rows_seen(app)[3]
        app.tick(0.3)
        await settled(pilot)
        before = len(app.store.asked)
        for _ in range(40):
            app.tick(0.25)
        await pilot.pause()
        assert " 13s " in rows_seen(app)[3]
        assert len(app.store.asked) == before


async def test_ages_of_what_runs_grow_with_all_others_and_not_when_it_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Stage(Store(of_state(TaskState.RUNNING, 3))).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.store.gate = asyncio.Event()
        app.tick(20)
        await pilot.pause()
        assert app.store.under_way == 1
        assert " 20s " in rows_seen(app)[0]
        drawn = regions_drawn(app.queue, monkeypatch)
        app.store.gate.set()
        await until(pilot, lambda: app.store.under_way == 0)
        await pilot.pause()
        assert drawn == []
        app.store.tasks[1] = replace(app.store.tasks[1], worker="worker-9")
        app.tick(0.0)
        app.tick(0.3)
        await until(pilot, lambda: drawn == [Region(0, 2, app.queue.size.width, 1)])


async def test_rows_are_read_again_when_they_may_have_changed_and_not_too_often() -> None:
    async with Stage(Store(of_state(TaskState.SUCCEEDED, 20))).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.tick(0.1, event_seq=1)
        await pilot.pause()
        assert len(app.store.asked) == 1  # it was asked less than a tick ago
        app.tick(0.2, event_seq=1)
        await until(pilot, lambda: len(app.store.asked) == 2)
        app.store.tasks[0] = task(0, TaskState.FAILED)
        app.tick(0.3, event_seq=1)  # the counts have changed
        await until(pilot, lambda: len(app.store.asked) == 3)
        await until(pilot, lambda: "✖ failed" in rows_seen(app)[0])


async def test_while_tasks_run_or_a_search_goes_on_rows_are_read_each_time() -> None:
    async with Stage(Store([task(0, TaskState.RUNNING)])).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.tick(0.3)
        await until(pilot, lambda: len(app.store.asked) == 2)
        app.tick(0.3)
        await until(pilot, lambda: len(app.store.asked) == 3)
        app.store.asked.clear()
        app.store.tasks = of_state(TaskState.PENDING, 3)
        app.store.searched = 0.4
        for seq in (1, 2, 3):
            app.tick(0.3)
            await until(pilot, lambda seq=seq: len(app.store.asked) == seq)  # type: ignore[misc]
            await pilot.pause()
        app.store.searched = 1.0
        app.tick(0.3)
        await until(pilot, lambda: len(app.store.asked) == 4)
        await pilot.pause()
        app.tick(0.3)
        await pilot.pause()
        assert len(app.store.asked) == 4


async def test_one_request_at_a_time_and_rows_that_are_not_there_are_dots() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.store.gate = asyncio.Event()
        await pilot.press("G")
        for seq in range(5):
            app.tick(1, event_seq=seq)
            await pilot.pause()
        assert ids_seen(app) == ["·"] * 8
        assert len(app.store.asked) == 2
        app.queue.action_to_top()  # the answer is now to what is no longer asked
        app.store.gate.set()
        await until(pilot, lambda: len(app.store.asked) == 3)
        await settled(pilot)
        assert ids_seen(app)[0] == "t0000"
        assert app.store.most_under_way == 1


async def test_an_answer_to_a_query_before_is_dropped() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        gate = app.store.gate = asyncio.Event()
        app.panel.set_state(3)
        await until(pilot, lambda: app.store.under_way == 1)
        app.store.gate = None
        app.panel.set_state(1)
        await until(pilot, lambda: "  ○ " in rows_seen(app)[0])
        gate.set()
        await settled(pilot)
        assert all("  ○ " in text for text in rows_seen(app))
        assert app.queue.row_count == 200


async def test_another_list_begins_at_its_top_and_nothing_is_selected_before_it_is_there() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        await pilot.press("G")
        await settled(pilot)
        assert app.queue.selected_ids() == ("t0499",)
        app.store.gate = asyncio.Event()
        app.panel.set_state(3)
        assert app.queue.selected_ids() == ()
        app.tick()
        await pilot.pause()
        assert app.queue.selected_rows() == ()
        await pilot.press("enter", "space")
        app.tick()
        await pilot.pause()
        assert "Reading…" in rows_seen(app)[0]  # after a while
        app.store.gate.set()
        await settled(pilot)
        assert app.store.asked[-1] == (TaskQuery(TaskState.FAILED), 0, 16)
        assert ids_seen(app)[0] == "t0003"
        assert (app.queue.selected_ids(), app.opened, app.queue.marked) == (("t0003",), [], 0)


async def test_an_answer_that_comes_though_nobody_waits_for_it_is_dropped() -> None:
    class Stubborn(Store):
        async def list_tasks(self, query: TaskQuery, start: int, count: int) -> TaskWindow:
            try:
                return await super().list_tasks(query, start, count)
            except asyncio.CancelledError:
                return TaskWindow(query, start, (task(77, TaskState.FAILED),), 1)

    async with Stage(Stubborn(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.store.gate = asyncio.Event()
        app.panel.set_state(3)
        await until(pilot, lambda: app.store.under_way == 1)
        app.panel.set_state(1)
        await until(pilot, lambda: len(app.store.asked) == 3)
        await pilot.pause()
        assert app.queue.selected_ids() == ()
        app.store.gate.set()
        await settled(pilot)
        assert app.queue.row_count == 200


async def test_a_list_that_was_scrolled_gives_way_to_the_top_of_another() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.queue.scroll_to(y=50, animate=False)
        await settled(pilot)
        app.panel.set_state(1)
        await until(pilot, lambda: ids_seen(app)[0] == "t0002")
        assert (app.queue.top_row, app.queue.cursor) == (0, 0)


async def test_nothing_is_selected_in_a_list_that_ran_empty() -> None:
    async with Stage(Store(of_state(TaskState.RUNNING, 2))).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        assert app.queue.selected_ids() == ("t0000",)
        app.store.tasks = []
        app.tick(1)
        await until(pilot, lambda: "No tasks yet." in screen_text(app))
        assert app.queue.selected_ids() == ()


async def test_an_error_is_shown_logged_once_and_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.store.fails = OSError("disk [b]gone[/] \x1b[31m")
        with caplog.at_level(logging.ERROR, "agentdash.ui"):
            for seq in range(1, 4):
                app.tick(5, event_seq=seq)
                await until(pilot, lambda seq=seq: len(app.store.asked) == seq + 1)  # type: ignore[misc]
                await pilot.pause()
                app.tick(0.3, event_seq=seq)
                await pilot.pause()
                assert "this panel failed: OSError" in screen_text(app)
        assert len(caplog.records) == 1
        assert len(app.store.asked) == 4  # not before a second has passed
        app.store.fails = None
        app.tick(5)
        await until(pilot, lambda: "t0000" in screen_text(app))
        assert "failed: OSError" not in screen_text(app)


async def test_a_list_that_shrinks_under_the_cursor_is_read_at_its_new_end() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        await pilot.press("G")
        await settled(pilot)
        app.store.tasks = many(20)
        app.tick(1)
        await until(pilot, lambda: ids_seen(app)[-1] == "t0019")
        assert app.queue.cursor == 19
        await settled(pilot)
        assert app.queue.selected_ids() == ("t0019",)


async def test_a_live_list_stands_still_to_be_read_and_ages_go_on() -> None:
    tasks = [replace(task(n, TaskState.RUNNING), since=NOW - 10 + n, worker="worker-1") for n in range(5)]
    async with Stage(Store(tasks)).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.queue.ask_for(LIVE)
        await settled(pilot)
        assert ids_seen(app)[:5] == ["t0000", "t0001", "t0002", "t0003", "t0004"]  # the longest first
        app.store.tasks[0] = replace(app.store.tasks[0], state=TaskState.SUCCEEDED, since=NOW)
        app.tick(LIVE_S / 2)
        await settled(pilot)
        assert "10s" in rows_seen(app)[0]
        assert ids_seen(app)[0] == "t0000"
        app.tick(LIVE_S)
        await until(pilot, lambda: ids_seen(app)[:5] == ["t0001", "t0002", "t0003", "t0004", "t0000"])
        await pilot.press("j")
        app.store.tasks[1] = replace(app.store.tasks[1], state=TaskState.SUCCEEDED, since=NOW + 1)
        app.tick(HOLD_S - 0.1)
        await settled(pilot)
        assert ids_seen(app)[0] == "t0001"
        app.queue.look_again()  # what the user does is seen at once
        await until(pilot, lambda: ids_seen(app)[:5] == ["t0002", "t0003", "t0004", "t0001", "t0000"])


async def test_a_row_that_ran_and_is_far_down_by_now_does_not_stop_the_list() -> None:
    def running(number: int) -> TaskRow:
        return replace(task(number, TaskState.RUNNING), since=NOW - 500 + number, worker="worker-1")

    async with Stage(Store([running(n) for n in range(5)])).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.queue.ask_for(LIVE)
        await settled(pilot)
        await pilot.press("j")
        assert app.queue.selected_ids() == ("t0001",)
        ended = [replace(task(n, TaskState.SUCCEEDED), since=NOW + n) for n in range(200)]
        app.store.tasks = [*ended, *(running(n) for n in range(200, 205))]
        app.tick(HOLD_S - 0.1)
        await settled(pilot)
        assert ids_seen(app)[:2] == ["t0000", "t0001"]
        app.tick(0.2)
        await until(pilot, lambda: ids_seen(app)[:2] == ["t0200", "t0201"])
        assert app.queue.cursor == 1
        await pilot.press(*"j" * 14)  # to those that have ended: who reads them is left alone
        reading = ids_seen(app)
        app.store.tasks = [*ended, *(replace(task(n, TaskState.SUCCEEDED), since=NOW + n) for n in range(300, 400))]
        app.tick(HOLD_S + 1)
        await settled(pilot)
        assert ids_seen(app) == reading
