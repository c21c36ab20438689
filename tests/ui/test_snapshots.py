"""Pictures of every screen in each of its states. `pytest --snapshot-update` draws them anew: look at them then."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widget import Widget
from textual.widgets import Input, OptionList

from agentdash.clock import isoformat
from agentdash.model import TaskState
from agentdash.ui.app import DashboardApp
from agentdash.ui.panels.credentials import Credentials
from agentdash.ui.panels.events import Events
from agentdash.ui.panels.locks import Locks
from agentdash.ui.panels.paneltabs import PanelTabs
from agentdash.ui.panels.queue import Queue
from agentdash.ui.panels.workers import Workers
from agentdash.ui.screens.task import TaskScreen
from tests.ui.fake_run import FakeRun
from tests.ui.opened import PicturedApp, settled, type_into
from tests.ui.run_states import (
    draining,
    empty,
    finished,
    limit_reached,
    limited,
    paused,
    running,
    stalled,
    starting,
    undo_offered,
    waiting,
)
from tests.ui.screen_text import screen_text, until

Compare = Callable[..., bool]
Drive = Callable[[DashboardApp, Pilot[None]], Awaitable[None]]

USUAL = (120, 40)
NARROW = (80, 24)
SIZES = pytest.mark.parametrize("size", [USUAL, NARROW], ids=["120x40", "80x24"])


@pytest.fixture(autouse=True)
def _fixed_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Times of day are UTC's, and no path of this machine can get into a picture."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "UTC")
        changed.chdir(tmp_path)
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(autouse=True)
def _collected_once() -> Iterator[None]:
    """Each picture starts an app anew; looking for garbage all the while takes a third of the time."""
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.collect()
    gc.unfreeze()


@pytest.fixture
def run() -> FakeRun:
    return FakeRun.seeded(project_path=Path("reports-2026-11"))


@pytest.fixture
def matches(snap_compare: Compare) -> Callable[..., bool]:
    """Whether the dashboard, once driven somewhere, looks as in the picture."""

    def compare(run: FakeRun, *drives: Drive, size: tuple[int, int] = USUAL, **options: Any) -> bool:
        app = PicturedApp(run, **options)

        async def drive(pilot: Pilot[None]) -> None:
            await pilot.pause()
            await settled(app, pilot)
            for step in drives:
                await step(app, pilot)

        return snap_compare(app, terminal_size=size, run_before=drive)

    return compare


def press(*keys: str) -> Drive:
    """Press these keys, and wait for what they ask for."""

    async def drive(app: DashboardApp, pilot: Pilot[None]) -> None:
        await pilot.press(*keys)
        await settled(app, pilot)

    return drive


def see(text: str) -> Drive:
    """Wait until the screen shows this."""

    async def drive(app: DashboardApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: text in screen_text(app))

    return drive


# -- the states of a run ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "state", [running, paused, draining, stalled, finished, starting, empty, waiting, undo_offered, limited,
              limit_reached],
    ids=lambda state: state.__name__,
)  # fmt: skip
def test_main(matches: Compare, run: FakeRun, state: Callable[[FakeRun], None]) -> None:
    state(run)
    assert matches(run)


@pytest.mark.parametrize("size", [NARROW, (60, 20), (200, 60)], ids=["80x24", "60x20", "200x60"])
def test_main_of_size(matches: Compare, run: FakeRun, size: tuple[int, int]) -> None:
    assert matches(run, size=size)


@pytest.mark.parametrize(
    "state", [draining, stalled, undo_offered, limited, limit_reached], ids=lambda state: state.__name__
)
def test_narrow_main(matches: Compare, run: FakeRun, state: Callable[[FakeRun], None]) -> None:
    state(run)
    assert matches(run, size=NARROW)


@pytest.mark.parametrize("tab", [Workers, Credentials, Locks, Events], ids=lambda tab: tab.__name__.lower())
def test_narrow_tab(matches: Compare, run: FakeRun, tab: type[Widget]) -> None:
    async def go_there(app: DashboardApp, pilot: Pilot[None]) -> None:
        panels = (Queue, Workers, Credentials, Locks, Events)
        app.screen.query_one(PanelTabs).post_message(PanelTabs.Picked(panels.index(tab)))
        await until(pilot, lambda: isinstance(app.focused, tab))
        await settled(app, pilot)
        if tab is Locks:  # the cursor is on what came first: this process's own locks, or those of the files
            await press("g")(app, pilot)

    assert matches(run, go_there, size=NARROW)


def test_light_theme(matches: Compare, run: FakeRun) -> None:
    assert matches(run, theme="agentdash-light")


def test_no_color(matches: Compare, run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert matches(run)


def test_fault_of_a_panel(matches: Compare, run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(Workers, "update", broken)
    assert matches(run)


@SIZES
def test_filter(matches: Compare, run: FakeRun, size: tuple[int, int]) -> None:
    async def type_it(app: DashboardApp, pilot: Pilot[None]) -> None:
        type_into(app, "review")
        await until(pilot, lambda: app.screen.query_one(Queue).query_shown.text == "review")

    assert matches(run, press("slash"), type_it, see("matches"), size=size)


def test_marked_failed_tasks(matches: Compare, run: FakeRun) -> None:
    assert matches(run, press("4", "space", "space", "j"))


# -- the other screens -----------------------------------------------------------------------------------------------
def task_of(run: FakeRun, state: TaskState, attempts: int) -> str:
    """The id of a task in this state after so many attempts."""
    return next(task.id for task in run.tasks.values() if task.state is state and len(task.history) >= attempts)


def open_task(task_id: str, shown: str) -> Drive:
    """Open a task's screen, and wait until it shows this."""

    async def drive(app: DashboardApp, pilot: Pilot[None]) -> None:
        _ = app.push_screen(TaskScreen(app._engine, task_id))
        await settled(app, pilot)
        await see(shown)(app, pilot)

    return drive


@SIZES
def test_running_task(matches: Compare, run: FakeRun, size: tuple[int, int]) -> None:
    task_id = next(iter(run.outputs))
    assert matches(run, open_task(task_id, "12 % of requests"), size=size)


@SIZES
def test_failed_task(matches: Compare, run: FakeRun, size: tuple[int, int]) -> None:
    task_id = task_of(run, TaskState.FAILED, 1)
    task = run.tasks[task_id]
    ended = task.history[-1]
    troubles = (
        ("limited", "rate_limit_error", "429, retry after 2 s"),
        ("service", "api_error", "Internal server error"),
    )
    earlier = [
        replace(
            ended, fence=number, credential=f"key-{number}", outcome=outcome, error_type=error, error_message=text,
            started_at=ended.started_at - 30 + number * 8, finished_at=ended.started_at - 27 + number * 8,
        )
        for number, (outcome, error, text) in enumerate(troubles, 1)
    ]  # fmt: skip
    task.history = (*earlier, replace(ended, fence=3))
    assert matches(run, open_task(task_id, "req_"), size=size)


@SIZES
def test_succeeded_task(matches: Compare, run: FakeRun, size: tuple[int, int]) -> None:
    task_id = task_of(run, TaskState.SUCCEEDED, 2)
    assert matches(run, open_task(task_id, "✔ done"), size=size)


@SIZES
def test_groups(matches: Compare, run: FakeRun, size: tuple[int, int]) -> None:
    assert matches(run, press("e"), see("invalid_request_error"), size=size)


def test_no_groups(matches: Compare, run: FakeRun) -> None:
    async def nothing_failed_any_more(app: DashboardApp, pilot: Pilot[None]) -> None:
        for task in run.tasks.values():
            if task.state is TaskState.FAILED:
                task.state = TaskState.PENDING
        run.clock.advance(2)
        await settled(app, pilot)

    assert matches(run, press("e"), nothing_failed_any_more, see("No task has failed."))


@SIZES
def test_log(matches: Compare, run: FakeRun, size: tuple[int, int]) -> None:
    said: tuple[tuple[str, str, str, dict[str, str]], ...] = (
        ("info", "run_started", "the run began with 64 workers", {}),
        ("warning", "key_cooling", "key-3 429, organization org-b cools for 60 s", {}),
        ("error", "panel_failed", "the panel workers failed", {"error": "Traceback:\n  RuntimeError: no such thing"}),
        ("info", "key_rotated", "active key is now key-1", {}),
        ("debug", "sweep", "3 stale lock files were looked at", {}),
    )
    begin = run.clock.now() - 60
    run.log_path.parent.mkdir(parents=True)
    with run.log_path.open("w", encoding="utf-8") as file:
        for number in range(50):
            level, action, message, more = said[number % len(said)]
            entry = {"at": isoformat(begin + number), "level": level, "action": action, "message": message} | more
            file.write(json.dumps(entry) + "\n")
    assert matches(run, press("l"), see("the last 70 lines"), size=size)


@SIZES
def test_help(matches: Compare, run: FakeRun, size: tuple[int, int]) -> None:
    assert matches(run, press("question_mark"), see("Take no new tasks"), size=size)


@SIZES
def test_question(matches: Compare, run: FakeRun, size: tuple[int, int]) -> None:
    assert matches(run, press("R"), see("failed tasks"), size=size)


def test_palette(matches: Compare, run: FakeRun) -> None:
    async def open_it(app: DashboardApp, pilot: Pilot[None]) -> None:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: bool(app.screen.query(Input)))
        app.screen.query_one(Input).cursor_blink = False
        await until(pilot, lambda: app.screen.query_one(OptionList).option_count > 10)

    assert matches(run, open_it)


def test_pictures_load_nothing_and_name_no_machine() -> None:
    """Whoever looks at one asks no other host for a font."""
    pictures = Path(__file__).with_name("__snapshots__").glob("**/*.svg")
    texts = {path.name: path.read_text(encoding="utf-8") for path in pictures}
    assert not [name for name, text in texts.items() if "url(http" in text or str(Path(__file__).parents[2]) in text]
