"""What tasks of the in-memory store wait for: the rules of `dependencies.py`, without SQL."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from agentdash.engine.store.memory_rows import Row
from agentdash.model import LinkedTask, TaskState

_UNSUCCESSFUL = frozenset({TaskState.FAILED, TaskState.CANCELLED})


class MemoryLinks:
    """Keeps `waits_for` and `held_by` of the rows right; `held` counts the pending ones that are held."""

    def __init__(self, rows: Mapping[int, Row]) -> None:
        self.held = 0
        self._rows = rows
        self._needs: dict[int, list[int]] = {}
        self._dependents: dict[int, list[int]] = {}

    def add(self, pairs: Iterable[tuple[int, int]]) -> None:
        """New tasks wait for others: (number, number of what it waits for)."""
        new: set[int] = set()
        for seq, needed in pairs:
            self._needs.setdefault(seq, []).append(needed)
            self._dependents.setdefault(needed, []).append(seq)
            self._rows[seq].waits_for += self._rows[needed].task.state is not TaskState.SUCCEEDED
            new.add(seq)
        self.have_changed(new)

    def has_ended(self, row: Row) -> None:
        """A claim has ended for good."""
        if not self._needs:
            return
        if row.task.state is TaskState.SUCCEEDED:
            for dependent in self._dependents.get(row.task.seq, ()):
                self._rows[dependent].waits_for -= 1
        else:
            self.have_changed([row.task.seq])

    def have_changed(self, seqs: Iterable[int]) -> None:
        """These are pending, failed or cancelled now, and were not so before."""
        if not self._needs:
            return
        changed = set(seqs)
        again = changed | {seq for seq, row in self._rows.items() if row.held_by in changed}
        for seq in again:
            self.held -= self._rows[seq].held_by is not None
            self._rows[seq].held_by = None
        again.update(dependent for seq in changed for dependent in self._dependents.get(seq, ()))
        starts = [(cause, seq) for seq in again if self._may_be_held(seq) and (cause := self._cause(seq)) is not None]
        for cause, seq in sorted(starts):
            self._hold(seq, cause)

    def has_dependents(self, seq: int) -> bool:
        """Whether any task waits for this one."""
        return seq in self._dependents

    def after(self, seq: int) -> list[Row]:
        """What the task waits for, in file order."""
        return [self._rows[needed] for needed in sorted(self._needs.get(seq, ()))]

    def linked(self, seq: int, limit: int) -> tuple[list[LinkedTask], list[LinkedTask]]:
        """(what the task waits for, what waits for it)."""
        needed_by = [self._rows[dependent] for dependent in sorted(self._dependents.get(seq, ()))]
        after, before = self.after(seq)[:limit], needed_by[:limit]
        return [_linked(row) for row in after], [_linked(row) for row in before]

    def holders(self, limit: int) -> list[str]:
        """The ids of those that hold others."""
        seqs = {row.held_by for row in self._rows.values() if row.held_by is not None}
        return [self._rows[seq].task.id for seq in sorted(seqs)[:limit]]

    def _may_be_held(self, seq: int) -> bool:
        row = self._rows[seq]
        return row.task.state is TaskState.PENDING and row.held_by is None

    def _cause(self, seq: int) -> int | None:
        """What holds a task by one of those that it waits for."""
        causes = []
        for needed in self._needs.get(seq, ()):
            row = self._rows[needed]
            if row.task.state in _UNSUCCESSFUL:
                causes.append(needed)
            elif row.held_by is not None:
                causes.append(row.held_by)
        return min(causes, default=None)

    def _hold(self, start: int, cause: int) -> None:
        ahead = deque([start])
        while ahead:
            seq = ahead.popleft()
            if self._may_be_held(seq):
                self._rows[seq].held_by = cause
                self.held += 1
                ahead += self._dependents.get(seq, ())


def _linked(row: Row) -> LinkedTask:
    return LinkedTask(row.task.id, row.task.state, row.held_by is not None)
