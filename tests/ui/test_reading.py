"""What one look at the dashboard must tell: where the eye goes first, and that nothing jumps or has two names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.segment import Segment
from textual.widgets import Button

from agentdash.model import CredentialView, LockView, TaskQuery, TaskRow, TaskState
from agentdash.ui.app import DashboardApp
from agentdash.ui.panels import taskrows
from agentdash.ui.panels.banner import Banner
from agentdash.ui.panels.header import RunHeader
from agentdash.ui.panels.keybar import KeyBar
from agentdash.ui.panels.locks import Locks
from agentdash.ui.panels.paneltabs import PanelTabs, panel_marks
from agentdash.ui.panels.queue import Queue
from agentdash.ui.panels.statetabs import StateTabs
from agentdash.ui.panels.workers import Workers
from agentdash.ui.screens.help import HelpScreen
from agentdash.ui.screens.runline import RunLine
from agentdash.ui.screens.task import TaskScreen
from tests.ui.fake_run import FakeRun
from tests.ui.moments import KEYS, LOCKS, NOW, WORKERS, moment
from tests.ui.opened import opened, settled
from tests.ui.run_states import draining, finished, stalled
from tests.ui.screen_text import screen_lines, screen_text, until, widget_lines


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return FakeRun.seeded(tasks=400, workers=16, project_path=tmp_path)


# -- failed tasks ----------------------------------------------------------------------------------------------------
async def test_every_tab_of_a_narrow_terminal_counts_the_failed_tasks(run: FakeRun) -> None:
    failed = run.snapshot().counts.failed
    async with opened(run, (80, 24)) as (app, pilot):
        for _ in range(5):
            assert f"✖ {failed} failed" in screen_lines(app)[1]
            assert f" Queue ✖{failed} " in screen_lines(app)[3]
            await pilot.press("tab")
            await settled(app, pilot)


def test_a_panel_is_marked_by_the_worst_in_it() -> None:
    marks = panel_marks(moment(workers=WORKERS), LOCKS)
    assert [(mark.text, mark.style) for mark in marks] == [
        ("✖4", "bad"), ("✖1", "bad"), ("✖1", "bad"), ("✖1", "bad"), ("", ""),
    ]  # fmt: skip
    cooling: tuple[CredentialView, ...] = KEYS[:3]
    overdue: tuple[LockView, ...] = (replace(LOCKS[0], state="overdue"),)
    marks = panel_marks(moment(workers=WORKERS[:2], credentials=cooling), overdue)
    assert [mark.text for mark in marks[1:4]] == ["◐1", "◐1", "◔1"]
    quiet = moment(workers=WORKERS[:1], credentials=KEYS[:2], counts=replace(moment().counts, failed=0))
    assert not any(mark.text for mark in panel_marks(quiet, LOCKS[:1]))


async def test_a_tab_is_found_by_the_mouse_behind_the_marks(run: FakeRun) -> None:
    async with opened(run, (80, 24)) as (app, pilot):
        tabs = app.screen.query_one(PanelTabs)
        text = widget_lines(tabs)[0]
        for index, name in enumerate(("Queue", "Workers", "Keys", "Locks", "Events")):
            await pilot.click(tabs, offset=(text.index(name), 0))
            await until(pilot, lambda index=index: tabs.active == index)  # type: ignore[misc]


async def test_marks_make_way_for_names(run: FakeRun) -> None:
    async with opened(run, (40, 24)) as (app, _):
        assert widget_lines(app.screen.query_one(PanelTabs))[0].split() == [
            "Queue",
            "Workers",
            "Keys",
            "Locks",
            "Events",
        ]


ROW = TaskRow(1, "incident-0007", TaskState.FAILED, 0, 1, "worker-1", NOW - 9)


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("api_error: Internal server error", "Internal server error (api_error)"),
        ("ValueError: bad: input", "bad: input (ValueError)"),
        ("pkg.errors.BadInput: no", "no (pkg.errors.BadInput)"),
        (
            "invalid_request_error: messages.0.content.1.image: the image could not be decoded",
            "…image: the image could not be decoded (invalid_request_error)",
        ),
        ("invalid_request_error: messages.0: no", "messages.0: no (invalid_request_error)"),
        ("no colon in it", "no colon in it"),
        ("two words: and more", "two words: and more"),
        ("https://example.org: what", "https://example.org: what"),
        ("ValueError: ", "ValueError: "),
    ],
)
def test_the_reason_of_a_failed_task_stands_before_its_kind(error: str, shown: str) -> None:
    assert taskrows.line(replace(ROW, error=error), NOW, marked=False).cells[-1].text == shown


def test_a_tab_of_one_state_has_room_for_the_reason() -> None:
    failed = taskrows.columns(70, 13, TaskQuery(state=TaskState.FAILED))
    everything = taskrows.columns(70, 13, TaskQuery())
    assert failed[1].width == 1
    assert failed[3].width >= 70  # no worker has it any more
    assert (everything[1].width, everything[3].width) == (11, 6)
    assert taskrows.line(ROW, NOW, marked=False, brief=True).cells[1].text == "✖"
    sorted_down = TaskQuery(state=TaskState.FAILED, descending=True)
    assert taskrows.columns(70, 13, sorted_down)[1].title == "▼"


async def test_the_reason_can_be_read_at_both_sizes(run: FakeRun) -> None:
    task = next(task for task in run.tasks.values() if task.state is TaskState.FAILED)
    run.fail(task.id, "invalid_request_error", "messages.0.content.1.image: the image could not be decoded")
    for size in ((120, 40), (80, 24)):
        async with opened(run, size) as (app, pilot):
            await pilot.press("4")
            await settled(app, pilot)
            assert "…image: the image could not" in screen_text(app)


# -- the state tabs --------------------------------------------------------------------------------------------------
def styles_of(app: DashboardApp, text: str) -> list[Segment]:
    """The segments of the state tabs from this text on."""
    segments = list(app.screen.query_one(StateTabs).render_line(0))
    start = next(index for index, part in enumerate(segments) if text in part.text)
    return segments[start - 1 : start + 2]


async def test_key_word_and_count_of_a_tab_look_different(run: FakeRun) -> None:
    async with opened(run, (200, 60)) as (app, _):
        key, word, count = styles_of(app, " failed ")
        assert (key.text, count.text) == ("4", f"{run.snapshot().counts.failed}")
        assert key.style is not None and word.style is not None and count.style is not None  # noqa: PT018 - for mypy
        assert len({key.style.color, word.style.color, count.style.color}) == 3
        assert (key.style.bold, bool(word.style.bold), count.style.bold) == (True, False, True)
        assert count.style.color == app.screen.query_one(StateTabs).get_component_rich_style("state--bad").color


async def test_without_colours_a_key_is_underlined(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(run, (200, 60)) as (app, pilot):
        for tab in ("4", "1"):  # also in the chosen one
            await pilot.press(tab)
            key, _, count = styles_of(app, " failed ")
            assert key.style is not None
            assert count.style is not None
            assert (key.style.underline, bool(count.style.underline)) == (True, False)


# -- what stays in its place -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("panel", [Workers, Locks])
async def test_the_header_stays_above_a_zoomed_panel(run: FakeRun, panel: type[Workers | Locks]) -> None:
    async with opened(run) as (app, pilot):
        app.screen.query_one(panel).focus()
        await pilot.press("z")
        await pilot.pause()
        assert app.screen.maximized is not None
        header = app.screen.query_one(RunHeader)
        assert (header.region.y, header.region.height) == (0, 2)
        assert app.screen.query_one(panel).region.y == 2
        assert app.screen.query_one(KeyBar).region.y == 39
        assert "● RUNNING" in screen_lines(app)[0]


KEYS_AT_80 = " p Pause  / Filter  r Requeue  x Cancel  e Errors  ^p Palette  ? Help  q Quit"


async def test_the_keys_stay_where_they_are_whatever_is_selected(run: FakeRun) -> None:
    async with opened(run, (80, 24)) as (app, pilot):
        for tab in ("1", "2", "3", "4", "5"):
            await pilot.press(tab)
            await settled(app, pilot)
            assert screen_lines(app)[-1] == KEYS_AT_80
        await pilot.resize_terminal(120, 40)
        await settled(app, pilot)
        for name in (" R Requeue failed ", " K Next key ", " u Undo ", " q Quit"):
            assert name in screen_lines(app)[-1]


async def test_locks_have_few_rows_while_none_asks_for_a_look(run: FakeRun) -> None:
    held = tuple(lock for lock in run.locks if lock.state == "held")
    stale = tuple(lock for lock in run.locks if lock.state == "stale")
    heights = []
    for locks in (held, held + stale):
        run.locks = locks
        run.view = replace(run.view, locks=held)
        async with opened(run) as (app, pilot):
            await settled(app, pilot)
            heights.append((app.screen.query_one(Workers).size.height, app.screen.query_one(Locks).size.height))
    (workers, calm), (fewer, lively) = heights
    assert workers > fewer
    assert calm < lively


# -- other screens ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("key", ["e", "l", "enter"])
async def test_the_run_is_seen_on_the_other_screens(run: FakeRun, key: str) -> None:
    running = run.view
    for size in ((120, 40), (80, 24)):
        run.view = running
        async with opened(run, size) as (app, pilot):
            await pilot.press(key)
            await settled(app, pilot)
            counts = run.snapshot().counts
            first = screen_lines(app)[0]
            assert all(part in first for part in ("● RUNNING", f"✖{counts.failed}", f"/{counts.total}", "/s  ETA"))
            run.view = replace(run.view, status="paused", paused=True)
            app.tick()
            await pilot.pause()
            assert "‖ PAUSED" in screen_lines(app)[0]


async def test_a_tiny_terminal_keeps_its_lines_for_the_task(run: FakeRun) -> None:
    async with opened(run, (60, 20)) as (app, pilot):
        await pilot.press("enter")
        await settled(app, pilot)
        assert isinstance(app.screen, TaskScreen)
        assert not app.screen.query_one(RunLine).display
        assert "RUNNING" not in screen_lines(app)[0]


async def test_the_laid_out_answer_names_help_and_quit(run: FakeRun) -> None:
    done = next(task for task in run.tasks.values() if task.state is TaskState.SUCCEEDED)
    async with opened(run, (80, 24)) as (app, pilot):
        _ = app.push_screen(TaskScreen(run, done.id))
        await settled(app, pilot)
        await pilot.press("m")
        await settled(app, pilot)
        assert screen_lines(app)[-1].startswith(" esc Back  ")
        assert screen_lines(app)[-1].endswith("  ^p Palette  ? Help  q Quit")


def titles(app: DashboardApp) -> dict[str, str]:
    """What the palette offers, and the second lines."""
    return {command.title: command.help for command in app.get_system_commands(app.screen)}


async def test_the_palette_names_the_key_and_says_nothing_twice(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        offered = titles(app)
        assert offered["Pause or resume the run"] == "p · take no new tasks, or take them again; what runs goes on"
        assert offered["Show the failed tasks"] == "4"
        assert offered["Worker more (add one)"].startswith("+ · ")
        for key in ("", "l", "e", "enter", "question_mark"):
            if key:
                await pilot.press(key)
                await settled(app, pilot)
            assert "Back" not in titles(app)
            helps = [text for text in titles(app).values() if text]
            assert len(set(helps)) == len(helps)
            assert ("Log, full screen" in titles(app)) == (key in ("", "e", "enter"))
            if key:
                await pilot.press("escape")
                await settled(app, pilot)


async def test_the_palette_shows_a_users_key(run: FakeRun) -> None:
    async with opened(run, keymap={"pause": "f5"}) as (app, _):
        assert titles(app)["Pause or resume the run"].startswith("f5 · ")


def shows_help(app: DashboardApp) -> bool:
    return isinstance(app.screen, HelpScreen)


async def test_nothing_can_be_done_to_the_run_from_behind_the_help(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("question_mark")
        await settled(app, pilot)
        before = [name for name, _ in run.calls]
        await pilot.press("p", "P", "R", "K", "plus", "minus", "u", "e", "l", "y")
        await settled(app, pilot)
        assert [name for name, _ in run.calls] == before
        assert shows_help(app)
        assert not {"Quit when running tasks have ended; again: at once", "Help: every key"} & set(titles(app))
        await pilot.press("q")
        await settled(app, pilot)
        assert not shows_help(app)
        assert not run.called("drain")
        await pilot.press("p")
        assert run.called("pause")


async def test_control_c_leaves_the_run_also_from_the_help(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("question_mark")
        await settled(app, pilot)
        await pilot.press("ctrl+c")
        assert run.called("drain")


# -- questions, notices, the end -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("marked", "no", "yes"), [(1, "Keep it (n)", "Stop review"), (3, "Keep them (n)", "Stop 3 tasks (y)")]
)
async def test_no_button_says_cancel_where_cancelling_is_the_question(
    run: FakeRun, marked: int, no: str, yes: str
) -> None:
    async with opened(run) as (app, pilot):
        app.verbs.ask_cancel([f"review-{number}" for number in range(marked)], then=lambda: None)
        await until(pilot, lambda: bool(app.screen.query(Button)))
        labels = [str(button.label) for button in app.screen.query(Button)]
        assert labels[0] == no
        assert labels[1].startswith(yes)
        assert not any("cancel" in label.lower() for label in labels)
        assert app.focused is not None
        assert app.focused.id == "no"


async def test_notices_go_when_the_run_is_left_and_stand_above_the_banner(run: FakeRun) -> None:
    async with opened(run, (80, 24)) as (app, pilot):
        app.verbs.tell("Something was done.")
        await until(pilot, lambda: "Something was done." in screen_text(app))
        await pilot.press("q")
        await until(pilot, lambda: "Leaving" in screen_text(app))
        await until(pilot, lambda: "Something was done." not in screen_text(app))
        app.verbs.tell("Another thing.")
        await until(pilot, lambda: "Another thing." in screen_text(app))
        assert screen_lines(app)[-2].startswith(" Leaving when ")
        assert screen_lines(app)[-2].endswith("Esc stays · q leaves now")


@pytest.mark.parametrize("state", [draining, stalled, finished])
async def test_the_banner_stands_over_the_keys(run: FakeRun, state: Callable[[FakeRun], None]) -> None:
    state(run)
    async with opened(run, (80, 24)) as (app, _):
        assert app.screen.query_one(Banner).region.y == 22
        assert app.screen.query_one(Queue).region.bottom <= 22
