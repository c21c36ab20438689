"""Breaks text from outside into rows of so many terminal cells, a piece at a time, as it comes in or is worked through.

What the rows hold, joined, is the cleaned text again: after a change of width they are all that is needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final

from rich.cells import cell_len

from agentdash.text import cell_width, clean_lines

_MOST_PER_CELL: Final = 4
"""Characters in a row for each of its cells: marks that take no room of their own must not pile up without end."""
_SENTINEL: Final = "|"


class _Widths(dict[str, int]):
    """The cells of a character, looked up once: our own measure or Rich's, which draws, whichever is more."""

    def __missing__(self, character: str) -> int:
        width = self[character] = max(cell_width(character), cell_len(character))
        return width


_WIDTHS = _Widths()


class Wrapper:
    """Rows of one text that grows at its end. With `keep`, only so many of the newest rows stay."""

    def __init__(self, width: int, keep: int | None = None, *, dropped: int = 0) -> None:
        self.width = max(1, width)
        self.dropped = dropped
        self._rows: deque[str] = deque(maxlen=keep)
        self._open = ""  # the last row, which may grow yet
        self._held = ""  # a carriage return at the end: a line feed may belong to it

    def __len__(self) -> int:
        return len(self._rows) + bool(self._open)

    def row(self, index: int) -> str:
        """What stands in a row."""
        return (self._open if index == len(self._rows) else self._rows[index]).rstrip()

    def feed(self, text: str) -> None:
        """Take the next piece, as it came from outside."""
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix("\r")
        self._take(clean_lines(text + _SENTINEL).removesuffix(_SENTINEL))

    def end(self) -> None:
        """No more comes."""
        if self._held:
            self._held = ""
            self._take("\n")

    def position(self, index: int) -> int:
        """How many characters stand before a row."""
        return sum(map(len, islice(self._rows, index)))

    def row_of(self, position: int) -> int:
        """The row that holds the character there; the last if there is none yet."""
        for index, row in enumerate(self._rows):
            position -= len(row)
            if position < 0:
                return index
        return max(0, len(self) - 1)

    def all_text(self) -> str:
        """All of it, cleaned, without line breaks of our own."""
        return "".join(self._rows) + self._open + self._held

    def _take(self, cleaned: str) -> None:
        if not cleaned:
            return
        lines = (self._open + cleaned).split("\n")
        last = lines.pop()
        found = [row for line in lines for row in pieces(line + "\n", self.width)]
        *full, self._open = pieces(last, self.width)
        found += full
        if self._rows.maxlen is not None:
            self.dropped += max(0, len(self._rows) + len(found) - self._rows.maxlen)
        self._rows.extend(found)


def pieces(line: str, width: int) -> list[str]:
    """A cleaned line in pieces that take at most `width` cells, blanks at their ends not counted; broken at blanks
    where there are any. A line break at its end stays with the last of them."""
    if len(line) <= width and line.isascii():
        return [line]
    return list(_pieces(line, width))


def _pieces(line: str, width: int) -> Iterator[str]:
    is_ascii = line.isascii()
    end = len(line) - line.endswith("\n")
    start = 0
    while True:
        fits = min(end, start + width) if is_ascii else _fitting(line, start, end, width)
        if fits == end:
            yield line[start:]
            return
        blank = line.rfind(" ", start, fits + 1)
        cut = blank + 1 if blank > start else fits
        if cut >= end:
            yield line[start:]
            return
        yield line[start:cut]
        start = cut


def _fitting(line: str, start: int, end: int, width: int) -> int:
    """Where the text from `start` is full: at least one character further."""
    cells = 0
    last = min(end, start + _MOST_PER_CELL * width)
    for index in range(start, last):
        cells += _WIDTHS[line[index]]
        if cells > width:
            return max(index, start + 1)
    return max(last, start + 1) if start < end else end
