"""The screen of failed tasks by error: what it lists, its keys, and how it keeps up with the run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from textual.app import App
from textual.binding import Binding
from textual.pilot import Pilot

from agentdash.errors import AgentdashError
from agentdash.model import ErrorGroup, TaskState
from agentdash.ui.screens.confirm import ConfirmDialog
from agentdash.ui.screens.groups import GroupsScreen
from tests.ui.fake_run import FakeRun, FakeTask
from tests.ui.moments import HOSTILE
from tests.ui.screen_text import screen_text, until

SIZES = ((60, 20), (80, 24), (120, 40), (200, 60))


class Stage(App[None]):
    """Opens the screen as the dashboard does, and keeps its answers."""

    BINDINGS: ClassVar = [Binding("R", "all_failed", "All failed", id="requeue_failed")]

    def __init__(self, run: FakeRun) -> None:
        super().__init__()
        self.run_shown = run
        self.groups = GroupsScreen(run)
        self.answers: list[ErrorGroup | None] = []
        self.told: list[str] = []
        self.asked_all = 0

    def on_mount(self) -> None:
        _ = self.push_screen(self.groups, self.answers.append)

    def notify(self, message: str, **options: Any) -> None:
        assert options["markup"] is False
        self.told.append(message)

    def action_all_failed(self) -> None:
        self.asked_all += 1

    def tick(self) -> None:
        self.groups.update(self.run_shown.snapshot(), self.run_shown.clock.now())


def run_with(*errors: tuple[str, str, int], folder: Path | None = None) -> FakeRun:
    """A run whose tasks have failed with these errors, so many with each."""
    run = FakeRun(project_path=folder)
    for kind, message, number in errors:
        for _ in range(number):
            add_failed(run, kind, message)
    return run


def add_failed(run: FakeRun, kind: str, message: str) -> None:
    seq = len(run.tasks) + 1
    run.tasks[f"t{seq}"] = FakeTask(seq, f"t{seq}", {"prompt": "x"})
    run.fail(f"t{seq}", kind, message)


@asynccontextmanager
async def opened(run: FakeRun, size: tuple[int, int] = (120, 40)) -> AsyncIterator[tuple[Stage, Pilot[None]]]:
    """The screen with its groups read."""
    stage = Stage(run)
    async with stage.run_test(size=size) as pilot:
        await until(pilot, lambda: stage.screen is stage.groups and "Looking at" not in screen_text(stage))
        yield stage, pilot


TWO = (("overloaded_error", "Overloaded after 17 s", 3), ("invalid_request_error", "input 7 is refused", 1))


async def test_it_lists_the_groups_with_an_example_of_the_one_under_the_cursor() -> None:
    async with opened(run_with(*TWO)) as (stage, pilot):
        shown = screen_text(stage)
        assert "3 × overloaded_error" in shown
        assert "Overloaded after … s" in shown
        assert "4 tasks · 2 kinds" in shown
        assert "t1   overloaded_error" in shown
        assert "Overloaded after 17 s" in shown
        await pilot.press("j")
        await until(pilot, lambda: "input 7 is refused" in screen_text(stage))
        assert "t4   invalid_request_error" in screen_text(stage)


async def test_enter_answers_with_the_group_and_escape_with_none() -> None:
    async with opened(run_with(*TWO)) as (stage, pilot):
        await pilot.press("j", "enter")
        await until(pilot, lambda: bool(stage.answers))
        assert stage.answers[0] is not None
        assert stage.answers[0].error_type == "invalid_request_error"
    async with opened(run_with(*TWO)) as (stage, pilot):
        await pilot.press("escape")
        await until(pilot, lambda: bool(stage.answers))
        assert stage.answers == [None]


async def test_r_requeues_the_group_after_a_question_with_its_count_and_reads_again() -> None:
    run = run_with(*TWO)
    async with opened(run) as (stage, pilot):
        await pilot.press("r")
        await until(pilot, lambda: isinstance(stage.screen, ConfirmDialog))
        assert "Requeue 3 failed tasks with this error?" in screen_text(stage)
        await pilot.press("y")
        await until(pilot, lambda: stage.told == ["3 tasks requeued. u takes it back."])
        assert [arguments[0].count for arguments in run.called("requeue_group")] == [3]  # type: ignore[attr-defined]
        assert sum(task.state is TaskState.PENDING for task in run.tasks.values()) == 3
        stage.tick()
        await until(pilot, lambda: "1 task · 1 kind" in screen_text(stage))
        assert "overloaded_error" not in screen_text(stage)


async def test_enter_in_the_question_requeues_nothing() -> None:
    run = run_with(*TWO)
    async with opened(run) as (stage, pilot):
        await pilot.press("r")
        await until(pilot, lambda: isinstance(stage.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: stage.screen is stage.groups)
        assert not run.calls
        assert not stage.told


async def test_requeue_all_is_left_to_the_app() -> None:
    async with opened(run_with(*TWO)) as (stage, pilot):
        await pilot.press("R")
        await until(pilot, lambda: stage.asked_all == 1)


async def test_o_exports_to_new_files_only(tmp_path: Path) -> None:
    run = run_with(("../../etc/pass wd", "no", 2), folder=tmp_path)
    async with opened(run) as (stage, pilot):
        for number, name in enumerate(("failed-etc-pass-wd", "failed-etc-pass-wd-2", "failed-etc-pass-wd-3"), 1):
            await pilot.press("o")
            await until_told(pilot, stage, number)
            path = tmp_path / f"{name}.jsonl"
            assert stage.told[-1] == f"2 tasks written to {path}"
            assert [json.loads(line)["custom_id"] for line in path.read_text().splitlines()] == ["t1", "t2"]


async def until_told(pilot: Pilot[None], stage: Stage, number: int) -> None:
    """Wait for a thread, which `until` alone may outrun."""
    async with asyncio.timeout(10):
        while len(stage.told) < number:
            await pilot.pause(0.005)


async def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    run = run_with(*TWO, folder=tmp_path)
    run.errors["export_group"] = AgentdashError("the disk [b]is full", hint="Free some.")
    async with opened(run) as (stage, pilot):
        await pilot.press("o")
        await until_told(pilot, stage, 1)
        assert stage.told == ["the disk [b]is full Free some."]
        run.errors.clear()
        await pilot.press("o")
        await until_told(pilot, stage, 2)
        assert "written to" in stage.told[1]


async def test_without_failures_it_says_so_and_the_keys_do_nothing() -> None:
    run = FakeRun()
    async with opened(run) as (stage, pilot):
        await until(pilot, lambda: "No task has failed." in screen_text(stage))
        await pilot.press("r", "o", "enter")
        await pilot.pause()
        assert stage.screen is stage.groups
        assert not run.calls
        assert not stage.answers
        assert stage.groups.check_action("requeue", ()) is None
        shown = screen_text(stage)
        assert "in common" not in shown
        assert "Example" not in shown
        keys = {active.binding.id: active.enabled for active in stage.groups.active_bindings.values()}
        assert [keys[name] for name in ("groups_open", "requeue", "groups_export", "back")] == [False] * 3 + [True]
        add_failed(run, "api_error", "broken")
        run.clock.advance(2)
        stage.tick()
        await until(pilot, lambda: "Example" in screen_text(stage) and "in common" in screen_text(stage))
        keys = {active.binding.id: active.enabled for active in stage.groups.active_bindings.values()}
        assert keys["groups_open"]


async def test_it_reads_again_when_other_tasks_have_failed_but_once_a_second() -> None:
    run = run_with(*TWO)
    async with opened(run) as (stage, pilot):
        run.clock.advance(5)
        stage.tick()
        await pilot.pause()
        assert run.asked["error_groups"] == 1  # as many as before
        add_failed(run, "timeout_error", "no answer")
        stage.tick()
        await until(pilot, lambda: "timeout_error" in screen_text(stage))
        add_failed(run, "api_error", "broken")
        run.clock.advance(0.5)
        stage.tick()
        await pilot.pause()
        assert run.asked["error_groups"] == 2
        run.clock.advance(0.5)
        stage.tick()
        await until(pilot, lambda: "api_error" in screen_text(stage))
        assert run.asked["error_groups"] == 3


async def test_the_cursor_stays_on_its_group_when_others_grow() -> None:
    run = run_with(*TWO)
    async with opened(run) as (stage, pilot):
        await pilot.press("j")
        for _ in range(9):
            add_failed(run, "invalid_request_error", "input 8 is refused")
        run.clock.advance(2)
        stage.tick()
        await until(pilot, lambda: "10 × invalid_request_error" in screen_text(stage))
        assert stage.groups.current is not None
        assert stage.groups.current.error_type == "invalid_request_error"
        assert stage.groups.query_one("#groups").cursor == 0  # type: ignore[attr-defined]


async def test_an_unreadable_store_is_told_and_tried_again() -> None:
    run = run_with(*TWO)
    run.errors["error_groups"] = AgentdashError("the database is away")
    async with opened(run) as (stage, pilot):
        await until(pilot, lambda: stage.told == ["the database is away"])
        assert "could not be read" in screen_text(stage)
        run.clock.advance(2)
        stage.tick()
        await until(pilot, lambda: run.asked["error_groups"] == 2)
        await pilot.pause()
        assert len(stage.told) == 1
        run.errors.clear()
        run.clock.advance(2)
        stage.tick()
        await until(pilot, lambda: "overloaded_error" in screen_text(stage))


async def test_a_fault_shows_in_the_list_only(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(*TWO)

    async def broken() -> tuple[ErrorGroup, ...]:
        raise TypeError("unexpected")

    monkeypatch.setattr(run, "error_groups", broken)
    async with opened(run) as (stage, pilot):
        await until(pilot, lambda: "this panel failed: TypeError" in screen_text(stage))
        await pilot.press("escape")
        await until(pilot, lambda: stage.answers == [None])


@pytest.mark.parametrize("size", SIZES)
async def test_it_can_be_used_at_any_size(size: tuple[int, int]) -> None:
    async with opened(FakeRun.seeded(), size) as (stage, pilot):
        shown = screen_text(stage)
        assert "× " in shown
        assert "invalid_request_error" in shown
        assert "Example" in shown
        assert "Requeue" in shown
        assert "Back" in shown
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: stage.groups.size.width == 60)
        assert "invalid_request_error" in screen_text(stage)


@pytest.mark.parametrize("size", SIZES)
async def test_hostile_text_is_only_shown(size: tuple[int, int]) -> None:
    run = run_with((HOSTILE, HOSTILE + "\n" + "long " * 2000, 2))
    async with opened(run, size) as (stage, pilot):
        shown = screen_text(stage)
        assert "a[/]b" in shown
        assert not {"\x1b", "\x9b", "\u202e", "\u200b", "\x7f", "\r"} & set(shown)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(stage.screen, ConfirmDialog))
        assert not {"\x1b", "\x9b", "\u202e"} & set(screen_text(stage))


def test_every_key_has_a_name_and_says_what_it_does() -> None:
    for binding in GroupsScreen.BINDINGS:
        assert isinstance(binding, Binding)
        assert binding.id
        assert binding.description
        assert binding.tooltip
