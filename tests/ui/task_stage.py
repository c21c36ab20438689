"""The screen of one task on top of nothing, for the tests of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from textual.app import App
from textual.pilot import Pilot

from agentdash.model import TaskState
from agentdash.ui.screens.task import TaskScreen
from tests.ui.fake_run import FakeRun, FakeTask
from tests.ui.moments import NOW
from tests.ui.screen_text import screen_text, until

SIZES: Final = ((60, 20), (80, 24), (120, 40), (200, 60))
ANSWER: Final = "# Findings\n\nAll **well**.\n\n- one\n- [a link](https://example.org/x)\n"
PAYLOAD: Final = {
    "prompt": "Summarise the incident.",
    "model": "claude-sonnet-5-5",
    "max_tokens": 512,
    "metadata": {"team": "night"},
}


class Shown(App[None]):
    """The screen of one task on top of nothing, told of each moment by hand."""

    def __init__(self, run: FakeRun, task_id: str = "t1") -> None:
        super().__init__()
        self.run_ = run
        self.task_id = task_id
        self.told: list[str] = []

    def on_mount(self) -> None:
        _ = self.push_screen(TaskScreen(self.run_, self.task_id))

    def notify(self, message: str, **options: Any) -> None:
        assert options["markup"] is False
        self.told.append(message)

    def tick(self, seconds: float = 1.0) -> None:
        """A quarter of a second, or however long, has passed."""
        self.run_.clock.advance(seconds)
        if isinstance(self.screen, TaskScreen):
            self.screen.update(self.run_.snapshot(), self.run_.clock.now())


def a_task(state: TaskState = TaskState.PENDING, **changes: Any) -> FakeTask:
    options: dict[str, Any] = {"payload": PAYLOAD, "state": state} | changes
    if state is TaskState.RUNNING:
        options |= {"worker": "worker-3", "claimed_at": NOW}
    return FakeTask(1, options.pop("id", "t1"), **options)


def a_run(state: TaskState = TaskState.PENDING, folder: Path | None = None, **changes: Any) -> FakeRun:
    return FakeRun([a_task(state, **changes)], project_path=folder)


async def settled(pilot: Pilot[None], text: str) -> str:
    """The screen once it shows this."""
    await until(pilot, lambda: text in screen_text(pilot.app))
    return screen_text(pilot.app)


async def ticked_until(pilot: Pilot[None], text: str) -> str:
    """The screen once it shows this, as time goes on."""

    def shows() -> bool:
        app = pilot.app
        assert isinstance(app, Shown)
        app.tick()
        return text in screen_text(app)

    await until(pilot, shows)
    return screen_text(pilot.app)


def may(app: App[None], actions: Sequence[str]) -> list[str]:
    return [name for name in actions if app.screen.check_action(name, ()) is True]
