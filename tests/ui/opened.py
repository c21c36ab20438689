"""The dashboard over a fake run, as the tests of keys and pictures open it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Input

from agentdash.ui.app import DashboardApp
from agentdash.ui.panels.queue import Queue
from tests.ui.fake_run import FakeRun
from tests.ui.screen_text import until

_FONT_FACE = re.compile(r"\s*@font-face \{[^}]*\}")


class StillApp(DashboardApp):
    """The dashboard without a clock of its own: it takes a snapshot when a test says so."""

    def set_interval(self, *arguments: object, **options: object) -> object:  # type: ignore[override]
        if options.get("name") == "snapshot":
            return None
        return super().set_interval(*arguments, **options)  # type: ignore[arg-type]


class PicturedApp(StillApp):
    """The dashboard as `snap_compare` takes pictures of it, which load no font from another host."""

    async def run_async(self, *arguments: Any, **options: Any) -> object:  # type: ignore[override]
        """Where the dashboard keeps its faults to itself and answers nothing, this one raises and hands its picture."""
        await super().run_async(*arguments, **options)
        if self.crash is not None:
            raise self.crash
        return self.return_value

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        return _FONT_FACE.sub("", super().export_screenshot(title=title, simplify=simplify))


@asynccontextmanager
async def opened(
    run: FakeRun, size: tuple[int, int] = (120, 40), **options: object
) -> AsyncIterator[tuple[DashboardApp, Pilot[None]]]:
    """The dashboard, its queue read."""
    app = StillApp(run, **options)  # type: ignore[arg-type]
    async with app.run_test(size=size, notifications=True) as pilot:
        await pilot.pause()
        await settled(app, pilot)
        yield app, pilot


async def settled(app: DashboardApp, pilot: Pilot[None]) -> None:
    """What was asked for is shown."""
    app.tick()
    await pilot.pause()
    await app.workers.wait_for_complete([w for w in app.workers if not w.is_finished])
    app.tick()
    await pilot.pause()
    queues = app.screen_stack[-1].query(Queue)
    if queues and not app.screen.is_modal:
        await until(pilot, lambda: queues.first().query_shown is not None)


def folder_of(tmp_path: Path) -> FakeRun:
    """A seeded run whose files go to a folder of the test's own."""
    return FakeRun.seeded(project_path=tmp_path)


def type_into(app: DashboardApp, text: str) -> None:
    """As if it had been typed into the focused input, at once."""
    focused = app.focused
    assert isinstance(focused, Input)
    focused.value = text
