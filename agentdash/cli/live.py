"""The live line of a headless run on a terminal: a bar and one line of figures, with events above it."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agentdash.cli.progress import progress_text
from agentdash.model import Snapshot

_BAR_CELLS = 20


class _QuietConsole(Console):
    """A console whose reader may go away without ending the program."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class LiveLine:
    """Redrawn by `update`, gone after `stop`; silent once the terminal cannot be written any more."""

    def __init__(self) -> None:
        self._console = _QuietConsole(stderr=True, markup=False, highlight=False, emoji=False)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._dead = False
        self._guarded(self._live.start)

    def update(self, snapshot: Snapshot) -> None:
        """Show this moment."""
        self._guarded(lambda: self._live.update(_line(snapshot), refresh=True))

    def print(self, text: str) -> None:
        """One line above the live one; `text` is cleaned and never markup."""
        self._guarded(lambda: self._console.print(Text(text, style="dim")))

    def stop(self) -> None:
        """Take the line away and give the terminal back."""
        self._guarded(self._live.stop)

    def _guarded(self, draw: Callable[[], None]) -> None:
        if self._dead:
            return
        try:
            draw()
        except (OSError, ValueError):  # the terminal is gone; the run goes on, or the signal that comes ends it
            self._dead = True


def _line(snapshot: Snapshot) -> RenderableType:
    counts = snapshot.counts
    bar = ProgressBar(total=max(1, counts.total), completed=counts.finished, width=_BAR_CELLS)
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=_BAR_CELLS)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_row(bar, Text(progress_text(snapshot), no_wrap=True, overflow="ellipsis"))
    return grid
