"""The parts of a list: its columns, lines and cells, where the columns stand at a width, and how a text is made to fill
its place. Terminal cells are counted, not letters."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size

from agentdash.text import clean, shorten

GAP: Final = 1
"""Cells between two columns."""

_LEAST_FLEXIBLE = 12
# Whether these ask for a picture or a sign, terminals differ in how many cells it takes; without them they agree.
_SELECTORS = {0xFE0E: None, 0xFE0F: None}


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a line. `text` may come from outside: it is cleaned here. `style` is a name of `STYLES`."""

    text: str
    style: str = ""


class Column(NamedTuple):
    """One column: `width` in cells (0: it shares what is left), `rank` says which go first when it gets narrow (the
    highest), 0 never."""

    title: str
    width: int
    align: str = "left"
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One row: `key` tells it from others, wherever it stands."""

    key: Hashable
    cells: tuple[Cell, ...]
    marked: bool = False


def place(columns: Sequence[Column], room: int) -> list[tuple[int, int]]:
    """(index, width) of the columns that fit into `room` cells, gaps between them counted."""
    kept = list(range(len(columns)))
    while (rest := _rest(columns, kept, room)) < _wanted(columns, kept):
        droppable = [index for index in kept if columns[index].rank]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda index: (columns[index].rank, index)))
    flexible = [index for index in kept if not columns[index].width]
    share, extra = divmod(max(0, rest), len(flexible)) if flexible else (0, 0)
    placed = []
    for index in kept:
        width = columns[index].width or share
        if flexible and index == flexible[-1]:
            width += extra
        placed.append((index, min(width, room)))
    return [(index, width) for index, width in placed if width > 0]


def fit(text: str, width: int, align: str = "left") -> str:
    """`text` cleaned and made exactly `width` cells wide: cut with `…`, or padded."""
    text = clean(text[: 4 * width + 8])  # a prompt may be long: what can't be seen needs no cleaning
    if text.isascii():
        if len(text) > width:
            return text[: width - 1] + "…" if width > 0 else ""
        return text.rjust(width) if align == "right" else text.ljust(width)
    text = shorten(text.translate(_SELECTORS), width)
    taken = cell_len(text)
    if taken > width:  # what is drawn goes by Rich's measure, and `shorten` may differ from it by a letter
        return set_cell_size(text, width)
    return " " * (width - taken) + text if align == "right" else text + " " * (width - taken)


def _rest(columns: Sequence[Column], kept: Sequence[int], room: int) -> int:
    """What fixed columns and gaps leave to the flexible ones."""
    return room - sum(columns[index].width for index in kept) - GAP * max(0, len(kept) - 1)


def _wanted(columns: Sequence[Column], kept: Sequence[int]) -> int:
    return _LEAST_FLEXIBLE * sum(1 for index in kept if not columns[index].width)
