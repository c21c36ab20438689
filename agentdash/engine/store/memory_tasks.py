"""The tasks of the in-memory store: by number and by id, the pending ones in the order of the queue, all counted."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from agentdash.engine.store.memory_rows import Row
from agentdash.engine.store.transitions import check_transition
from agentdash.model import Task, TaskState


class MemoryTasks:
    """Keeps all four right with every change; what else there is in a row, anybody may set."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.seqs: dict[str, int] = {}
        self.pending: list[tuple[int, bool, int]] = []
        """The places of the pending ones (`Row.place`), sorted."""
        self.numbers: dict[TaskState, int] = dict.fromkeys(TaskState, 0)

    def find(self, task_id: str) -> Row | None:
        """The task of this id, None if there is none."""
        seq = self.seqs.get(task_id)
        return None if seq is None else self.rows[seq]

    def find_all(self, ids: Iterable[str]) -> list[Row]:
        """The tasks of these ids, each once; those that there are not are left out."""
        return [row for task_id in dict.fromkeys(ids) if (row := self.find(task_id)) is not None]

    def add(
        self, task_id: str, payload: Mapping[str, Any], *, priority: int, body_hash: bytes, locks: tuple[str, ...]
    ) -> Task:
        """A new pending task, behind all others. The id must be new."""
        task = Task(len(self.rows) + 1, task_id, payload, priority=priority, locks=locks)
        row = self.rows[task.seq] = Row(task, body_hash)
        self.seqs[task_id] = task.seq
        self.numbers[TaskState.PENDING] += 1
        insort(self.pending, row.place)
        return task

    def move(self, row: Row, state: TaskState, **changes: Any) -> None:
        """Give a task another state, and what else of it changes with that. Raises `TransitionError`."""
        before = row.task.state
        check_transition(before, state)
        self.numbers[before] -= 1
        self.numbers[state] += 1
        if before is TaskState.PENDING:
            del self.pending[bisect_left(self.pending, row.place)]
        if state is TaskState.PENDING:
            insort(self.pending, row.place)
        row.task = replace(row.task, state=state, **changes)

    def prioritize(self, row: Row, priority: int) -> None:
        """Give a pending task another priority."""
        del self.pending[bisect_left(self.pending, row.place)]
        row.task = replace(row.task, priority=priority)
        insort(self.pending, row.place)
