"""What a task store does: the protocol that each form keeps.

The store is the only writer of task state. Reads are answered at once from this machine (a form on a network would
keep its window ahead of them); writes are awaited and durable before they return.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from agentdash.engine.store.records import (
    AddReport,
    Claim,
    CredentialRecord,
    ProcessRecord,
    Ready,
    RunningTask,
    Settlement,
    TaskRecord,
)
from agentdash.engine.waiting import Write
from agentdash.model import Attempt, Counts, LinkedTask, Task, TaskSpec, TaskState, Totals


class TaskStore(Protocol):
    """The one place where task state lives. All times are seconds since the epoch."""

    shared: bool
    """Whether other processes may change the same tasks."""

    # -- reads: answered at once -------------------------------------------------------------------------------------
    def counts(self) -> Counts: ...
    def totals(self) -> Totals: ...
    def version(self) -> int:
        """A number that changes when anybody has written since: another process, or this one."""
        ...

    def ready(self, limit: int, now: float, busy: Collection[str] = ()) -> list[Ready]:
        """Claimable tasks, by priority, then those that need a resource, then age; at most `limit`.

        Those that need one of the `busy` resources are left out, at no cost however many they are; where there are any,
        of those that need another resource only the first one for each need be among them.
        """
        ...

    def next_available_at(self, now: float) -> float | None:
        """When the first of the tasks that wait for a retry may be claimed."""
        ...

    def load(self, seq: int) -> Task | None:
        """The whole task, with its payload."""
        ...

    def find(self, task_id: str) -> TaskRecord | None: ...
    def payload(self, task_id: str) -> str | None:
        """The task's body as JSON text."""
        ...

    def result(self, task_id: str) -> str | None:
        """The task's results line, if it is finished."""
        ...

    def attempts(self, task_id: str) -> list[Attempt]: ...
    def tasks(
        self, states: Iterable[TaskState] = (), *, after: int = 0, limit: int | None = None
    ) -> Iterator[TaskRecord]:
        """Tasks in file order, those after sequence number `after`; all states if none is named."""
        ...

    def running(self) -> list[RunningTask]: ...
    def has_dependents(self, seq: int) -> bool:
        """Whether any task was told to wait for this one."""
        ...

    def has_waiting(self) -> bool:
        """Whether any pending task waits for another."""
        ...

    def linked(self, task_id: str, limit: int) -> tuple[list[LinkedTask], list[LinkedTask]]:
        """(what the task waits for, what waits for it), in file order, at most `limit` each."""
        ...

    def holders(self, limit: int) -> list[str]:
        """The ids of failed or cancelled tasks that hold others, in file order; of several that hold one task, one."""
        ...

    def credentials(self) -> list[CredentialRecord]: ...
    def active_credential(self) -> str | None:
        """The fingerprint of the active key, as last rotated by any process."""
        ...

    def processes(self) -> list[ProcessRecord]: ...
    def source(self, path: str) -> str | None:
        """The stamp of a task file that was added whole."""
        ...

    # -- writes: durable before they return --------------------------------------------------------------------------
    async def add(
        self, specs: Iterable[TaskSpec], sources: Mapping[str, str] | None = None, *, skip_conflicts: bool = False
    ) -> AddReport:
        """Add all or nothing, streaming. Raises `BadInputError` for duplicates and changed tasks, unless they are
        to be left out."""
        ...

    def claim(self, task: Task, owner: str, worker: str, now: float) -> Write[bool]:
        """pending → running, unless the task changed since it was loaded (False). Begins at the call, as `settle`."""
        ...

    def settle(self, claim: Claim, settlement: Settlement) -> Write[bool]:
        """End a claim; False if a successor holds the task by now, and then nothing is written.

        The write begins at the call; the future is done when it is durable. Cancelling the wait leaves the write alone.
        """
        ...

    async def reclaim(self, running: RunningTask, settlement: Settlement) -> bool:
        """Take a dead owner's task back: the same compare-and-set as `settle`."""
        ...

    async def requeue(self, ids: Sequence[str] | None, *, error_contains: str | None = None) -> int:
        """failed or cancelled → pending with fresh counters; `ids` None means all failed. Returns how many."""
        ...

    async def cancel(self, ids: Sequence[str], now: float) -> tuple[int, int]:
        """pending → cancelled at once; running ones are asked for. Returns (cancelled, asked)."""
        ...

    async def prioritize(self, ids: Sequence[str], *, to: int | None = None, by: int = 0) -> int:
        """Give pending tasks another priority: `to` this one, or `by` so much more. Returns how many were pending."""
        ...

    async def undo(self) -> tuple[int, int]:
        """Take the last such change of this process back, as far as its tasks were not changed since.

        Returns (put back, gone on). Of running tasks that were asked to stop, those that were stopped are pending
        again, the others are asked no more. One that moved no task leaves the one before it as the last.
        """
        ...

    async def drop_undo(self) -> None:
        """Forget what `undo` would need: its time is over."""
        ...

    async def add_totals(self, totals: Totals) -> None: ...
    async def save_credentials(self, records: Sequence[CredentialRecord], active: str | None) -> None: ...
    async def clock_went_back(self, seconds: float, longest: float) -> None:
        """Dates in the future were written by a clock that was ahead: cooldowns end so many seconds earlier, and so do
        waits for a retry that are longer than any can be, at `longest` (seconds since the epoch) at the latest."""
        ...

    async def save_process(self, record: ProcessRecord) -> None: ...
    async def drop_process(self, owner: str) -> None: ...
    async def close(self) -> None: ...
