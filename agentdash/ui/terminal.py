"""The terminal itself: what may reach it, what is copied through it, that it is given back and its loss is noticed."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import constants
from textual.app import App
from textual.color import Color
from textual.driver import Driver
from textual.filter import LineFilter

_MAX_COPY = 100_000
"""Characters on the wire. Terminals drop longer clipboard sequences, some without a word."""
_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Control characters, direction marks and invisible ones, halves of characters, line separators."""


# -- copying ---------------------------------------------------------------------------------------------------------
def copy_to_clipboard(app: App[Any], text: str) -> bool:
    """Ask the terminal to put `text` on the clipboard (OSC 52); False if it is too long or there is no terminal.

    Control characters but line breaks and tabs are left out: what is pasted into a shell must not steer it.
    """
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    encoded_length = (len(text.encode()) + 2) // 3 * 4
    driver = app._driver
    if driver is None or encoded_length > _MAX_COPY or not getattr(driver, "is_reachable", True):
        return False
    app.copy_to_clipboard(text)
    return True


# -- what may reach it -----------------------------------------------------------------------------------------------
class ControlFilter(LineFilter):
    """Takes every character that steers a terminal out of what is drawn: the second wall, behind `agentdash.text`.

    Two of them are equal, so that Textual's caches hit though each call of `get_line_filters` may make a new one.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        for text, style, control in segments:
            if not (text.isprintable() or control) or (style is not None and style._link):
                return [_harmless(segment) for segment in segments]
        return segments

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))


def _harmless(segment: Segment) -> Segment:
    text, style, control = segment
    if control:  # Textual's own: cursor movements, never text
        return segment
    if not text.isprintable():
        kept = "".join(c for c in text if c == " " or unicodedata.category(c) not in _STEERING)
        text = set_cell_size(kept, cell_len(text))  # the line was measured before
    return Segment(text, _without_bad_link(style), control)


def _without_bad_link(style: Style | None) -> Style | None:
    if style is None or style.link is None or (style.link.isprintable() and style.link.isascii()):
        return style
    return style.update_link(None)


# -- giving it back --------------------------------------------------------------------------------------------------
_restores: list[Callable[[], None]] = []
"""What gives the terminal back while something draws on it. A process has one terminal, hence one list."""


def restore_terminal() -> None:
    """Give the terminal back at once, as it was: main screen, cursor, echo, no mouse. Does nothing if nobody draws.

    For moments when the app cannot do it in order: it broke while closing, or the process leaves by `os._exit`.
    """
    while _restores:
        _restores.pop()()


def begin_drawing(restore: Callable[[], None]) -> None:
    """From now on `restore` gives the terminal back."""
    if restore not in _restores:
        _restores.append(restore)


def end_drawing(restore: Callable[[], None]) -> None:
    """The terminal has been given back."""
    if restore in _restores:
        _restores.remove(restore)


# -- its loss --------------------------------------------------------------------------------------------------------
_watches: list[TerminalWatch] = []


class TerminalWatch:
    """Calls `on_lost` once, in the event loop, when the terminal is gone while the app draws on it: the window closed,
    the connection dropped, or no more keys can come. Leaving it gives the terminal back, whatever happened inside.

    It is the driver that notices (see `agentdash.ui.driver`): nothing polls. A SIGHUP without a loss is the signal
    handlers' matter.
    """

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self._on_lost = on_lost
        self.is_lost = False

    def __enter__(self) -> Self:
        _watches.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _watches.remove(self)
        restore_terminal()

    def lost(self) -> None:
        """The terminal is gone."""
        if not self.is_lost:
            self.is_lost = True
            self._on_lost()


def report_loss() -> bool:
    """Tell all who watch the terminal that it is gone; False if nobody does."""
    for watch in _watches:
        watch.lost()
    return bool(_watches)


def dashboard_driver() -> type[Driver] | None:
    """The driver to draw with; None leaves the choice to Textual (on Windows, or where TEXTUAL_DRIVER names one)."""
    if sys.platform == "win32" or constants.DRIVER is not None:
        return None
    from agentdash.ui.driver import SafeDriver

    return SafeDriver
