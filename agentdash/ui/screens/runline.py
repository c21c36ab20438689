"""The run in one line, for the screens that cover the main view: it goes on behind them."""

from __future__ import annotations

import contextlib

from textual.geometry import Size

from agentdash.errors import AgentdashError
from agentdash.model import Snapshot
from agentdash.ui.panels.header import RunHeader
from agentdash.ui.panels.headerlines import HeaderLine, run_line
from agentdash.ui.run import Run


class RunLine(RunHeader):
    """The header in one line. Its screen tells it of each moment."""

    def __init__(self, run: Run, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._run = run

    def on_mount(self) -> None:
        """It need not wait for the next moment."""
        with contextlib.suppress(AgentdashError):
            self.update(self._run.snapshot(), self._run.clock.now())

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return 1

    def lines_of(self, snapshot: Snapshot, now: float, width: int) -> list[HeaderLine]:
        return [run_line(snapshot, now, width)]
