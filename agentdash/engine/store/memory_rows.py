"""One task as the in-memory store keeps it, and what is read off it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from agentdash.engine.store.records import TaskRecord
from agentdash.engine.store.transitions import REQUEUEABLE
from agentdash.model import Answer, Attempt, Failure, Task, TaskState


@dataclass(slots=True)
class Row:
    """One task with everything that is kept of it."""

    task: Task
    body_hash: bytes
    available_at: float = 0.0
    owner: str = ""
    worker: str | None = None
    claimed_at: float | None = None
    finished_at: float | None = None
    failure: Failure | None = None
    cancel_requested: bool = False
    result: str | None = None
    answer: Answer | None = None
    attempts: list[Attempt] = field(default_factory=list)
    waits_for: int = 0
    held_by: int | None = None

    @property
    def place(self) -> tuple[int, bool, int]:
        """Where it stands in the queue."""
        return -self.task.priority, not self.task.locks, self.task.seq


@dataclass(frozen=True, slots=True)
class Before:
    """What a row was before an action that can be undone, and how that left it."""

    task: Task
    available_at: float
    finished_at: float | None
    failure: Failure | None
    result: str | None
    answer: Answer | None
    left_state: TaskState
    left_fence: int


def as_it_is(row: Row, left: TaskState) -> Before:
    """The row before an action that leaves it in the state `left`."""
    fence = row.task.fence + (left is not row.task.state)  # a running one is only asked to stop
    return Before(
        row.task, row.available_at, row.finished_at, row.failure, row.result, row.answer, left, fence
    )  # fmt: skip


def is_requeued(row: Row, ids: Collection[str] | None, error_contains: str | None) -> bool:
    """Whether a requeue of these ids (or of all failed ones, with such an error) means the task."""
    if ids is not None:
        return row.task.id in ids and row.task.state in REQUEUEABLE
    if row.task.state is not TaskState.FAILED:
        return False
    if error_contains is None:
        return True
    return row.failure is not None and (
        error_contains in row.failure.message or error_contains in row.failure.error_type
    )


def record_of(row: Row, held_by: str | None, after: tuple[str, ...]) -> TaskRecord:
    """The task as `tasks` and `show` print it."""
    task = row.task
    return TaskRecord(
        task.seq,
        task.id,
        task.state,
        task.priority,
        task.attempts,
        task.service_failures,
        task.crashes,
        row.worker,
        row.claimed_at,
        row.finished_at,
        row.available_at,
        row.failure.error_type if row.failure else None,
        row.failure.message if row.failure else None,
        row.waits_for,
        held_by,
        after,
    )
