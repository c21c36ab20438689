"""What the queue knows of the answer to its query: which task stands in which row, as far as they were read."""

from __future__ import annotations

from agentdash.model import TaskQuery, TaskRow, TaskSort, TaskState, TaskWindow
from agentdash.ui.panels import taskrows

_LIVE = (None, TaskState.RUNNING, TaskState.SUCCEEDED)


class Answer:
    """The answer to `query`: its last `window` (None before there is one), and how wide the ids were so far."""

    def __init__(self, query: TaskQuery) -> None:
        self.query = query
        self.window: TaskWindow | None = None
        self.id_cells = 0

    def take(self, window: TaskWindow) -> None:
        """Rows were read."""
        self.window = window
        self.id_cells = max([self.id_cells, *map(taskrows.id_cells, window.rows)])

    @property
    def total(self) -> int:
        """How many tasks were found."""
        return self.window.total if self.window is not None else 0

    @property
    def searched(self) -> float:
        """How much was searched, 0 to 1."""
        return self.window.searched if self.window is not None else 0.0

    @property
    def is_live(self) -> bool:
        """Whether its order changes with every task that begins or ends."""
        return self.query.sort is TaskSort.RECENT and self.query.state in _LIVE and not self.query.text

    def row_at(self, index: int) -> TaskRow | None:
        """The task in this row; None if it is not known."""
        if self.window is None:
            return None
        at = index - self.window.start
        return self.window.rows[at] if 0 <= at < len(self.window.rows) else None


def place_of(task: object, window: TaskWindow) -> int | None:
    """In which row the task with this `seq` stands; None if it is not in the window."""
    rows = enumerate(window.rows, window.start)
    return next((index for index, row in rows if row.seq == task), None)
