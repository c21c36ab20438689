"""How a task looks as a line of the queue: its columns at each width, its cells at this moment, and what stands there
when there is none. Pure, so that a table of examples tests it."""

from __future__ import annotations

import math
import re
from typing import Final

from agentdash.model import FINISHED_STATES, TaskQuery, TaskRow, TaskSort, TaskState
from agentdash.text import cell_width, clean, shorten
from agentdash.ui import format as fmt
from agentdash.ui.panels.cells import Cell, Column, Line

TABS: Final[tuple[tuple[TaskState | None, str], ...]] = (
    (None, "all"),
    (TaskState.PENDING, "pending"),
    (TaskState.RUNNING, "running"),
    (TaskState.FAILED, "failed"),
    (TaskState.SUCCEEDED, "done"),
    (TaskState.CANCELLED, "cancelled"),
)
"""The state tabs, in the order of their keys."""

SORTS: Final = (TaskSort.ORDER, TaskSort.RECENT, TaskSort.TRIES, TaskSort.ID)
"""What the sort key goes through."""

_TITLES = ("id", "state", "try", "worker", "age", "prompt / error")
_SORT_OF = (TaskSort.ID, TaskSort.ORDER, TaskSort.TRIES, None, TaskSort.RECENT, None)
_RISES = {TaskSort.ORDER: True, TaskSort.RECENT: True, TaskSort.TRIES: False, TaskSort.ID: True}
_LEAST_ID = 6
_LEAST_WITH_WORKER = 66
_MOST_ID = ((70, 12), (110, 18))
_WIDEST_ID = 28
_ROW_TEXT = 300
_FILTER_SHOWN = 40
_ERROR_TYPE = re.compile(r"([A-Za-z_][\w.]{0,60}|\d{3}): (?=\S)")
_PATH = re.compile(r"(?:[\w\[\]-]+\.){2,}(?=[\w\[\]-]+: )")
"""All but the last part of `messages.0.content.1.image: …`."""
_NOTHING = {
    None: "No tasks yet. agentdash run FILE adds some.",
    TaskState.PENDING: "No task is waiting.",
    TaskState.RUNNING: "No task is running.",
    TaskState.FAILED: "No task has failed.",
    TaskState.SUCCEEDED: "No task is done yet.",
    TaskState.CANCELLED: "No task was cancelled.",
}


def columns(width: int, id_width: int, query: TaskQuery) -> tuple[Column, ...]:
    """The columns of a list so many cells wide whose longest id takes `id_width`; what it is sorted by has an arrow."""
    most = next((cells for below, cells in _MOST_ID if width < below), _WIDEST_ID)
    ids = max(_LEAST_ID, min(id_width, most))
    titles = [_title(index, query) for index in range(len(_TITLES))]
    with_worker = width >= _LEAST_WITH_WORKER and query.state is not TaskState.FAILED  # there the reason has the room
    return (
        Column(titles[0], ids),
        Column(titles[1], 11) if query.state is None else Column(titles[1].removeprefix("state"), 1),
        Column(titles[2], 4, "right", 3),
        Column(titles[3], 6 if with_worker else max(1, width), "left", 4),  # as wide as all: it goes first
        Column(titles[4], 6, "right", 2),
        Column(titles[5], 0),
    )


def sort_of(column: int) -> TaskSort | None:
    """What a click on the title of a column sorts by."""
    return _SORT_OF[column]


def arrow(query: TaskQuery) -> str:
    """Whether what the list is sorted by rises or falls from top to bottom."""
    rises = _RISES[query.sort] and not (query.sort is TaskSort.RECENT and query.state is TaskState.RUNNING)
    return "▲" if rises != query.descending else "▼"


def _title(index: int, query: TaskQuery) -> str:
    # As the file has it: needs no word. What runs first, then the newest: neither rises nor falls.
    is_plain = query.sort is TaskSort.ORDER and not query.descending
    is_plain = is_plain or (query.sort is TaskSort.RECENT and query.state is None)
    return _TITLES[index] + (arrow(query) if _SORT_OF[index] is query.sort and not is_plain else "")


def id_cells(row: TaskRow) -> int:
    """How wide the row's id is."""
    return cell_width(clean(row.id[:_WIDEST_ID]))


def line(row: TaskRow, now: float, *, marked: bool, brief: bool = False) -> Line:
    """One task at this moment. `brief`: its state is a sign only, as the tab says the word."""
    look = fmt.task_look(row.state)
    state = look.glyph if brief else f"{look.glyph} {fmt.task_word(row.state)}"
    number = row.tries + (row.state is TaskState.RUNNING)  # the one under way counts, too
    tries = Cell(f"{number:,}", "warn" if number > 1 else "") if number else Cell(fmt.NONE, "dim")
    worker = Cell(fmt.short_worker(row.worker)) if row.worker else Cell(fmt.NONE, "dim")
    cells = (Cell(row.id), Cell(state, look.style), tries, worker, _age(row, now), _text(row))
    return Line(row.seq, cells, marked)


def empty_text(query: TaskQuery, searched: float) -> str:
    """What stands there when nothing is found."""
    if query.text:
        shown = shorten(clean(query.text), _FILTER_SHOWN)
        return "Searching…" if searched < 1 else f"No task matches “{shown}”. Esc clears the filter."
    return _NOTHING[query.state]


def _age(row: TaskRow, now: float) -> Cell:
    if row.state is TaskState.PENDING:
        left = math.ceil(row.available_at - now) if math.isfinite(row.available_at - now) else 0
        return Cell(_wait(left), "warn") if left > 0 else Cell(fmt.NONE, "dim")
    return Cell(fmt.age(row.since, now), "dim" if row.state in FINISHED_STATES else "")


def _wait(seconds: int) -> str:
    """`in 12s`, `in 5m`, `in 3h`, `in 9d`: in six cells."""
    for least, size, unit in ((86400, 86400, "d"), (3600, 3600, "h"), (100, 60, "m")):
        if seconds >= least:
            return f"in {min(99, round(seconds / size))}{unit}"
    return f"in {seconds}s"


def _text(row: TaskRow) -> Cell:
    if row.held_by is not None:
        how = "failed" if row.held_by.state is TaskState.FAILED else "was cancelled"
        return Cell(f"held: {row.held_by.id[:_ROW_TEXT]} {how}", "warn")
    if row.waits_for:
        more = f" and {row.waits_for_more:,} more" if row.waits_for_more else ""
        return Cell(f"waits for {', '.join(row.waits_for)[:_ROW_TEXT]}{more}", "dim")
    if row.error and row.state is TaskState.FAILED:
        return Cell(_reason(row.error[:_ROW_TEXT]), "bad")
    if row.error and row.state is TaskState.PENDING:
        return Cell(_reason(row.error[:_ROW_TEXT]), "dim")
    return Cell(row.text[:_ROW_TEXT])


def _reason(error: str) -> str:
    """What went wrong before what kind of error it is: the end may be cut, and kinds are few. Of a long path into the
    request only the last part is left, `…image: the image could not be decoded`."""
    kind = _ERROR_TYPE.match(error)
    message = error[kind.end() :] if kind is not None else error
    message = _PATH.sub("…", message, count=1) if _PATH.match(message) else message
    return f"{message} ({kind.group(1)})" if kind is not None else message
