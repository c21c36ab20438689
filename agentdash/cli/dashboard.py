"""The dashboard from the command line: owns the app and the engine's run beside each other, in one event loop.

The run is never the app's: quitting drains it, a crash of the app leaves it running headless, and when the terminal
is gone it drains and leaves.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from agentdash.cli.output import is_terminal, tell
from agentdash.cli.progress import Progress
from agentdash.cli.session import collect_garbage_again, leave_at_once, stop_without_memory
from agentdash.engine.facade import End, Engine
from agentdash.loopguard import guard_loop

if TYPE_CHECKING:
    from agentdash.ui.app import DashboardApp


_TERMINAL = "/dev/tty"
_LOOK_AGAIN_S = 0.5


def wants_dashboard(*, headless: bool) -> bool:
    """Whether a run opens the dashboard: not if it was told otherwise, and only where there is a terminal for it."""
    if headless or os.environ.get("TERM") == "dumb":
        return False
    return is_terminal(sys.stdout) and is_terminal(sys.stderr) and (is_terminal(sys.stdin) or _has_own_terminal())


def take_terminal_for_keys() -> None:
    """Let keys come from the terminal where standard input is a pipe that tasks were read from."""
    if not is_terminal(sys.stdin) and _has_own_terminal():
        terminal = os.open(_TERMINAL, os.O_RDONLY)
        os.dup2(terminal, 0)
        os.close(terminal)


def _has_own_terminal() -> bool:
    try:
        os.close(os.open(_TERMINAL, os.O_RDONLY | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True


class Dashboard:
    """One dashboard over one engine; `crashed` says afterwards whether the app broke, `is_lost` whether its terminal
    went away."""

    def __init__(self, engine: Engine, *, keymap: Mapping[str, str], theme: str | None = None) -> None:
        from agentdash.ui.app import DashboardApp
        from agentdash.ui.terminal import TerminalWatch

        self._engine = engine
        self.app: DashboardApp = DashboardApp(engine, keymap=keymap, theme=theme)
        self.app.on_forced = leave_at_once
        self.is_lost = False
        self._watch = TerminalWatch(self._terminal_lost)

    @property
    def crashed(self) -> bool:
        """Whether the app broke."""
        return self.app.crash is not None

    @property
    def was_interrupted(self) -> bool:
        """Whether the user, or the loss of the terminal, ended what would have gone on."""
        left_at = self.app.left_at
        return self.is_lost or (left_at is not None and left_at.status != "finished" and self.stall_reason is None)

    @property
    def stall_reason(self) -> str | None:
        """Why the run stalled, or which limit was reached, if that is how the user left it."""
        left_at = self.app.left_at
        if left_at is None or not (left_at.status == "stalled" or left_at.limits.reached):
            return None
        return left_at.limits.reached or left_at.waiting_for

    async def run(self) -> End:
        """Show the run until it has ended. A broken app does not end it: it is followed by plain lines then."""
        loop = asyncio.get_running_loop()
        before = loop.get_exception_handler()
        guard_loop(loop, self._report, on_no_memory=partial(stop_without_memory, self._engine))
        serving = asyncio.create_task(self._serve(), name="agentdash-serve")
        try:
            with self._watch:
                await self.app.run_async()
        finally:
            self.app.painted.set()  # an app that never came up must not hold the run
            loop.set_exception_handler(before)
        if self.crashed:
            return await self._go_on(serving)
        if not serving.done():
            self._engine.drain()
        return await serving

    async def _serve(self) -> End:
        """The run begins when the first frame stands, so that nothing delays it, and ends the app when it has ended."""
        await self.app.painted.wait()
        collect_garbage_again()
        try:
            return await self._engine.serve()
        finally:
            self.app.exit()

    async def _go_on(self, serving: asyncio.Task[End]) -> End:
        tell("The dashboard broke down; the run goes on without it. Ctrl+C stops it.")
        async with Progress(self._engine):
            while not serving.done():
                if self._engine.snapshot().status == "finished" or self._engine.limit_reached:
                    self._engine.drain()
                await asyncio.wait([serving], timeout=_LOOK_AGAIN_S)
        return await serving

    def _report(self, text: str) -> None:
        if self.app.is_running:
            self.app.verbs.tell(text, severity="error")

    def _terminal_lost(self) -> None:
        self.is_lost = True
        self._engine.drain()
        self.app.exit()
