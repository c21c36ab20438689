"""A list of one-line rows, drawn with Textual's Line API: the base of every panel that lists something.

Only the visible rows exist, and only those that changed are drawn again, so a million tasks cost what a screenful does.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding
from textual.message import Message
from textual.reactive import reactive

from agentdash.ui.panels.cells import Cell, Column, Line
from agentdash.ui.panels.lineview import STYLES, LineView
from agentdash.ui.panels.painter import GUTTER

__all__ = ["STYLES", "Cell", "Column", "Line", "LineList"]


class LineList(LineView, can_focus=True, inherit_bindings=False):
    """A scrolling list with a cursor. Fill it with `show`; it tells of the cursor and of chosen rows by messages."""

    BINDINGS: ClassVar = [
        Binding("j,down", "move(1)", "Down", show=False, id="list_down"),
        Binding("k,up", "move(-1)", "Up", show=False, id="list_up"),
        Binding("g,home", "to_top", "Top", show=False, id="list_top"),
        Binding("G,end", "to_end", "End", show=False, id="list_end"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="list_page_down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="list_page_up"),
        Binding("enter", "choose", "Choose", show=False, id="list_choose"),
    ]
    cursor: reactive[int] = reactive(0, repaint=False)

    class Moved(Message):
        """The cursor stands on another row."""

        def __init__(self, lines: LineList, index: int) -> None:
            super().__init__()
            self.lines = lines
            self.index = index

        @property
        def control(self) -> LineList:
            return self.lines

    class Chosen(Message):
        """A row was chosen: Enter, or a double click."""

        def __init__(self, lines: LineList, index: int, key: Hashable) -> None:
            super().__init__()
            self.lines = lines
            self.index = index
            self.key = key

        @property
        def control(self) -> LineList:
            return self.lines

    _cursor_key: Hashable = None
    _hover_y = -1

    # -- what it shows -----------------------------------------------------------------------------------------------
    def show(self, lines: Sequence[Line], *, start: int = 0, total: int | None = None) -> None:
        """Show these rows: all there are, or those from `start` of `total`."""
        cursor_was_seen = 0 <= self.cursor - self.top_row < self.page_size
        self.set_lines(lines, start, start + len(lines) if total is None else total)
        self._follow_key()
        if cursor_was_seen:
            self._reveal()

    @property
    def current(self) -> Line | None:
        """The row under the cursor."""
        return self.line_at(self.cursor)

    # -- the cursor --------------------------------------------------------------------------------------------------
    def validate_cursor(self, cursor: int) -> int:
        return max(0, min(cursor, self._total_rows - 1))

    def watch_cursor(self, before: int, cursor: int) -> None:
        self._refresh_rows([before, cursor])
        self._take_key()

    def _take_key(self) -> None:
        line = self.current
        key = line.key if line is not None else None
        if key != self._cursor_key:
            self._cursor_key = key
            self.post_message(self.Moved(self, self.cursor))

    def _follow_key(self) -> None:
        """Rows have moved: stay on the row the cursor was on, or in its place if that row is gone."""
        line = self.current
        if (line is None or line.key != self._cursor_key) and (index := self.find_key(self._cursor_key)) is not None:
            self.cursor = index
            return
        self.cursor = self.validate_cursor(self.cursor)
        if line is not None or not self._total_rows:
            self._take_key()

    def find_key(self, key: Hashable) -> int | None:
        """Where the row with this key stands now, as far as that is known."""
        for index, line in enumerate(self._rows, self._first_row):
            if line.key == key and index < self._total_rows:
                return index
        return None

    def _reveal(self) -> None:
        """Scroll so far that the cursor is seen."""
        page = self.page_size
        top = min(self.cursor, max(self.top_row, self.cursor - page + 1))
        if page and top != self.top_row:
            self.scroll_to(y=top, animate=False, force=True)

    def move_to(self, index: int) -> None:
        """Put the cursor on a row, and show it."""
        self.cursor = index
        self._reveal()

    def action_move(self, step: int) -> None:
        """Move by one row."""
        self.move_to(self.cursor + step)

    def action_page(self, step: int) -> None:
        """Move by a screenful."""
        self.move_to(self.cursor + step * max(1, self.page_size - 1))

    def action_to_top(self) -> None:
        """Move to the first row."""
        self.move_to(0)

    def action_to_end(self) -> None:
        """Move to the last row."""
        self.move_to(self._total_rows - 1)

    def action_choose(self) -> None:
        """Choose the row under the cursor."""
        if (line := self.current) is not None:
            self.post_message(self.Chosen(self, self.cursor, line.key))

    # -- mouse, size, looks ------------------------------------------------------------------------------------------
    def head_clicked(self, column: int) -> None:
        """The title of a column was clicked: for those who sort."""

    def gutter_clicked(self, index: int) -> bool:
        """The cells before the first column of a row were clicked; the cursor stands on it: for those who mark.

        Returns whether that meant anything; if not, it is a click on the row as any other.
        """
        return False

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor; a second one in the same place chooses."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y < self._head_lines:
            if (column := self._painter.column_at(offset.x, self._width)) is not None:
                self.head_clicked(column)
            return
        index = self._row_at(offset.y)
        is_first = event.chain != 2
        if index is not None and is_first:
            self.cursor = index
        if index is not None and offset.x < GUTTER and self.gutter_clicked(index):
            return
        if not is_first:  # the rows may have moved meanwhile: what was clicked first is meant
            self.action_choose()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Show which row a click would take."""
        offset = event.get_content_offset(self)
        self._hover(-1 if offset is None else offset.y)

    def on_leave(self) -> None:
        """The mouse is elsewhere."""
        self._hover(-1)

    def _hover(self, y: int) -> None:
        if y != self._hover_y:
            rows = [self._row_at(self._hover_y), self._row_at(y)]
            self._hover_y = y
            self._refresh_rows([row for row in rows if row is not None])

    def on_focus(self) -> None:
        """The cursor is brighter while keys go here."""
        self._refresh_rows([self.cursor])

    def on_blur(self) -> None:
        """See `on_focus`."""
        self._refresh_rows([self.cursor])

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self._reveal()

    def _state_of(self, index: int, y: int) -> str:
        if index == self.cursor:
            return "cursor" if self.has_focus else "cursor-blurred"
        return "hover" if y == self._hover_y else ""
