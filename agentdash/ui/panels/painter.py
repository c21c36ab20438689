"""Draws the lines of a list as strips, and keeps those it has drawn: scrolling by a row draws one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rich.segment import Segment
from rich.style import Style
from textual.cache import LRUCache
from textual.strip import Strip

from agentdash.ui.panels.cells import GAP, Cell, Column, Line, fit, place

GUTTER: Final = 2
"""Cells before the first column: whether the cursor stands there, and whether the row is marked."""

_STRIPS = 512
_NO_CELL = Cell("")


class Painter:
    """`look_up` says what a component class looks like now; after it changed, call `forget`."""

    def __init__(self, columns: Sequence[Column], look_up: Callable[[str], Style]) -> None:
        self.columns = tuple(columns)
        self._look_up = look_up
        self._drawn: LRUCache[tuple[int, str], tuple[Line | None, Strip]] = LRUCache(_STRIPS)
        self._looks: dict[tuple[str, str], Style] = {}
        self._placed: list[tuple[int, int]] = []
        self._width = -1

    def forget(self) -> None:
        """Columns or colours have changed: what was drawn no longer holds."""
        self._drawn.clear()
        self._looks.clear()
        self._width = -1

    def column_at(self, x: int, width: int) -> int | None:
        """Which column stands there."""
        self._fit_to(width)
        end = GUTTER
        for column, cells in self._placed:
            end += cells + GAP
            if x < end:
                return column
        return None

    def alike(self, line: Line | None, other: Line | None) -> bool:
        """Whether two lines look the same: cells of columns that have no room count for nothing."""
        if line == other:
            return True
        if line is None or other is None or self._width < 0 or line.marked != other.marked:
            return False
        return all(line.cells[column : column + 1] == other.cells[column : column + 1] for column, _ in self._placed)

    def row(self, index: int, line: Line | None, state: str, width: int) -> Strip:
        """One row; a dot where it is not known yet. `state` is cursor, cursor-blurred, hover or nothing."""
        self._fit_to(width)
        kept = self._drawn.get((index, state))
        if kept is not None and kept[0] == line:
            return kept[1]
        pointer = "▸" if state.startswith("cursor") else " "
        if line is None:
            strip = self._cells(f"{pointer} ", (Cell("·", "dim"),), state)
        else:
            strip = self._cells(pointer + ("✓" if line.marked else " "), line.cells, state)
        self._drawn[(index, state)] = (line, strip)
        return strip

    def heads(self, width: int) -> Strip:
        """The titles of the columns."""
        self._fit_to(width)
        return self._cells("  ", tuple(Cell(column.title, "head") for column in self.columns), "")

    def text(self, text: str, style: str, width: int) -> Strip:
        """One line of text instead of a row; an empty one where there is none."""
        return Strip([Segment(fit(f"  {text}" if text else "", width), self._look(style, ""))], width)

    def _fit_to(self, width: int) -> None:
        if width != self._width:
            self._drawn.clear()
            self._placed = place(self.columns, width - GUTTER)
            self._width = width

    def _cells(self, gutter: str, cells: Sequence[Cell], state: str) -> Strip:
        width, taken = self._width, GUTTER
        parts = [(gutter, self._look("accent" if gutter.strip() else "", state))]
        for column, room in self._placed:
            gap = min(GAP, max(0, width - taken - room))
            cell = cells[column] if column < len(cells) else _NO_CELL
            text = fit(cell.text, room, self.columns[column].align) + " " * gap
            parts.append((text, self._look(cell.style, state)))
            taken += room + gap
        if taken < width:
            parts.append((" " * (width - taken), self._look("", state)))
        strip = Strip(_merged(parts), max(taken, width))
        return strip if taken <= width else strip.crop(0, width)

    def _look(self, name: str, state: str) -> Style:
        """The style of a cell on such a row."""
        found = self._looks.get((name, state))
        if found is None:
            found = self._look_up(f"line--{name or 'text'}")
            if state == "cursor":  # its own colour throughout: not every colour can be read on it
                found = self._look_up("line--cursor") + Style(bold=found.bold or None)
            elif state:
                found += Style(bgcolor=self._look_up(f"line--{state}").bgcolor)
            self._looks[name, state] = found
        return found


def _merged(parts: Sequence[tuple[str, Style]]) -> list[Segment]:
    """Neighbours of one style as one segment: what Textual does afterwards costs by the segment."""
    segments: list[Segment] = []
    run, style = parts[0]
    for text, look in parts[1:]:
        if look is style:
            run += text
        else:
            segments.append(Segment(run, style))
            run, style = text, look
    segments.append(Segment(run, style))
    return segments
