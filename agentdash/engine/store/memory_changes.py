"""The changes a user asks the in-memory store for, requeue, cancel and other priorities, and taking the last one back:
the rules of `changes.py` and `undo.py`, without SQL."""

from __future__ import annotations

from collections.abc import Sequence

from agentdash.engine.results import cancelled_line
from agentdash.engine.store.memory_links import MemoryLinks
from agentdash.engine.store.memory_rows import Before, as_it_is, is_requeued
from agentdash.engine.store.memory_tasks import MemoryTasks
from agentdash.model import MAX_PRIORITY, TaskState


class MemoryChanges:
    """Makes them, and keeps what the tasks of the last one were before it."""

    def __init__(self, tasks: MemoryTasks, links: MemoryLinks) -> None:
        self._tasks = tasks
        self._links = links
        self._undo: list[Before] = []

    def requeue(self, ids: Sequence[str] | None, error_contains: str | None) -> int:
        """failed or cancelled → pending, counters fresh. The fence grows: what was loaded before cannot be claimed."""
        chosen = None if ids is None else frozenset(ids)
        rows = [row for row in self._tasks.rows.values() if is_requeued(row, chosen, error_contains)]
        if rows:
            self._undo = [as_it_is(row, TaskState.PENDING) for row in rows]
        for row in rows:
            fence = row.task.fence + 1
            self._tasks.move(row, TaskState.PENDING, fence=fence, attempts=0, service_failures=0, crashes=0)
            row.available_at, row.finished_at, row.failure, row.result = 0.0, None, None, None
        self._links.have_changed(row.task.seq for row in rows)
        return len(rows)

    def cancel(self, ids: Sequence[str], now: float) -> tuple[int, int]:
        """pending → cancelled with its results line; running ones are marked for their owner to stop."""
        found = self._tasks.find_all(ids)
        pending = [row for row in found if row.task.state is TaskState.PENDING]
        running = [row for row in found if row.task.state is TaskState.RUNNING]
        if pending or running:
            self._undo = [as_it_is(row, TaskState.CANCELLED) for row in pending]
            self._undo += [as_it_is(row, TaskState.RUNNING) for row in running]
        for row in pending:
            self._tasks.move(row, TaskState.CANCELLED, fence=row.task.fence + 1)
            row.finished_at, row.failure = now, None
            row.result = cancelled_line(row.task.id, row.task.attempts, now, cost_usd=row.task.cost_usd)
        for row in running:
            row.cancel_requested = True
        self._links.have_changed(row.task.seq for row in pending)
        return len(pending), len(running)

    def prioritize(self, ids: Sequence[str], to: int | None, by: int) -> int:
        """Another priority for pending tasks. The fence stays: who is just claiming one may have it."""
        pending = [row for row in self._tasks.find_all(ids) if row.task.state is TaskState.PENDING]
        if pending:
            self._undo = [as_it_is(row, TaskState.PENDING) for row in pending]
        for row in pending:
            wanted = row.task.priority + by if to is None else to
            self._tasks.prioritize(row, max(-MAX_PRIORITY, min(MAX_PRIORITY, wanted)))
        return len(pending)

    def undo(self) -> tuple[int, int]:
        """Put back what nobody has changed since; returns (put back, gone on). The fence grows here too."""
        done = [self._put_back(before) for before in self._undo]
        self._links.have_changed(before.task.seq for before, is_done in zip(self._undo, done, strict=True) if is_done)
        self.forget()
        return sum(done), len(done) - sum(done)

    def forget(self) -> None:
        """Nothing can be taken back any more."""
        self._undo = []

    def _put_back(self, before: Before) -> bool:
        """One task as it was before the last action; False if it was changed since."""
        row = self._tasks.rows[before.task.seq]
        state, was_asked = row.task.state, before.left_state is TaskState.RUNNING
        if row.task.fence != before.left_fence:
            return False
        if was_asked and state in (TaskState.RUNNING, TaskState.PENDING):
            row.cancel_requested = False
            return True
        if state is not (TaskState.CANCELLED if was_asked else before.left_state):
            return False
        if state is before.task.state:
            self._tasks.prioritize(row, before.task.priority)
            return True
        old, is_open = before.task, was_asked or before.task.state is TaskState.PENDING
        self._tasks.move(
            row,
            TaskState.PENDING if is_open else old.state,
            fence=row.task.fence + 1,
            attempts=old.attempts,
            service_failures=old.service_failures,
            crashes=old.crashes,
        )
        row.available_at, row.finished_at, row.failure = before.available_at, before.finished_at, before.failure
        row.result, row.answer = before.result, before.answer
        return True
