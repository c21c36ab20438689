"""The main view: its panels side by side and as tabs, and what it does when the run or a panel fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from textual.widget import Widget

from agentdash.errors import StoreError, UsageError
from agentdash.model import TaskState
from agentdash.ui.app import DashboardApp
from agentdash.ui.panels.asking import HOLD_S
from agentdash.ui.panels.queue import Queue
from agentdash.ui.panels.workers import Workers
from agentdash.ui.screens.main import MainScreen
from tests.ui.fake_run import FakeRun
from tests.ui.opened import opened, settled
from tests.ui.screen_text import screen_lines, screen_text, until, widget_text


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return FakeRun.seeded(tasks=400, workers=16, project_path=tmp_path)


def has_focus(app: DashboardApp, widget: Widget) -> bool:
    return app.focused is widget


def queue_of(app: DashboardApp) -> Queue:
    return app.screen.query_one(Queue)


async def test_one_look_shows_the_whole_run(run: FakeRun) -> None:
    async with opened(run) as (app, _):
        text = screen_text(app)
        counts = run.snapshot().counts
        for part in ("● RUNNING", f"{counts.finished:,}/{counts.total:,}", "ETA", "429s", "tokens", "$"):
            assert part in screen_lines(app)[0] + screen_lines(app)[1], part
        for panel in ("Queue", "Workers 16", "Credentials 4 keys", "Locks", "Events"):
            assert panel in text


def test_a_screen_that_is_not_made_yet_searches_for_nothing(run: FakeRun) -> None:
    """The app's timer may come before the panels are there."""
    app = DashboardApp(run)
    assert not MainScreen(run, app.verbs).is_searching


async def test_tab_goes_round_the_panels_and_z_zooms_them(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("tab")
        await pilot.pause()
        workers = app.screen.query_one(Workers)
        assert has_focus(app, workers)
        await pilot.press("z")
        await pilot.pause()
        assert workers.size.width > 100
        await pilot.press("escape")
        await pilot.pause()
        assert workers.size.width < 80
        for _ in range(4):
            await pilot.press("tab")
            await pilot.pause()
        assert has_focus(app, queue_of(app))


async def test_narrow_terminals_show_one_panel_at_a_time(run: FakeRun) -> None:
    async with opened(run, (80, 24)) as (app, pilot):
        assert queue_of(app).is_on_screen
        assert not app.screen.query_one(Workers).is_on_screen
        await pilot.press("tab")
        await pilot.pause()
        assert not queue_of(app).is_on_screen
        assert app.screen.query_one(Workers).is_on_screen
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        assert queue_of(app).is_on_screen
        assert app.screen.query_one(Workers).is_on_screen


async def test_a_row_that_was_gone_to_stays_where_it_is_while_newer_ones_come(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        queue = queue_of(app)
        running = [task for task in run.tasks.values() if task.state is TaskState.RUNNING]
        await pilot.press(*"j" * (len(running) + 3))  # to one that has ended: those that run stand first
        chosen, place, before = queue.selected_ids(), queue.cursor - queue.top_row, queue.cursor
        pending = [task for task in run.tasks.values() if task.state is TaskState.PENDING]
        for ended, begun in zip(running[:5], pending, strict=False):
            run.clock.advance(HOLD_S)
            run.finish(ended.id)
            begun.state, begun.worker, begun.claimed_at = TaskState.RUNNING, "worker-1", run.clock.now()
            await settled(app, pilot)
            await until(pilot, lambda: queue.selected_ids() == chosen)
        assert queue.cursor == before + 5
        assert queue.cursor - queue.top_row == place


def test_an_unknown_theme_is_refused(run: FakeRun) -> None:
    with pytest.raises(UsageError):
        DashboardApp(run, theme="no-such-theme")


async def test_an_error_of_the_run_is_shown_and_nothing_breaks(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> int:
        raise StoreError("The disk is full [/] \x1b]52;c;AAAA\x07.", hint="Make room.")

    async with opened(run) as (app, pilot):
        monkeypatch.setattr(run, "requeue", refuse)
        await pilot.press("R", "y")
        await until(pilot, lambda: "The disk is full" in screen_text(app))
        assert "\x1b" not in screen_text(app)


async def test_a_broken_panel_says_so_and_the_others_go_on(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such thing")

    async with opened(run) as (app, pilot):
        monkeypatch.setattr(app.screen.query_one(Workers), "update", broken)
        app.tick()
        await pilot.pause()
        assert "this panel failed: RuntimeError" in widget_text(app.screen.query_one(Workers))
        await pilot.press("p")
        assert "PAUSED" in screen_lines(app)[0]


async def test_a_snapshot_that_fails_leaves_the_screen_as_it_was(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise StoreError("The project's database is locked by another program.")

    async with opened(run) as (app, pilot):
        monkeypatch.setattr(run, "snapshot", refuse)
        app.tick()
        await until(pilot, lambda: "locked by another program" in screen_text(app))
        assert "RUNNING" in screen_lines(app)[0]


async def test_workers_that_wait_are_explained(run: FakeRun) -> None:
    run.view = replace(run.view, waiting_for="rate limit: every limit pool cools", waiting_until=run.clock.now() + 41)
    async with opened(run) as (app, _):
        assert "waiting: rate limit: every limit pool cools 0:41" in screen_lines(app)[1]
