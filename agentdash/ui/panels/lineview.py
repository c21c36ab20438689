"""A window onto rows, drawn with Textual's Line API: titles, rows, an empty state and faults; no cursor yet.

Only the visible rows exist, and only those that changed are drawn again, so a million tasks cost what a screenful does.
"""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Sequence
from typing import ClassVar, Final

from rich.segment import Segment
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from agentdash.ui.panels.cells import Column, Line
from agentdash.ui.panels.painter import GUTTER, Painter

LOGGER = logging.getLogger("agentdash.ui")

STYLES: Final = ("", "dim", "bold", "good", "warn", "bad", "accent", "head")
"""What `Cell.style` may be. Each is the component class `line--…` (`line--text` for the first)."""

_FAULTS = 20


class LineView(ScrollView):
    """Rows that scroll up and down under the titles of their columns."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"line--{name or 'text'}" for name in STYLES),
        "line--cursor",
        "line--cursor-blurred",
        "line--hover",
    }
    DEFAULT_CSS = """
    LineView { overflow-x: hidden; overflow-y: auto; scrollbar-size-vertical: 1; background: $background; }
    LineView > .line--dim { color: $text-muted; }
    LineView > .line--bold { text-style: bold; }
    LineView > .line--good { color: $text-success; }
    LineView > .line--warn { color: $text-warning; }
    LineView > .line--bad { color: $text-error; }
    LineView > .line--accent { color: $text-accent; }
    LineView > .line--head { color: $text-muted; text-style: bold; }
    LineView > .line--hover { background: $foreground 8%; }
    LineView > .line--cursor-blurred { background: $primary 15%; }
    LineView > .line--cursor {
        color: $block-cursor-foreground;
        background: $block-cursor-background;
        text-style: $block-cursor-text-style;
    }
    LineView:nocolor > .line--cursor { text-style: bold underline; }
    LineView:nocolor > .line--head { text-style: underline; }
    """

    def __init__(
        self,
        columns: Sequence[Column] = (),
        *,
        empty: str = "",
        show_heads: bool = True,
        name: str | None = None,
        id: str | None = None,
        classes: str | None = None,
    ) -> None:
        super().__init__(name=name, id=id, classes=classes)
        self._empty = empty
        self._head_lines = int(show_heads)
        self._rows: tuple[Line, ...] = ()
        self._first_row = 0
        self._total_rows = 0
        self._fault_text = ""
        self._logged: set[str] = set()
        self._painter = Painter(columns, self.get_component_rich_style)

    # -- what it shows -----------------------------------------------------------------------------------------------
    def set_lines(self, lines: Sequence[Line], start: int, total: int) -> None:
        """Show the rows `start` … of `total`; what looks as before is not drawn again."""
        self._clear_fault()
        seen = range(self.top_row, self.top_row + self.page_size)
        before = [self._handed(index) for index in seen]
        had_rows = self._total_rows > 0
        self._rows, self._first_row, self._total_rows = tuple(lines), start, total
        self._fit_height()
        alike = self._painter.alike
        self._refresh_rows([i for i, line in zip(seen, before, strict=True) if not alike(self._handed(i), line)])
        if had_rows != (total > 0):
            self.refresh()

    def fault(self, error: BaseException) -> None:
        """Say in the panel that it failed, until the next good `show`."""
        text = f"this panel failed: {type(error).__name__}, see the log"
        if text != self._fault_text:
            self._fault_text = text
            self.refresh(layout=self.styles.is_auto_height)

    def log_fault(self, error: BaseException) -> None:
        """Record a fault in the log, once for each kind."""
        kind = f"{type(error).__name__}: {error}"
        if kind not in self._logged and len(self._logged) < _FAULTS:
            self._logged.add(kind)
            name = self.id or type(self).__name__
            LOGGER.error("the panel %s failed: %s", name, kind, exc_info=error, extra={"action": "panel_fault"})

    @property
    def empty(self) -> str:
        """What stands there while there are no rows."""
        return self._empty

    @empty.setter
    def empty(self, text: str) -> None:
        if text != self._empty:
            self._empty = text
            if not self._total_rows:
                self.refresh(layout=self.styles.is_auto_height)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns; others may be set at any time."""
        return self._painter.columns

    @columns.setter
    def columns(self, columns: Sequence[Column]) -> None:
        if tuple(columns) != self._painter.columns:
            self._painter.columns = tuple(columns)
            self._painter.forget()
            self.refresh()

    @property
    def show_heads(self) -> bool:
        """Whether the titles of the columns stand above the rows."""
        return bool(self._head_lines)

    @show_heads.setter
    def show_heads(self, wanted: bool) -> None:
        self._head_lines = int(wanted)
        self._fit_height()
        self.refresh()

    @property
    def row_count(self) -> int:
        """How many rows there are, shown or not."""
        return self._total_rows

    @property
    def top_row(self) -> int:
        """The first row that can be seen."""
        return int(self.scroll_offset.y)

    @property
    def page_size(self) -> int:
        """How many rows can be seen at once."""
        return max(0, self.size.height - self._head_lines)

    @property
    def _width(self) -> int:
        """The cells of a row: the scrollbar takes some of the widget's."""
        return max(0, self.size.width - self.scrollbar_size_vertical)

    def line_at(self, index: int) -> Line | None:
        """The row there; None beyond the last, and where it is not known yet."""
        return self._handed(index)

    def _handed(self, index: int) -> Line | None:
        """`line_at`, of the rows that were handed over: a subclass may know of more."""
        at = index - self._first_row
        return self._rows[at] if 0 <= at < len(self._rows) and index < self._total_rows else None

    def _row_at(self, y: int) -> int | None:
        """Which row stands on this line of the widget."""
        index = self.top_row + y - self._head_lines
        return index if y >= self._head_lines and index < self._total_rows else None

    # -- size and looks ----------------------------------------------------------------------------------------------
    def notify_style_update(self) -> None:
        """Other colours: everything is drawn anew."""
        super().notify_style_update()
        self._painter.forget()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as there are rows, or as the text needs that stands in their place."""
        height = self._head_lines + (self._total_rows or len(_wrapped(self._empty, width)))
        return max(height, len(_wrapped(self._fault_text, width)))

    def _fit_height(self) -> None:
        size = Size(0, self._head_lines + self._total_rows)
        if size != self.virtual_size:
            if self.styles.is_auto_height:
                self.virtual_size = size
            else:  # what the reactive would do beside this, a layout of the screen for each task added, costs 7 ms
                self.set_reactive(LineView.virtual_size, size)
                self._scroll_update(size)

    def _refresh_rows(self, indexes: Sequence[int]) -> None:
        """Draw these rows again, as far as they are seen; neighbours in one go."""
        top, page, width = self.top_row, self.page_size, self._width
        seen = sorted({index - top + self._head_lines for index in indexes if 0 <= index - top < page})
        regions: list[Region] = []
        for y in seen:
            if regions and regions[-1].bottom == y:
                regions[-1] = Region(0, regions[-1].y, width, regions[-1].height + 1)
            else:
                regions.append(Region(0, y, width, 1))
        if regions:
            self.refresh(*regions)

    def _clear_fault(self) -> None:
        if self._fault_text:
            self._fault_text = ""
            self.refresh(layout=self.styles.is_auto_height)

    # -- drawing -----------------------------------------------------------------------------------------------------
    def render_line(self, y: int) -> Strip:
        """A boundary: whatever goes wrong in a line is drawn in its place, and the app goes on."""
        width = self._width
        try:
            return self._draw_line(y, width)
        except Exception as error:  # noqa: BLE001 - see above
            self.log_fault(error)
            text = f"this panel failed: {type(error).__name__}, see the log"
            return Strip([Segment(text[:width].ljust(width))], width)

    def _draw_line(self, y: int, width: int) -> Strip:
        paint = self._painter
        if self._fault_text:
            return paint.text(_line_of(self._fault_text, y, width), "bad", width)
        if y < self._head_lines:
            return paint.heads(width)
        if not self._total_rows:
            return paint.text(_line_of(self._empty, y - self._head_lines, width), "dim", width)
        index = self._row_at(y)
        if index is None:
            return paint.text("", "", width)
        return paint.row(index, self.line_at(index), self._state_of(index, y), width)

    def _state_of(self, index: int, y: int) -> str:
        """How a row stands out: cursor, cursor-blurred, hover, or not at all."""
        return ""


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(8, width - 2 * GUTTER)) or [""]


def _line_of(text: str, at: int, width: int) -> str:
    """One line of a text that is wrapped to the width of the list."""
    wrapped = _wrapped(text, width)
    return wrapped[at] if at < len(wrapped) else ""
