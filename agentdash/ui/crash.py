"""What a fault of the dashboard shows and where it is kept: one redacted line on stderr, the traceback in the log.

Textual 8.2.8 prints a traceback with the locals of every frame, keys among them. Nothing of that is used here, and
the run, which is not the app's, goes on.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from rich.console import Console, RenderableType
from textual.app import App
from textual.css.stylesheet import StylesheetParseError
from textual.worker import WorkerFailed

from agentdash.loopguard import in_one_line
from agentdash.loopguard import log_fault as into_log
from agentdash.secret import redact
from agentdash.text import clean
from agentdash.ui.terminal import restore_terminal

LOGGER = logging.getLogger("agentdash.ui")
_ROOT = f"{Path(__file__).parents[2]}{os.sep}"
_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"


class DashboardPanicError(Exception):
    """Textual gave up with a text instead of an exception."""


class RedactedCrash(App[None]):
    """An app whose faults end it in order: terminal given back, one line on stderr, nothing raised to the caller.

    `crash` is then the (first) fault. Put it before `App` among the bases; `log_path` says where the log is.
    """

    crash: BaseException | None = None

    @property
    def log_path(self) -> Path | None:
        """Where `LOGGER` writes to, for the message; None if the app does not know."""
        return None

    async def run_async(self, *args: Any, **kwargs: Any) -> None:
        """Run to the end; whatever breaks, also while the app closes, is in `crash` then and not raised."""
        try:
            await super().run_async(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the boundary of the dashboard: a fault of it must not end the run
            self._handle_exception(error)
        finally:
            restore_terminal()
            self._print_error_renderables()

    def panic(self, *renderables: RenderableType) -> None:
        """End the app for these reasons. What is no plain text (a Rich traceback, say) is named only."""
        texts = [part if isinstance(part, str) else type(part).__name__ for part in renderables]
        self._handle_exception(DashboardPanicError("; ".join(texts)))

    def _handle_exception(self, error: Exception) -> None:
        self._return_code = 1
        if self._exception is None:  # how Textual's Pilot learns of it, and raises it in a test
            self._exception = error
            self._exception_event.set()
        fault = error.error if isinstance(error, WorkerFailed) else error
        log_fault("the dashboard broke down", fault)
        if self.crash is None:
            self.crash = fault
            self._exit_renderables.append(_crash_line(fault, self.log_path))
        self._close_messages_no_wait()

    def _fatal_error(self) -> None:
        """Textual calls it within an `except` block."""
        error = sys.exception()
        self._handle_exception(error if isinstance(error, Exception) else DashboardPanicError("unknown"))

    def _print_error_renderables(self) -> None:
        lines = [part for part in self._exit_renderables if isinstance(part, str)]
        self._exit_renderables.clear()
        with suppress(OSError, ValueError):  # nobody can read it any more
            for line in lines:
                sys.stderr.write(f"{clean(redact(line))}\n")
            sys.stderr.flush()


def where(error: BaseException) -> str:
    """`file:line` of the innermost frame of ours, or else of all, where it began; empty if it was never raised."""
    while error.__cause__ is not None:
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_PACKAGE) and frame.filename != __file__]
    if not frames:
        return ""
    frame = (ours or frames)[-1]
    return clean(f"{frame.filename.removeprefix(_ROOT)}:{frame.lineno}")


def log_fault(what: str, error: BaseException) -> None:
    """A fault of the dashboard into the log, as all faults are, and what a style sheet has to say."""
    into_log(what, error, more=_spelt_out(error), action="dashboard_fault", logger=LOGGER)


def _spelt_out(error: BaseException) -> str:
    """The style sheet's faults, which Textual keeps as something to draw."""
    if not isinstance(error, StylesheetParseError):
        return ""
    page = Console(file=io.StringIO(), width=120, color_system=None)
    page.print(error.errors)
    return cast(io.StringIO, page.file).getvalue()


def _crash_line(error: BaseException, log: Path | None) -> str:
    place = where(error)
    parts = [f"agentdash: internal error in the dashboard: {in_one_line(error)}"]
    parts += [f"where: {place}"] if place else []
    parts.append(f"details in {log}" if log is not None else "details in the log")
    return "; ".join(parts)
