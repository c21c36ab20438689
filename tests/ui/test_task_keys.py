"""The keys of the screen of one task: which apply, and what each does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.app import App

from agentdash.model import TaskState
from agentdash.ui.screens import task as task_module
from agentdash.ui.screens.confirm import ConfirmDialog
from agentdash.ui.screens.task import TaskScreen
from agentdash.ui.screens.taskfile import save
from agentdash.ui.screens.tasktext import TaskText
from tests.ui.moments import HOSTILE
from tests.ui.screen_text import until
from tests.ui.task_stage import ANSWER, PAYLOAD, Shown, a_run, may, settled, ticked_until

ACTIONS = ("requeue", "cancel", "markdown", "copy_task", "save")


@pytest.mark.parametrize(
    ("state", "applies"),
    [
        (TaskState.PENDING, ["cancel", "copy_task", "save"]),
        (TaskState.RUNNING, ["cancel", "copy_task", "save"]),
        (TaskState.FAILED, ["requeue", "copy_task", "save"]),
        (TaskState.CANCELLED, ["requeue", "copy_task", "save"]),
        (TaskState.SUCCEEDED, ["markdown", "copy_task", "save"]),
    ],
)
async def test_only_what_applies_can_be_done(state: TaskState, applies: list[str]) -> None:
    run = a_run(TaskState.RUNNING)
    if state is TaskState.SUCCEEDED:
        run.finish("t1")
    else:
        run.tasks["t1"].state = state
    async with Shown(run).run_test(size=(80, 24)) as pilot:
        await settled(pilot, "Summarise")
        assert may(pilot.app, ACTIONS) == applies


async def test_requeue() -> None:
    run = a_run(TaskState.RUNNING)
    run.fail("t1", "api_error", "broken")
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, "✖ failed")
        await pilot.press("r")
        await ticked_until(pilot, "○ pending")
        assert run.called("requeue") == [(("t1",),)]
        await pilot.press("r")
        assert len(run.called("requeue")) == 1


async def test_cancel_asks_first() -> None:
    run = a_run()
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, "○ pending")
        await pilot.press("x")
        assert isinstance(app.screen, ConfirmDialog)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, TaskScreen))
        assert not run.called("cancel")
        await pilot.press("x", "y")
        await ticked_until(pilot, "⊘ cancelled")
        assert run.called("cancel") == [(("t1",),)]


async def test_copy_takes_the_answer_else_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []

    def copy(_: App[None], text: str) -> bool:
        copied.append(text)
        return True

    monkeypatch.setattr(task_module, "copy_to_clipboard", copy)
    run = a_run(TaskState.RUNNING)
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, "● running")
        await pilot.press("c")
        run.finish("t1", ANSWER)
        await ticked_until(pilot, "✔ done")
        await pilot.press("c")
        assert copied == [PAYLOAD["prompt"], ANSWER]
        assert [told.split(" is ")[0] for told in app.told] == ["The prompt", "The answer"]


async def test_what_is_too_long_for_the_clipboard_is_told() -> None:
    app = Shown(a_run(payload={"prompt": "x" * 100_000}))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, "xxxx")
        await pilot.press("c")
        assert app.told == ["The prompt could not be copied: s saves it."]


async def test_save_never_overwrites(tmp_path: Path) -> None:
    run = a_run(TaskState.RUNNING, tmp_path)
    run.finish("t1", ANSWER)
    (tmp_path / "t1.md").write_text("mine")
    app = Shown(run)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, "✔ done")
        await pilot.press("s", "s")
        await until(pilot, lambda: len(app.told) == 2)
    assert (tmp_path / "t1.md").read_text() == "mine"
    text = (tmp_path / "t1-2.md").read_text()
    assert ANSWER in text
    assert str(PAYLOAD["prompt"]) in text
    assert str(tmp_path / "t1-3.md") in app.told[1]
    if os.name == "posix":
        assert (tmp_path / "t1-3.md").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("task_id", "name"),
    [("../../etc/passwd", "etc_passwd.md"), ("…", "task.md"), ("a b/c", "a_b_c.md"), ("x" * 200, "x" * 80 + ".md")],
)
async def test_a_file_stays_in_its_folder(tmp_path: Path, task_id: str, name: str) -> None:
    path = await save(tmp_path, task_id, TaskText("", f"{HOSTILE}", "", "", ""))
    assert path == tmp_path / name
    assert not {character for character in path.read_text() if ord(character) < 32} - {"\n", "\t"}


async def test_a_folder_that_takes_no_file_is_told(tmp_path: Path) -> None:
    app = Shown(a_run(folder=tmp_path / "gone"))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, "○ pending")
        await pilot.press("s")
        await until(pilot, lambda: bool(app.told))
        assert "could not be saved: No such file" in app.told[0]
