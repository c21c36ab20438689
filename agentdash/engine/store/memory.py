"""The in-memory form of the task store: what the library's `run_parallel_agents` runs on, and the tests' double.

It keeps every rule of the protocol but durability, and passes the same conformance suite as the SQLite form.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from agentdash.engine.results import to_json
from agentdash.engine.store.memory_adding import add_specs
from agentdash.engine.store.memory_changes import MemoryChanges
from agentdash.engine.store.memory_credentials import MemoryCredentials
from agentdash.engine.store.memory_links import MemoryLinks
from agentdash.engine.store.memory_rows import Row, record_of
from agentdash.engine.store.memory_tasks import MemoryTasks
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
from agentdash.model import (
    Answer,
    Attempt,
    Counts,
    Failure,
    LinkedTask,
    Task,
    TaskSpec,
    TaskState,
    Totals,
)

_ATTEMPTS_KEPT = 50


class MemoryTaskStore:
    """`TaskStore` for one process and one run."""

    shared = False

    def __init__(self) -> None:
        self._tasks = MemoryTasks()
        self._rows = self._tasks.rows
        self._links = MemoryLinks(self._rows)
        self._changes = MemoryChanges(self._tasks, self._links)
        self._totals = Totals()
        self._credentials = MemoryCredentials()
        self._processes: dict[str, ProcessRecord] = {}
        self._sources: dict[str, str] = {}

    # -- reads -------------------------------------------------------------------------------------------------------
    def counts(self) -> Counts:
        return Counts(**{state.value: number for state, number in self._tasks.numbers.items()}, held=self._links.held)

    def totals(self) -> Totals:
        return self._totals

    def version(self) -> int:
        return 0

    def ready(self, limit: int, now: float, busy: Collection[str] = ()) -> list[Ready]:
        found: list[Ready] = []
        for *_, seq in self._tasks.pending:
            row = self._rows[seq]
            if row.available_at <= now and not row.waits_for and not any(name in busy for name in row.task.locks):
                found.append(Ready(seq, row.task.id, row.task.priority, row.task.fence, row.task.locks))
                if len(found) >= limit:
                    break
        return found

    def next_available_at(self, now: float) -> float | None:
        times = [t for *_, seq in self._tasks.pending if (t := self._rows[seq].available_at) > now]
        return min(times, default=None)

    def load(self, seq: int) -> Task | None:
        row = self._rows.get(seq)
        return row.task if row else None

    def find(self, task_id: str) -> TaskRecord | None:
        row = self._tasks.find(task_id)
        return self._record(row) if row else None

    def payload(self, task_id: str) -> str | None:
        row = self._tasks.find(task_id)
        return to_json(row.task.payload) if row else None

    def result(self, task_id: str) -> str | None:
        row = self._tasks.find(task_id)
        return row.result if row else None

    def answer(self, seq: int) -> Answer | None:
        """The answer object itself, with what a user's function returned."""
        return self._rows[seq].answer

    def failure(self, seq: int) -> Failure | None:
        """The last failure of a task."""
        return self._rows[seq].failure

    def attempts(self, task_id: str) -> list[Attempt]:
        row = self._tasks.find(task_id)
        return list(row.attempts) if row else []

    def tasks(
        self, states: Iterable[TaskState] = (), *, after: int = 0, limit: int | None = None
    ) -> Iterator[TaskRecord]:
        wanted = frozenset(states) or frozenset(TaskState)
        found = 0
        for seq in sorted(self._rows):
            if limit is not None and found >= limit:
                return
            row = self._rows[seq]
            if seq > after and row.task.state in wanted:
                found += 1
                yield self._record(row)

    def running(self) -> list[RunningTask]:
        return [
            RunningTask(
                row.task.seq,
                row.task.id,
                row.owner,
                row.worker or "",
                row.task.fence,
                row.claimed_at or 0.0,
                row.task.crashes,
                row.cancel_requested,
            )
            for row in self._rows.values()
            if row.task.state is TaskState.RUNNING
        ]

    def has_dependents(self, seq: int) -> bool:
        return self._links.has_dependents(seq)

    def has_waiting(self) -> bool:
        return any(self._rows[seq].waits_for for *_, seq in self._tasks.pending)

    def linked(self, task_id: str, limit: int) -> tuple[list[LinkedTask], list[LinkedTask]]:
        return self._links.linked(self._tasks.seqs.get(task_id, 0), limit)

    def holders(self, limit: int) -> list[str]:
        return self._links.holders(limit)

    def credentials(self) -> list[CredentialRecord]:
        return self._credentials.all()

    def active_credential(self) -> str | None:
        return self._credentials.active

    def processes(self) -> list[ProcessRecord]:
        return sorted(self._processes.values(), key=lambda record: (record.started_at, record.owner))

    def source(self, path: str) -> str | None:
        return self._sources.get(path)

    # -- writes ------------------------------------------------------------------------------------------------------
    async def add(
        self, specs: Iterable[TaskSpec], sources: Mapping[str, str] | None = None, *, skip_conflicts: bool = False
    ) -> AddReport:
        report = add_specs(self._tasks, self._links, specs, skip_conflicts=skip_conflicts)
        self._sources.update(sources or {})
        return report

    def add_payload(
        self,
        task_id: str,
        payload: Mapping[str, Any],
        *,
        priority: int = 0,
        body_hash: bytes = b"",
        locks: tuple[str, ...] = (),
    ) -> Task:
        """Add one task as an object, without a file. The id must be new."""
        return self._tasks.add(task_id, payload, priority=priority, body_hash=body_hash, locks=locks)

    def claim(self, task: Task, owner: str, worker: str, now: float) -> Write[bool]:
        return _done(self.claim_and_wait(task, owner, worker, now))

    def claim_and_wait(self, task: Task, owner: str, worker: str, now: float) -> bool:
        row = self._rows.get(task.seq)
        if row is None or row.task.state is not TaskState.PENDING or row.task.fence != task.fence or row.waits_for:
            return False
        self._tasks.move(row, TaskState.RUNNING, fence=task.fence + 1)
        row.owner, row.worker, row.claimed_at, row.cancel_requested = owner, worker, now, False
        return True

    def settle(self, claim: Claim, settlement: Settlement) -> Write[bool]:
        return _done(self._settle(claim.task.seq, claim.task.fence, settlement))

    def settle_and_wait(self, claim: Claim, settlement: Settlement) -> bool:
        return self._settle(claim.task.seq, claim.task.fence, settlement)

    async def reclaim(self, running: RunningTask, settlement: Settlement) -> bool:
        return self._settle(running.seq, running.fence, settlement)

    async def requeue(self, ids: Sequence[str] | None, *, error_contains: str | None = None) -> int:
        return self._changes.requeue(ids, error_contains)

    async def cancel(self, ids: Sequence[str], now: float) -> tuple[int, int]:
        return self._changes.cancel(ids, now)

    async def prioritize(self, ids: Sequence[str], *, to: int | None = None, by: int = 0) -> int:
        return self._changes.prioritize(ids, to, by)

    async def undo(self) -> tuple[int, int]:
        return self._changes.undo()

    async def drop_undo(self) -> None:
        self._changes.forget()

    async def add_totals(self, totals: Totals) -> None:
        names = [f.name for f in fields(Totals)]
        self._totals = Totals(**{n: getattr(self._totals, n) + getattr(totals, n) for n in names})

    async def save_credentials(self, records: Sequence[CredentialRecord], active: str | None) -> None:
        self._credentials.save(records, active)

    async def clock_went_back(self, seconds: float, longest: float) -> None:
        for *_, seq in self._tasks.pending:
            if (row := self._rows[seq]).available_at > longest:
                row.available_at = min(row.available_at - seconds, longest)
        self._credentials.clock_went_back(seconds)

    async def save_process(self, record: ProcessRecord) -> None:
        self._processes[record.owner] = record

    async def drop_process(self, owner: str) -> None:
        self._processes.pop(owner, None)

    async def close(self) -> None:
        """Nothing to close."""

    # -- inside ------------------------------------------------------------------------------------------------------
    def _record(self, row: Row) -> TaskRecord:
        held_by = None if row.held_by is None else self._rows[row.held_by].task.id
        return record_of(row, held_by, tuple(needed.task.id for needed in self._links.after(row.task.seq)))

    def _settle(self, seq: int, fence: int, settlement: Settlement) -> bool:
        row = self._rows.get(seq)
        if row is None or row.task.state is not TaskState.RUNNING or row.task.fence != fence:
            return False
        self._tasks.move(
            row,
            settlement.state,
            attempts=settlement.attempts,
            service_failures=settlement.service_failures,
            crashes=settlement.crashes,
            cost_usd=row.task.cost_usd + settlement.totals.cost_usd,
        )
        row.available_at = settlement.available_at
        row.failure, row.result, row.answer = settlement.failure, settlement.result, settlement.answer
        row.worker, row.owner, row.cancel_requested = settlement.attempt.worker, "", False
        row.finished_at = settlement.attempt.finished_at if settlement.state is not TaskState.PENDING else None
        row.attempts = [*row.attempts, settlement.attempt][-_ATTEMPTS_KEPT:]
        if settlement.state is not TaskState.PENDING:
            self._links.has_ended(row)
        spent = settlement.totals
        names = [f.name for f in fields(Totals) if getattr(spent, f.name)]
        self._totals = replace(self._totals, **{n: getattr(self._totals, n) + getattr(spent, n) for n in names})
        return True


def _done(result: bool) -> Write[bool]:
    future: Write[bool] = Write()
    future.set_result(result)
    return future
