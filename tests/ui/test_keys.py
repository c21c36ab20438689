"""Every key of the dashboard, pressed, with what it does to the run and to the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.screen import Screen
from textual.widget import Widget

from agentdash.model import TaskState
from agentdash.ui.app import DashboardApp
from agentdash.ui.panels.credentials import Credentials
from agentdash.ui.panels.locks import Locks
from agentdash.ui.panels.queue import Queue
from agentdash.ui.panels.workers import Workers
from agentdash.ui.screens.groups import GroupsScreen
from agentdash.ui.screens.help import HelpScreen
from agentdash.ui.screens.log import LogScreen
from agentdash.ui.screens.task import TaskScreen
from tests.ui.fake_run import FakeRun
from tests.ui.opened import opened, settled, type_into
from tests.ui.screen_text import screen_lines, screen_text, until, widget_text


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return FakeRun.seeded(tasks=400, workers=16, project_path=tmp_path)


def shows(app: DashboardApp, screen: type[Screen[Any]]) -> bool:
    return isinstance(app.screen, screen)


def has_focus(app: DashboardApp, widget: Widget) -> bool:
    return app.focused is widget


def queue_of(app: DashboardApp) -> Queue:
    return app.screen.query_one(Queue)


async def test_p_pauses_and_goes_on(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("p")
        assert run.called("pause")
        assert "‖ PAUSED" in screen_lines(app)[0]
        assert "still run" in screen_text(app)
        await pilot.press("p")
        assert run.called("resume")
        assert "● RUNNING" in screen_lines(app)[0]


async def test_capital_p_asks_before_it_interrupts(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("P")
        await pilot.pause()
        assert "Pause and interrupt" in screen_text(app)
        await pilot.press("enter")  # the focused button is Cancel
        assert not run.called("interrupt")
        await pilot.press("P", "y")
        await pilot.pause()
        assert run.called("interrupt")


async def test_r_requeues_what_is_selected_and_only_that(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("4")
        await settled(app, pilot)
        first = queue_of(app).selected_ids()
        await pilot.press("r")
        await settled(app, pilot)
        assert run.called("requeue") == [(first,)]


async def test_r_requeues_marked_tasks(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("4")
        await settled(app, pilot)
        await pilot.press("space", "space")
        marked = queue_of(app).selected_ids()
        assert len(marked) == 2
        await pilot.press("r")
        await settled(app, pilot)
        assert run.called("requeue") == [(marked,)]
        assert queue_of(app).marked == 0


async def test_r_is_dimmed_where_it_would_do_nothing(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("2")
        await settled(app, pilot)
        assert app.screen.check_action("requeue", ()) is None
        await pilot.press("r")
        assert not run.called("requeue")


async def test_capital_r_requeues_all_failed_after_a_question_that_counts_them(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        failed = run.snapshot().counts.failed
        await pilot.press("R")
        await pilot.pause()
        assert f"all {failed} failed tasks" in screen_text(app)
        await pilot.press("escape")
        assert not run.called("requeue")
        await pilot.press("R", "y")
        await settled(app, pilot)
        assert run.called("requeue") == [(None,)]
        assert run.snapshot().counts.failed == 0
        await pilot.press("u")
        await settled(app, pilot)
        assert run.called("undo")
        assert run.snapshot().counts.failed == failed


async def test_the_undo_and_its_time_left_are_shown(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        assert app.check_action("undo", ()) is None
        await pilot.press("R", "y")
        await settled(app, pilot)
        assert "undo:" in screen_lines(app)[1]
        assert "10 s" in screen_lines(app)[1]
        assert app.check_action("undo", ()) is True


async def test_k_rotates_and_says_from_which_key_to_which(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("K")
        await pilot.pause()
        assert run.called("rotate") == [(None,)]
        active = next(view.name for view in run.snapshot().credentials if view.active)
        assert f"→ {active}" in screen_text(app)


async def test_enter_in_credentials_makes_that_key_the_active_one(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        app.screen.query_one(Credentials).focus()
        await pilot.press("j", "j", "enter")
        await pilot.pause()
        assert run.called("rotate") == [("key-3",)]


async def test_x_cancels_after_a_question(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("2")
        await settled(app, pilot)
        chosen = queue_of(app).selected_ids()
        await pilot.press("x")
        await pilot.pause()
        assert chosen[0] in screen_text(app)
        await pilot.press("n")
        assert not run.called("cancel")
        await pilot.press("x", "y")
        await settled(app, pilot)
        assert run.called("cancel") == [(chosen,)]


async def test_greater_and_less_change_the_priority_of_pending_tasks(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("2")
        await settled(app, pilot)
        await pilot.press("space", "space")
        chosen = queue_of(app).selected_ids()
        await pilot.press("greater_than_sign", "greater_than_sign", "less_than_sign")
        await settled(app, pilot)
        assert run.called("prioritize") == [((chosen, 1),), ((chosen, 1),), ((chosen, -1),)]
        assert queue_of(app).selected_ids() == chosen  # still marked, for who wants it once more
        assert "2 tasks: priority 1 less. u takes it back." in screen_text(app)


async def test_a_priority_is_dimmed_where_nothing_is_pending(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("4")
        await settled(app, pilot)
        assert app.screen.check_action("prioritize", (1,)) is None
        await pilot.press("greater_than_sign")
        assert not run.called("prioritize")


async def test_plus_and_minus_change_the_workers(run: FakeRun) -> None:
    async with opened(run) as (_, pilot):
        await pilot.press("plus", "minus", "minus")
        assert run.called("resize") == [(17,), (16,), (15,)]


@pytest.mark.parametrize(("sign", "workers"), [("+", 17), ("-", 15)])
async def test_the_signs_on_the_border_change_the_workers_by_mouse(run: FakeRun, sign: str, workers: int) -> None:
    async with opened(run) as (app, pilot):
        lines = screen_text(app).splitlines()
        y = next(number for number, line in enumerate(lines) if "+ - change" in line)
        x = lines[y].index("+ - change") + "+ - change".index(sign)
        await pilot.click(offset=(x, y))
        await pilot.pause()
    assert run.called("resize") == [(workers,)]


async def test_w_revives_parked_workers(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        assert any(worker.state == "parked" for worker in run.snapshot().workers)
        await pilot.press("w")
        assert run.called("revive") == [(None,)]
        app.tick()
        assert app.screen.check_action("revive", ()) is None


async def test_c_cleans_stale_locks(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        assert "stale" in widget_text(app.screen.query_one(Locks))
        await pilot.press("c")
        await settled(app, pilot)
        assert run.called("clean_locks")


@pytest.mark.parametrize(
    ("key", "state"),
    [
        ("1", None),
        ("2", TaskState.PENDING),
        ("3", TaskState.RUNNING),
        ("4", TaskState.FAILED),
        ("5", TaskState.SUCCEEDED),
    ],
)
async def test_numbers_choose_the_state_tabs(run: FakeRun, key: str, state: TaskState | None) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("3", key)
        await settled(app, pilot)
        assert queue_of(app).query_shown.state is state


async def test_brackets_go_to_the_tab_beside(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("right_square_bracket", "right_square_bracket", "left_square_bracket")
        assert queue_of(app).query_shown.state is TaskState.PENDING


async def test_slash_filters_and_escape_clears(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("slash")
        type_into(app, "review")
        await until(pilot, lambda: queue_of(app).query_shown.text == "review")
        await pilot.press("enter")
        await settled(app, pilot)
        assert has_focus(app, queue_of(app))
        assert all("review" in row.id or "review" in row.text.lower() for row in queue_of(app).selected_rows())
        await pilot.press("escape")
        assert queue_of(app).query_shown.text == ""


async def test_letters_typed_into_the_filter_are_no_commands(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("slash", "p", "R", "K", "q", "x")
        assert {name for name, _ in run.calls} <= {"list_tasks", "list_locks"}
        assert app.left_at is None


async def test_enter_opens_the_task_and_escape_leads_back(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        chosen = queue_of(app).selected_ids()[0]
        await pilot.press("enter")
        await settled(app, pilot)
        assert shows(app, TaskScreen)
        assert chosen in screen_text(app)
        await pilot.press("escape")
        assert app.screen.query(Queue)


async def test_e_shows_groups_and_enter_there_filters_the_queue(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("e")
        await settled(app, pilot)
        assert shows(app, GroupsScreen)
        await pilot.press("enter")
        await settled(app, pilot)
        assert queue_of(app).query_shown.state is TaskState.FAILED
        assert queue_of(app).query_shown.text


async def test_l_shows_the_log_and_question_mark_the_keys(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("l")
        await settled(app, pilot)
        assert shows(app, LogScreen)
        await pilot.press("escape", "question_mark")
        await settled(app, pilot)
        assert shows(app, HelpScreen)
        assert "Take no new tasks" in screen_text(app)
        await pilot.press("escape")
        assert app.screen.query(Queue)


async def test_q_drains_escape_takes_it_back_and_a_second_q_stops_at_once(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        await pilot.press("q")
        assert run.called("drain")
        assert "DRAINING" in screen_lines(app)[0]
        assert "Leaving when " in screen_text(app)
        assert "Esc stays · q leaves now" in screen_text(app)
        await pilot.press("escape")
        app.tick()
        await pilot.pause()
        assert run.called("undrain")
        assert "RUNNING" in screen_lines(app)[0]
        await pilot.press("q", "q")
        assert run.called("abort")


@pytest.mark.parametrize("key", ["ctrl+c", "ctrl+q"])
async def test_control_keys_quit_as_q_does(run: FakeRun, key: str) -> None:
    async with opened(run) as (_, pilot):
        await pilot.press(key)
        assert run.called("drain")
        assert not run.called("abort")
        await pilot.press(key)
        assert run.called("abort")


async def test_control_d_does_nothing(run: FakeRun) -> None:
    async with opened(run) as (_, pilot):
        before = [name for name, _ in run.calls if name not in ("list_tasks", "list_locks")]
        await pilot.press("ctrl+d")
        assert [name for name, _ in run.calls if name not in ("list_tasks", "list_locks")] == before


async def test_in_a_side_panel_keys_mean_the_row_there(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        workers = app.screen.query_one(Workers)
        workers.focus()
        await pilot.pause()
        app.tick()
        worker = next(view for view in run.snapshot().workers if view.task)
        assert workers.current is not None
        assert workers.current.key == worker.id
        assert app.screen.check_action("requeue", ()) is None
        await pilot.press("x", "y")
        await settled(app, pilot)
        assert run.called("cancel") == [((worker.task,),)]
        app.screen.query_one(Credentials).focus()
        await pilot.pause()
        app.tick()
        assert app.screen.check_action("cancel", ()) is None


async def test_enter_on_a_worker_opens_its_task(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        app.screen.query_one(Workers).focus()
        await pilot.press("enter")
        await settled(app, pilot)
        assert shows(app, TaskScreen)


async def test_the_mouse_presses_the_keys_of_the_bar(run: FakeRun) -> None:
    async with opened(run) as (app, pilot):
        bottom = screen_lines(app)[-1]
        await pilot.click(offset=(bottom.index("Pause") + 1, app.size.height - 1))
        await pilot.pause()
        assert run.called("pause")
