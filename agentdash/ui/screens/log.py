"""The end of the log, full screen. It is read from the file, so that it shows what other processes wrote, too."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from agentdash.figures import count
from agentdash.model import Snapshot
from agentdash.text import clean_lines
from agentdash.ui.crash import log_fault
from agentdash.ui.format import clock_time, event_look
from agentdash.ui.panels.keybar import KeyBar
from agentdash.ui.panels.lines import Cell, Column, Line, LineList
from agentdash.ui.run import Run
from agentdash.ui.screens.runline import RunLine

MAX_LINES: Final = 2000
MAX_BYTES: Final = 2**20
_EVERY_S = 1.0
_TEXT_CHARS = 2000
_TRACEBACK_LINES = 40
_COLUMNS = (Column("time", 8), Column("", 1), Column("message", 0))  # as events look
_LEVELS = {
    "debug": ("·", "dim"), "info": ("·", ""), "warning": ("!", "warn"), "error": ("✖", "bad"), "critical": ("✖", "bad"),
}  # fmt: skip
_EMPTY = "Nothing has been logged yet."

Stamp = tuple[int, int, int] | None
"""Which file it is (device, number) and how long; None if there is none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line to show. `key` is where it stands: the file, the place in it, and which line of a traceback it is."""

    key: tuple[int, int, int]
    at: float | None
    level: str
    action: str
    text: str


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The last entries of a log, oldest first, and the file they were read from."""

    stamp: Stamp
    entries: tuple[Entry, ...]


def read_end(path: Path, known: LogEnd | None = None) -> LogEnd:
    """The end of the log at `path`; `known` itself if the file is as it was then. Raises `OSError`.

    Where the log was begun anew a short while ago, its predecessor's end comes first.
    """
    stamp = _stamp(path)
    if known is not None and stamp is not None and known.stamp == stamp:
        return known
    newest, read = _entries(path, MAX_BYTES)
    before: list[Entry] = []
    if len(newest) < MAX_LINES and read < MAX_BYTES:
        before, _ = _entries(path.with_name(f"{path.name}.1"), MAX_BYTES - read)
    if newest and before and newest[-1].key[0] == before[-1].key[0]:
        before = []  # it was renamed between the two readings
    return LogEnd(stamp, tuple([*before, *newest][-MAX_LINES:]))


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _entries(path: Path, most: int) -> tuple[list[Entry], int]:
    """The last entries of one file, and how many bytes of it were read: at most `most`."""
    if _stamp(path) is None:
        return [], 0
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return [], 0
    with file:
        found = os.fstat(file.fileno())
        start = file.seek(max(0, found.st_size - most))
        data = file.read(most)
    cut = data.find(b"\n") + 1 or len(data) if start else 0  # it most likely begins in the middle of a line
    return _parsed(data[cut:], start + cut, found.st_ino), len(data)


def _parsed(data: bytes, start: int, number: int) -> list[Entry]:
    lines = data.split(b"\n")
    places: list[tuple[int, bytes]] = []
    at = start + len(data) + 1
    for index in range(len(lines) - 1, max(-1, len(lines) - 2 - MAX_LINES), -1):
        line = lines[index]
        at -= len(line) + 1
        places.append((at, line))
    found: list[Entry] = []
    for place, line in reversed(places):
        is_half = place + len(line) == start + len(data)  # no line break behind it: it is still being written
        found += _entry(line, (number, place), is_half)
    return found[-MAX_LINES:]


def _entry(line: bytes, place: tuple[int, int], is_half: bool) -> list[Entry]:
    """The entry of a line, then its traceback's lines. What is no entry is shown as it is, a half line not yet."""
    if not line.strip():
        return []
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        text = line[:_TEXT_CHARS].decode("utf-8", "replace").strip()
        return [] if is_half else [Entry((*place, 0), None, "", "", text)]
    level, action = _text(said, "level")[:20], _text(said, "action")[:60]
    first = Entry((*place, 0), _time(said.get("at")), level, action, _text(said, "message")[:_TEXT_CHARS])
    error = _text(said, "error").splitlines()[-_TRACEBACK_LINES:]
    more = [Entry((*place, n), None, level, "", f"  {text[:_TEXT_CHARS]}") for n, text in enumerate(error, 1)]
    return [first, *more]


def _text(said: dict[str, Any], name: str) -> str:
    value = said.get(name, "")
    return value if isinstance(value, str) else json.dumps(value)


def _time(text: object) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None
    except (ValueError, OverflowError, OSError):
        return None


def _line(entry: Entry) -> Line:
    """As the events show it: what has happened says more than how grave the log calls it."""
    look = event_look(entry.action)
    glyph, style = look if look.style else _LEVELS.get(entry.level, ("", ""))
    time = Cell(clock_time(entry.at) if entry.at is not None else "", "dim")
    is_first = entry.key[2] == 0
    text = Cell(entry.text, style if is_first and (entry.level or entry.at) else "dim")
    return Line(entry.key, (time, Cell(glyph if is_first else "", style), text))


class LogLines(LineList):
    """The list. Its Enter stands in the key bar."""

    BINDINGS: ClassVar = [
        Binding("enter", "choose", "Whole line", tooltip="Show the whole of a long line, or hide it", id="log_whole"),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """None dims a key that would do nothing."""
        return None if action == "choose" and self.current is None else True


class LogScreen(Screen[None]):
    """Follows the log while the cursor is on its last line; who looks at an older one stays there."""

    BINDINGS: ClassVar = [
        Binding("escape", "back", "Back", tooltip="Leave the log", id="back"),
        Binding("l", "back", "Back", show=False, tooltip="Leave the log", id="log"),
    ]
    DEFAULT_CSS = """
    LogScreen LineList {
        height: 1fr; border: round $accent; border-title-color: $accent; border-subtitle-color: $text-muted;
    }
    LogScreen #whole {
        height: 6; padding: 0 1; display: none;
        border: round $foreground 25%; border-title-color: $foreground;
    }
    LogScreen #whole:focus { border: round $accent; border-title-color: $accent; }
    LogScreen #text { height: auto; }
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._line = RunLine(run, id="run")
        self._end: LogEnd | None = None
        self._read_at = float("-inf")
        self._is_reading = False

    def compose(self) -> ComposeResult:
        yield self._line
        lines = LogLines(_COLUMNS, id="lines")
        lines.border_title = "Log"
        yield lines
        with VerticalScroll(id="whole") as whole:
            whole.border_title = "Whole line"
            yield Static("", id="text", markup=False)
        yield KeyBar(("back",), ("log_whole",), ("help", "quit_run"))

    def on_mount(self) -> None:
        self._list.focus()
        self._begin(self._run.clock.now())

    @property
    def _list(self) -> LineList:
        return self.query_one(LineList)

    def update(self, snapshot: Snapshot, now: float) -> None:
        """Look whether the file has changed, but not all the time."""
        self._line.update(snapshot, now)
        if abs(now - self._read_at) >= _EVERY_S:
            self._begin(now)

    def _begin(self, now: float) -> None:
        if not self._is_reading:
            self._is_reading, self._read_at = True, now
            _ = self.run_worker(self._read(), name="log", group="log", exit_on_error=False)

    async def _read(self) -> None:
        """A boundary: nobody awaits it, so it shows and records what goes wrong."""
        try:
            end = await asyncio.to_thread(read_end, self._run.log_path, self._end)
            if not self.query(LineList):
                return  # left meanwhile
            if end is not self._end:
                self._end = end
                self._show()
        except OSError as error:
            self._end = None
            self._list.empty = f"The log cannot be read: {error.strerror or error}"
            self._list.show(())
        except Exception as error:  # noqa: BLE001 - see above
            log_fault("the log screen failed", error)
            self._list.fault(error)
        finally:
            self._is_reading = False

    # -- what it shows -----------------------------------------------------------------------------------------------
    def _show(self) -> None:
        lines, entries = self._list, self._end.entries if self._end is not None else ()
        last = lines.row_count - 1
        was_at_end, end_was_seen = lines.cursor >= last, lines.top_row + lines.page_size > last
        top = lines.line_at(lines.top_row)
        lines.empty = _EMPTY
        lines.border_subtitle = f"the last {count(len(entries), 'line')}" if entries else ""
        lines.show([_line(entry) for entry in entries])
        if was_at_end and end_was_seen:
            lines.action_to_end()
            return
        if was_at_end:  # scrolled up by the mouse: once back at the end, it follows again
            lines.cursor = len(entries) - 1
        place = lines.find_key(top.key) if top is not None else None
        if place is not None and place != lines.top_row:
            lines.scroll_to(y=place, animate=False, force=True)

    @on(LineList.Chosen)
    def _show_or_hide_whole(self) -> None:
        whole = self.query_one("#whole")
        whole.display = not whole.display
        if whole.display:  # the cursor's line must not be behind it
            self.call_after_refresh(lambda: self._list.move_to(self._list.cursor))
        self._show_whole()

    @on(LineList.Moved)
    def _show_whole(self) -> None:
        """All that the line under the cursor says."""
        whole, line = self.query_one("#whole"), self._list.current
        if whole.display:
            text = clean_lines(line.cells[-1].text) if line is not None else ""
            self.query_one("#text", Static).update(Content(text))
            whole.scroll_home(animate=False)
        self.refresh_bindings()

    def action_back(self) -> None:
        """Leave."""
        _ = self.dismiss()
