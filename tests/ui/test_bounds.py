"""Whatever the run's size, a moment costs what a screenful does, and what the panels keep has a cap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from textual.widgets._toast import Toast, ToastHolder

from agentdash.errors import AgentdashError
from agentdash.model import (
    Counts,
    CredentialView,
    ErrorGroup,
    Event,
    LockView,
    OutputPart,
    TaskQuery,
    TaskRow,
    TaskState,
    TaskWindow,
    WorkerView,
)
from agentdash.text import clean
from agentdash.ui.panels import headerlines
from agentdash.ui.panels.cells import Line
from agentdash.ui.panels.credentials import Credentials
from agentdash.ui.panels.document import MOST_CHARS, MOST_LINES, Document
from agentdash.ui.panels.events import MAX_EVENTS, Events
from agentdash.ui.panels.header import RunHeader
from agentdash.ui.panels.lines import LineList
from agentdash.ui.panels.lineview import LineView
from agentdash.ui.panels.locks import Locks
from agentdash.ui.panels.marks import MOST_MARKS
from agentdash.ui.panels.painter import Painter
from agentdash.ui.panels.queue import Queue
from agentdash.ui.panels.workers import Workers
from agentdash.ui.screens.help import HelpScreen
from agentdash.ui.screens.task import TaskScreen
from tests.ui.fake_run import FakeRun, FakeTask
from tests.ui.opened import opened, settled
from tests.ui.screen_text import screen_text, until

LINES = 40
"""Of the terminal the dashboard is opened in."""
A_MOMENT = 8 * LINES
"""Lines made or drawn for one moment, at the most: a few panels beside each other, a few times over."""
MANY_STRIPS = 512


class Work(Counter[str]):
    """What was done since `clear`: `made` lines, `drawn` ones, `regions` asked to be drawn."""


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    done = Work()

    def counted(owner: type, name: str, kind: str) -> None:
        real: Callable[..., object] = getattr(owner, name)

        def count(*arguments: object, **options: object) -> object:
            done[kind] += 1
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, count)

    counted(Line, "__init__", "made")
    counted(Painter, "_cells", "drawn")
    counted(LineView, "refresh", "regions")
    return done


class HugeRun(FakeRun):
    """A million tasks that are only counted, and groups of errors as one likes."""

    groups: tuple[ErrorGroup, ...] = ()

    async def list_tasks(self, query: TaskQuery, start: int, count: int) -> TaskWindow:
        assert count <= 3 * LINES
        rows = tuple(
            TaskRow(seq, f"t{seq}", TaskState.RUNNING, since=self.clock.now()) for seq in range(start, start + count)
        )
        return TaskWindow(query, start, rows, 1_000_000)

    async def error_groups(self) -> tuple[ErrorGroup, ...]:
        self._read("error_groups")
        return self.groups


def huge_run(moment: int = 0) -> HugeRun:
    run = HugeRun()
    set_moment(run, moment)
    return run


def set_moment(run: HugeRun, moment: int) -> None:
    """Everything is another than before."""
    run.clock.advance(1)
    now = run.clock.now()
    run.locks = tuple(LockView(f"t{n + moment}", f"worker-{n}", n, now, "held", now) for n in range(5_000))
    states = ("ready", "cooling", "invalid")
    run.view = replace(
        run.view,
        counts=Counts(500_000, 10_000, 400_000 + moment, 90_000),
        workers=tuple(
            WorkerView(f"worker-{n}", "running", f"t{n + moment}", n % 3, n + moment, None, now) for n in range(10_000)
        ),
        credentials=tuple(
            CredentialView(f"key-{n}", "…ab", f"org-{n}", f"api {n}", states[(n + moment) % 3], n == moment, now + 9, n)
            for n in range(1_000)
        ),
        locks=run.locks,
        max_workers=10_000,
        event_seq=len(run.events),
    )  # fmt: skip


async def test_a_moment_of_a_huge_run_costs_what_a_screenful_does(work: Work) -> None:
    run = huge_run()
    async with opened(run, (120, LINES)) as (app, pilot):
        assert "Workers 10,000" in screen_text(app)
        assert "Locks 5,000" in screen_text(app)
        assert "1,000 keys" in screen_text(app)
        panels = [panel for panel in app.screen.query(LineList) if not isinstance(panel, Events)]
        assert {Workers, Credentials, Locks, Queue} == {type(panel) for panel in panels}
        for moment in range(1, 4):
            set_moment(run, moment)
            work.clear()
            app.tick()
            await pilot.pause()
            assert 0 < work["made"] <= A_MOMENT
            assert 0 < work["drawn"] <= A_MOMENT
            assert work["regions"] <= A_MOMENT
        assert all(len(panel._rows) <= 3 * LINES for panel in panels)


async def test_nothing_is_drawn_where_nothing_has_changed(work: Work) -> None:
    run = huge_run()
    async with opened(run, (120, LINES)) as (app, pilot):
        await settled(app, pilot)
        work.clear()
        app.tick()
        await pilot.pause()
        assert work["made"] <= A_MOMENT
        assert work["drawn"] <= LINES


async def test_of_very_many_events_the_newest_are_kept(work: Work) -> None:
    run = huge_run()
    async with opened(run, (120, LINES)) as (app, pilot):
        panel = app.screen.query_one(Events)
        run.events = [Event(n, run.clock.now(), "failed", f"event {n}") for n in range(1, 100_001)]
        set_moment(run, 1)
        work.clear()
        app.tick()
        await pilot.pause()
        assert work["made"] <= MAX_EVENTS + A_MOMENT
        assert work["drawn"] <= A_MOMENT
        assert panel.row_count == len(panel._told) == len(panel._rows) == MAX_EVENTS
        assert "Events 100,000" in screen_text(app)
        assert "event 100000" in screen_text(app)
        run.events = run.events[-5:] + [Event(n, run.clock.now(), "failed", "more") for n in range(100_001, 100_059)]
        run.view = replace(run.view, event_seq=100_058)
        work.clear()
        app.tick()
        await pilot.pause()
        assert work["made"] <= 58 + A_MOMENT
        assert panel.row_count == MAX_EVENTS


async def test_a_very_long_name_of_a_project_is_cut() -> None:
    run = huge_run()
    run.view = replace(run.view, project="漢\x1b[[@click=app.quit]" * 50_000)
    async with opened(run, (120, LINES)) as (app, _):
        assert sum(len(piece.text) for line in app.screen.query_one(RunHeader)._lines for piece in line) <= 8 * 120
        assert "RUNNING" in screen_text(app)


def test_of_a_very_long_name_only_what_may_be_seen_is_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned: list[int] = []

    def counted(text: str) -> str:
        cleaned.append(len(text))
        return clean(text)

    monkeypatch.setattr(headerlines, "clean", counted)
    _ = headerlines.header_lines(
        replace(huge_run().view, project="漢" * 1_000_000, waiting_for="漢" * 1_000_000), 1.0, 120
    )
    assert max(cleaned) <= 10_000


async def test_a_very_long_error_is_a_short_notice() -> None:
    run = huge_run()
    run.errors["undo"] = AgentdashError("W" * 10_000)
    async with opened(run, (120, LINES)) as (app, pilot):
        await app.verbs.undo()
        await until(pilot, lambda: bool(app.screen.query(Toast)))
        await pilot.pause()
        assert app.screen.query_one(Toast).size.height <= LINES // 2


async def test_of_many_notices_only_the_last_is_kept() -> None:
    async with opened(huge_run(), (120, LINES)) as (app, pilot):
        for number in range(5):
            app.verbs.tell(f"notice {number}")
            await until(pilot, lambda n=number: f"notice {n}" in screen_text(app))  # type: ignore[misc]
        await until(pilot, lambda: len(app.screen.query(ToastHolder)) == 1)
        assert len(app._notifications) == len(app.screen.query(Toast)) == 1
        app.notify("below", timeout=1_000)
        await until(pilot, lambda: "below" in screen_text(app))
        app.action_help()
        await until(pilot, lambda: isinstance(app.screen, HelpScreen) and app.screen.is_mounted)
        app.verbs.tell("another")
        await until(pilot, lambda: "another" in screen_text(app))
        below = app.screen_stack[-2]
        await until(pilot, lambda: not below.query(ToastHolder))


async def test_very_many_groups_of_errors_are_made_once(work: Work) -> None:
    run = huge_run()
    run.groups = tuple(
        ErrorGroup(f"error_{n}", f"pattern … {n}", "x" * 100_000, 1_000 - n, f"t{n}") for n in range(1_000)
    )
    async with opened(run, (120, LINES)) as (app, pilot):
        app.action_groups()
        await until(pilot, lambda: app.screen.is_mounted and "999 ×" in screen_text(app))
        await pilot.pause()
        assert work["drawn"] <= 2 * A_MOMENT
        for moment in range(3):
            run.clock.advance(2)
            work.clear()
            app.tick()
            await pilot.pause()
            assert work["made"] <= LINES, moment
        await pilot.press("G")
        assert "error_999" in screen_text(app)
        assert work["drawn"] <= A_MOMENT


async def test_very_many_marks_cost_a_moment_nothing(work: Work) -> None:
    run = huge_run()
    async with opened(run, (120, LINES)) as (app, pilot):
        queue = app.screen.query_one(Queue)
        for n in range(MOST_MARKS - 1):
            queue._marks.toggle(TaskRow(n, f"t{n}", TaskState.FAILED))
        queue.move_to(MOST_MARKS)
        await settled(app, pilot)
        await until(pilot, lambda: queue.current_row is not None)
        for _ in range(3):
            await pilot.press("space")
        assert queue.marked == MOST_MARKS
        assert "At most 100,000 tasks can be marked." in screen_text(app)
        work.clear()
        set_moment(run, 1)
        app.tick()
        await pilot.pause()
        assert work["made"] <= A_MOMENT
        assert len(queue.selected_rows()) <= 200


async def test_strips_that_were_drawn_are_kept_up_to_a_cap(work: Work) -> None:
    run = huge_run()
    async with opened(run, (120, LINES)) as (app, pilot):
        queue = app.screen.query_one(Queue)
        for row in range(10_000, 10_000 + 2 * MANY_STRIPS, queue.page_size):
            queue.scroll_to(y=row, animate=False, force=True)
            queue.move_to(row)
            await pilot.pause(0)
            _ = queue.render_lines(queue.size.region)
        assert work["drawn"] > MANY_STRIPS
        assert len(queue._painter._drawn) <= MANY_STRIPS
        assert queue._answer.window is not None
        assert len(queue._answer.window.rows) <= 3 * LINES


async def test_live_output_without_end_is_kept_up_to_a_cap() -> None:
    class Talking(HugeRun):
        position = 0

        def output_since(self, task_id: str, position: int) -> OutputPart | None:
            self.position += 64 * 1024
            return OutputPart("word\n" * (64 * 1024 // 5), self.position, 1)

    run = Talking([FakeTask(1, "t1", {"prompt": "p" * 1_000_000}, TaskState.RUNNING, claimed_at=1.0)])
    async with opened(run, (120, LINES)) as (app, pilot):
        await app.push_screen(TaskScreen(run, "t1"))
        document = app.screen.query_one(Document)
        await until(pilot, lambda: document.row_count > 20)
        for _ in range(10):
            app.tick()
            await until(pilot, lambda: document.is_complete)
        held = sum(len(section._source) for section in document._sections)
        assert held <= 3 * MOST_CHARS
        live = document._live
        assert live is not None
        assert len(live.rows) <= MOST_LINES + 1
        assert live.rows.dropped > MOST_LINES
