"""The tasks that the user has marked, with the states they were last seen in."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from agentdash.model import TaskRow, TaskState

MOST_MARKS: Final = 100_000
_MOST_ROWS = 200


class Marks:
    """Up to `MOST_MARKS` tasks, in the order in which they were marked."""

    def __init__(self) -> None:
        self._tasks: dict[str, tuple[int, TaskState]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._tasks

    def toggle(self, row: TaskRow) -> bool:
        """Mark a task, or take its mark away; False if there are too many already."""
        if row.id in self._tasks:
            del self._tasks[row.id]
        elif len(self._tasks) < MOST_MARKS:
            self._tasks[row.id] = (row.seq, row.state)
        else:
            return False
        return True

    def see(self, rows: Iterable[TaskRow]) -> None:
        """These were read again: know the states of those that are marked."""
        for row in rows:
            if row.id in self._tasks:
                self._tasks[row.id] = (row.seq, row.state)

    def ids(self) -> tuple[str, ...]:
        """Every marked task."""
        return tuple(self._tasks)

    def rows(self) -> tuple[TaskRow, ...]:
        """The first 200 of them, with nothing but their states."""
        first = islice(self._tasks.items(), _MOST_ROWS)
        return tuple(TaskRow(seq=seq, id=name, state=state) for name, (seq, state) in first)

    def clear(self) -> None:
        """Mark nothing."""
        self._tasks.clear()
