"""The queue: which rows it reads and when, what it shows of them, and what its keys, tabs and filter select."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widgets import Input

from agentdash.model import (
    Counts,
    LinkedTask,
    Snapshot,
    TaskQuery,
    TaskRow,
    TaskSort,
    TaskState,
    TaskWindow,
    Totals,
)
from agentdash.ui.panels import filterbar, tasklist, taskrows
from agentdash.ui.panels.asking import HOLD_S, LEAST_S, LIVE_S, Asking
from agentdash.ui.panels.cells import place
from agentdash.ui.panels.queue import Queue, QueuePanel
from agentdash.ui.panels.statetabs import StateTabs
from tests.support.clock import FakeClock
from tests.ui.moments import HOSTILE, NOW, regions_drawn
from tests.ui.screen_text import screen_text, widget_lines

_DEADLINE_S = 10.0
_CYCLE = (
    TaskState.SUCCEEDED, TaskState.RUNNING, TaskState.PENDING, TaskState.FAILED, TaskState.PENDING,
)  # fmt: skip


def task(number: int, state: TaskState | None = None) -> TaskRow:
    of = state or _CYCLE[number % len(_CYCLE)]
    return TaskRow(
        seq=number,
        id=f"t{number:04}",
        state=of,
        tries=0 if of is TaskState.PENDING else 1,
        worker=f"worker-{number % 64}" if of is TaskState.RUNNING else None,
        since=None if of is TaskState.PENDING else NOW - number,
        text=f"Summarise report {number}",
        error="400: this input is refused" if of is TaskState.FAILED else None,
    )


class Store:
    """Answers as the engine would, from a list; `gate` holds answers back, `fails` makes them errors."""

    def __init__(self, tasks: list[TaskRow]) -> None:
        self.tasks = tasks
        self.asked: list[tuple[TaskQuery, int, int]] = []
        self.under_way = self.most_under_way = 0
        self.gate: asyncio.Event | None = None
        self.fails: Exception | None = None
        self.searched = 1.0

    async def list_tasks(self, query: TaskQuery, start: int, count: int) -> TaskWindow:
        self.asked.append((query, start, count))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        if self.fails is not None:
            raise self.fails
        rows = self.matching(query)
        return TaskWindow(query, start, tuple(rows[start : start + count]), len(rows), self.searched)

    def matching(self, query: TaskQuery) -> list[TaskRow]:
        needle = query.text.lower()
        rows = [row for row in self.tasks if query.state in (None, row.state)]
        rows = [row for row in rows if needle in f"{row.id} {row.text} {row.error} {row.worker}".lower()]
        if query.sort is TaskSort.ID:
            rows.sort(key=lambda row: row.id)
        elif query.sort is TaskSort.TRIES:
            rows.sort(key=lambda row: -row.tries)
        elif query.sort is TaskSort.RECENT:
            rows.sort(key=lambda row: (0, row.since or 0) if row.state is TaskState.RUNNING else (1, -(row.since or 0)))
        return rows[::-1] if query.descending else rows

    def snapshot(self, event_seq: int = 0) -> Snapshot:
        counts = Counts(**{state.value: sum(row.state is state for row in self.tasks) for state in TaskState})
        return Snapshot("running", NOW, counts, Totals(), paused=False, waiting_for="", event_seq=event_seq)


class Stage(App[None]):
    """The queue alone. Its size is that of the app; it is 12 lines high, of which 8 are rows."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.clock = FakeClock(NOW)
        self.panel = QueuePanel(store.list_tasks, monotonic=self.clock.monotonic)
        self.opened: list[str] = []

    def compose(self) -> ComposeResult:
        yield self.panel

    def on_mount(self) -> None:
        self.queue.focus()

    @property
    def queue(self) -> Queue:
        return self.panel.query_one(Queue)

    def tick(self, seconds: float = 0.0, *, event_seq: int = 0) -> None:
        """What the app does four times a second."""
        self.clock.advance(seconds)
        self.panel.update(self.store.snapshot(event_seq), self.clock.now())

    def on_queue_opened(self, event: Queue.Opened) -> None:
        self.opened.append(event.task_id)


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Wait for what comes in real time: a debounce, an answer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _DEADLINE_S
    while not condition():
        assert loop.time() < deadline, screen_text(pilot.app)
        await pilot.pause(0.005)


async def settled(pilot: Pilot[None]) -> Stage:
    """A tick, and every answer to it."""
    app = pilot.app
    assert isinstance(app, Stage)
    app.tick()
    await pilot.pause()
    await until(pilot, lambda: app.store.under_way == 0)
    await pilot.pause()
    return app


def ids_seen(app: Stage) -> list[str]:
    return [text[2:].split()[0] if text[2:].strip() else "" for text in rows_seen(app)]


def rows_seen(app: Stage) -> list[str]:
    return widget_lines(app.queue)[1:]


def many(count: int = 500) -> list[TaskRow]:
    return [task(number) for number in range(count)]


def of_state(state: TaskState, count: int) -> list[TaskRow]:
    return [task(number, state) for number in range(count)]


SIZE = (100, 12)


# -- what is read, and when ------------------------------------------------------------------------------------------
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


def test_asking_costs_a_tenth_of_the_time_at_most() -> None:
    clock = FakeClock(0.0)
    asking, query, rows = Asking(clock.monotonic), TaskQuery(), range(8)
    first = asking.next(query, rows)
    assert first is not None
    clock.advance(0.5)
    asking.ended(first)
    asking.stale = True
    clock.advance(4.9)
    assert asking.next(query, rows) is None
    clock.advance(0.2)
    assert asking.next(query, rows) is not None


LIVE = TaskQuery(sort=TaskSort.RECENT)


def answered(asking: Asking, *, live: bool) -> bool:
    """Whether the rows are asked for again now; if so, the answer comes at once."""
    asking.stale = True
    if (request := asking.next(LIVE, range(8), live=live)) is None:
        return False
    asking.ended(request)
    return True


@pytest.mark.parametrize(("live", "every"), [(True, LIVE_S), (False, LEAST_S)])
def test_a_live_list_is_put_into_another_order_once_a_second(live: bool, every: float) -> None:
    clock = FakeClock(0.0)
    asking = Asking(clock.monotonic)
    assert answered(asking, live=live)
    clock.advance(every - 0.01)
    assert not answered(asking, live=live)
    clock.advance(0.02)
    assert answered(asking, live=live)


def test_a_live_list_keeps_its_order_while_a_hand_is_on_it() -> None:
    clock = FakeClock(0.0)
    asking = Asking(clock.monotonic)
    assert answered(asking, live=True)
    clock.advance(5)
    asking.hold()
    clock.advance(HOLD_S - 0.01)
    assert not answered(asking, live=True)
    assert answered(asking, live=False)  # lists that stand still anyhow need no hold
    clock.advance(LIVE_S)
    assert answered(asking, live=True)
    asking.hold()
    further = asking.next(LIVE, range(100, 108), live=True)  # rows that are not there are asked for at once
    assert further is not None
    asking.ended(further)
    asking.release()
    assert answered(asking, live=True)


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


def test_asking_drops_what_is_outdated() -> None:
    asking = Asking(FakeClock().monotonic)
    first = asking.next(TaskQuery(), range(8))
    assert first is not None
    assert asking.next(TaskQuery(), range(100, 108)) is None  # one at a time
    second = asking.next(TaskQuery(text="x"), range(8))  # but a new query at once
    assert second is not None
    asking.ended(first)
    assert asking.next(TaskQuery(text="x"), range(50, 58)) is None  # the first one's end is not the second's
    asking.ended(second)
    third = asking.next(TaskQuery(text="x"), range(50, 58))
    assert third is not None
    assert (third.start, third.count) == (42, 24)
    asking.ended(third, failed=True)
    assert asking.stale
    assert asking.next(TaskQuery(), range(0)) is None  # nothing can be seen


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
    monkeypatch.setattr(tasklist, "MOST_MARKS", 2)
    rung: list[bool] = []
    async with Stage(Store(many())).run_test(size=SIZE, notifications=True) as pilot:
        app = await settled(pilot)
        monkeypatch.setattr(app, "bell", lambda: rung.append(True))
        await pilot.press("space", "space", "space")
        assert app.queue.marked == 2
        assert rung
        await pilot.press("g", "space", "G")
        assert app.queue.marked == 1


# -- tabs ------------------------------------------------------------------------------------------------------------
async def test_tabs_count_and_choose() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        tabs = app.panel.query_one(StateTabs)
        assert widget_lines(tabs)[0] == "│ 1 all 500  2 pending 200  3 running 100  4 failed 100  5 done 100".lstrip(
            "│"
        )
        app.panel.set_state(3)
        await settled(pilot)
        assert ids_seen(app)[:2] == ["t0003", "t0008"]
        app.panel.next_state(1)
        await settled(pilot)
        assert all("  ✔ " in text and "done" not in text for text in rows_seen(app))  # the tab says the word
        app.panel.next_state(1)  # round the end: there is no cancelled task
        assert tabs.active == 0
        app.panel.next_state(-1)
        assert tabs.active == 4
        await pilot.click(tabs, offset=(15, 0))
        await settled(pilot)
        assert tabs.active == 1
        assert app.queue.query_shown.state is TaskState.PENDING


async def test_the_tab_of_cancelled_tasks_is_there_if_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[bool] = []
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        monkeypatch.setattr(app, "bell", lambda: rung.append(True))
        app.panel.set_state(5)
        assert (app.panel.query_one(StateTabs).active, rung) == (0, [True])
        app.store.tasks[7] = task(7, TaskState.CANCELLED)
        app.tick(1)
        app.panel.next_state(-1)
        await settled(pilot)
        assert "6 cancelled 1" in screen_text(app)
        assert ids_seen(app)[0] == "t0007"
        app.store.tasks[7] = task(7)
        app.tick(1)
        await until(pilot, lambda: "No task was cancelled." in screen_text(app))
        assert "6 cancelled 0" in screen_text(app)  # one stands on it


@pytest.mark.parametrize(
    ("width", "total", "shown"),
    [
        (100, 700, " 1 all 700  2 pending 280  3 running 140  4 failed 140  5 done 140"),
        (60, 700, " 1 all 700  2 pend 280  3 run 140  4 fail 140  5 done 140"),
        (66, 1_000_000, " 1 all 1.0M  2 pend 400k  3 run 200k  4 fail 200k  5 done 200k"),
        (56, 700, " 1 all 700  2 ○ 280  3 ● 140  4 ✖ 140  5 ✔ 140"),
        (46, 700, " all 700  ○ 280  ● 140  ✖ 140  ✔ 140"),
        (36, 1_000_000, " all1.0M ○400k ●200k ✖200k ✔200k"),
    ],
)
async def test_tabs_in_little_room(width: int, total: int, shown: str) -> None:
    async with Stage(Store(many(5))).run_test(size=(width, 12)) as pilot:
        app = await settled(pilot)
        fifth = total // 5
        app.panel.query_one(StateTabs).update(Counts(2 * fifth, fifth, fifth, fifth))
        await pilot.pause()
        assert widget_lines(app.panel.query_one(StateTabs))[0] == shown


# -- filter ----------------------------------------------------------------------------------------------------------
async def test_typing_filters_once_the_user_pauses() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.panel.open_filter()
        await pilot.press(*"t0007")
        await until(pilot, lambda: "1 match" in screen_text(app))
        assert [query.text for query, _, _ in app.store.asked] == ["", "t0007"]
        assert ids_seen(app)[0] == "t0007"
        await pilot.press("backspace", "enter")  # Enter does not wait
        await settled(pilot)
        assert app.queue.has_focus
        assert "10 matches" in screen_text(app)
        app.panel.open_filter()
        await until(pilot, lambda: not app.queue.has_focus)
        await pilot.press("escape")
        await until(pilot, lambda: app.panel.query_one(Queue).has_focus)
        await settled(pilot)
        assert "match" not in screen_text(app)
        assert app.queue.row_count == 500
        assert not app.panel.clear()


async def test_a_search_says_how_far_it_is() -> None:
    store = Store(many())
    async with Stage(store).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        store.searched = 0.4
        app.panel.filter_by("REFUSED", TaskState.FAILED)
        await settled(pilot)
        assert "searched 40 %, 100 matches" in screen_text(app)
        assert app.queue.query_shown == TaskQuery(TaskState.FAILED, "REFUSED")
        assert app.panel.query_one(StateTabs).active == 3
        assert app.queue.has_focus
        store.searched = 1.0
        app.tick(1)
        await until(pilot, lambda: "searched" not in screen_text(app))
        assert app.panel.clear()  # Escape in the list
        await settled(pilot)
        assert app.queue.query_shown == TaskQuery(TaskState.FAILED)


async def test_escape_clears_the_filter_before_the_marks() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        await pilot.press("space")
        app.panel.filter_by("report")
        assert app.panel.clear()
        assert app.queue.marked == 1
        assert app.panel.clear()
        assert app.queue.marked == 0
        assert not app.panel.clear()


async def test_a_filter_that_is_hostile_is_shown_cleaned() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.panel.open_filter()
        app.panel.query_one(Input).value = HOSTILE
        await until(pilot, lambda: "No task matches" in screen_text(app))
        assert "[@click=app.quit]x[/]" in screen_text(app)
        assert all(character.isprintable() or character == "\n" for character in screen_text(app))


async def test_an_empty_filter_closes() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.panel.open_filter()
        await pilot.press("space", "enter")
        assert app.queue.has_focus
        assert not app.panel.query_one(filterbar.FilterBar).display


@pytest.mark.parametrize(("width", "told"), [(100, True), (56, False)])
async def test_the_keys_of_the_filter_are_told_while_one_types(width: int, told: bool) -> None:
    async with Stage(Store(many())).run_test(size=(width, 12)) as pilot:
        app = await settled(pilot)
        app.panel.open_filter()
        await pilot.press(*"t0007")
        await until(pilot, lambda: "1 match" in screen_text(app))
        assert ("1 match  ⏎ keep  esc clear" in screen_text(app)) is told
        await pilot.press("enter")
        await settled(pilot)
        assert "1 match" in screen_text(app)
        assert "keep" not in screen_text(app)  # in the list these keys mean something else


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


# -- how a task looks ------------------------------------------------------------------------------------------------
_PENDING = [("a", ""), ("○ pending", "dim"), ("–", "dim"), ("–", "dim"), ("–", "dim")]


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (
            TaskRow(1, "a", TaskState.RUNNING, 0, 2, "worker-12", NOW - 2.3, 0.0, "words", "earlier"),
            [("a", ""), ("● running", "accent"), ("3", "warn"), ("w12", ""), ("2.3s", ""), ("words", "")],
        ),
        (
            TaskRow(1, "a", TaskState.PENDING, available_at=NOW + 11.2, text="words", error="earlier", tries=1),
            [("a", ""), ("○ pending", "dim"), ("1", ""), ("–", "dim"), ("in 12s", "warn"), ("earlier", "dim")],
        ),
        (
            TaskRow(1, "a", TaskState.PENDING, available_at=NOW - 5, text="words"),
            [("a", ""), ("○ pending", "dim"), ("–", "dim"), ("–", "dim"), ("–", "dim"), ("words", "")],
        ),
        (
            TaskRow(1, "a", TaskState.PENDING, text="words", waits_for=("b", "c"), waits_for_more=1200),
            [*_PENDING, ("waits for b, c and 1,200 more", "dim")],
        ),
        (
            TaskRow(1, "a", TaskState.PENDING, waits_for=("b",), held_by=LinkedTask("c", TaskState.FAILED)),
            [*_PENDING, ("held: c failed", "warn")],
        ),
        (
            TaskRow(1, "a", TaskState.PENDING, waits_for=("b",), held_by=LinkedTask("c", TaskState.CANCELLED)),
            [*_PENDING, ("held: c was cancelled", "warn")],
        ),
        (
            TaskRow(1, "a", TaskState.FAILED, 0, 3, None, NOW - 7300, 0.0, "words", "400: refused"),
            [("a", ""), ("✖ failed", "bad"), ("3", "warn"), ("–", "dim"), ("2h01", "dim"), ("refused (400)", "bad")],
        ),
        (
            TaskRow(1, "a", TaskState.SUCCEEDED, 0, 1, None, NOW - 75, 0.0, "words", "earlier"),
            [("a", ""), ("✔ done", "good"), ("1", ""), ("–", "dim"), ("1:15", "dim"), ("words", "")],
        ),
        (
            TaskRow(1, "a", TaskState.CANCELLED, text="words"),
            [("a", ""), ("⊘ cancelled", "dim"), ("–", "dim"), ("–", "dim"), ("–", "dim"), ("words", "")],
        ),
    ],
)
def test_cells_of_a_task(row: TaskRow, cells: list[tuple[str, str]]) -> None:
    shown = taskrows.line(row, NOW, marked=False)
    assert [(cell.text, cell.style) for cell in shown.cells] == cells
    assert shown.key == 1


@given(st.floats(0, 1e12))
def test_a_wait_fits_its_column(seconds: float) -> None:
    shown = taskrows.line(TaskRow(1, "a", TaskState.PENDING, available_at=NOW + seconds), NOW, marked=False)
    assert len(shown.cells[4].text) <= 6


def test_the_id_stays_and_the_text_has_room_at_every_width() -> None:
    for width in range(20, 200):
        placed = dict(place(taskrows.columns(width, 40, TaskQuery()), width - 2))
        assert {0, 1, 5} <= set(placed) or width < 30, width
        assert placed[0] >= 6, width
        assert placed.get(5, 0) >= 12 or width < 56, width
        assert len(placed) == 6 or width < 76, width


text = st.text(st.characters(codec=None), max_size=60)
rows = st.builds(
    TaskRow,
    seq=st.integers(),
    id=text,
    state=st.sampled_from(TaskState),
    tries=st.integers(0, 10**9),
    worker=st.none() | text,
    since=st.none() | st.floats(),
    available_at=st.floats(),
    text=text,
    error=st.none() | text,
)


@given(rows, st.booleans())
def test_any_task_can_be_shown(row: TaskRow, marked: bool) -> None:
    assert len(taskrows.line(row, NOW, marked=marked).cells) == 6
    taskrows.id_cells(row)


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
