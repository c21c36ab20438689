"""The in-memory form of the task store: what the library's `run_parallel_agents` runs on, and the tests' double.

It keeps every rule of the protocol but durability, and passes the same conformance suite as the SQLite form.
"""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from agentdash.engine.results import cancelled_line, to_json
from agentdash.engine.store.base import (
    AddReport,
    Claim,
    CredentialRecord,
    ProcessRecord,
    Ready,
    RunningTask,
    Settlement,
    TaskRecord,
    check_transition,
)
from agentdash.engine.store.conflicts import Conflicts
from agentdash.engine.store.links import Links
from agentdash.engine.store.memory_links import MemoryLinks
from agentdash.engine.store.memory_rows import Before, Row, as_it_is, is_requeued, record_of
from agentdash.engine.waiting import Write
from agentdash.model import (
    MAX_PRIORITY,
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
        self._rows: dict[int, Row] = {}
        self._ids: dict[str, int] = {}
        self._links = MemoryLinks(self._rows)
        self._pending: list[tuple[int, bool, int]] = []  # `Row.place`, sorted
        self._counts: dict[TaskState, int] = dict.fromkeys(TaskState, 0)
        self._totals = Totals()
        self._credentials: dict[str, CredentialRecord] = {}
        self._active: str | None = None
        self._processes: dict[str, ProcessRecord] = {}
        self._sources: dict[str, str] = {}
        self._undo: list[Before] = []

    # -- reads -------------------------------------------------------------------------------------------------------
    def counts(self) -> Counts:
        return Counts(**{state.value: number for state, number in self._counts.items()}, held=self._links.held)

    def totals(self) -> Totals:
        return self._totals

    def version(self) -> int:
        return 0

    def ready(self, limit: int, now: float, busy: Collection[str] = ()) -> list[Ready]:
        found: list[Ready] = []
        for *_, seq in self._pending:
            row = self._rows[seq]
            if row.available_at <= now and not row.waits_for and not any(name in busy for name in row.task.locks):
                found.append(Ready(seq, row.task.id, row.task.priority, row.task.fence, row.task.locks))
                if len(found) >= limit:
                    break
        return found

    def next_available_at(self, now: float) -> float | None:
        times = [t for *_, seq in self._pending if (t := self._rows[seq].available_at) > now]
        return min(times, default=None)

    def load(self, seq: int) -> Task | None:
        row = self._rows.get(seq)
        return row.task if row else None

    def find(self, task_id: str) -> TaskRecord | None:
        row = self._row(task_id)
        return self._record(row) if row else None

    def payload(self, task_id: str) -> str | None:
        row = self._row(task_id)
        return to_json(row.task.payload) if row else None

    def result(self, task_id: str) -> str | None:
        row = self._row(task_id)
        return row.result if row else None

    def answer(self, seq: int) -> Answer | None:
        """The answer object itself, with what a user's function returned."""
        return self._rows[seq].answer

    def failure(self, seq: int) -> Failure | None:
        """The last failure of a task."""
        return self._rows[seq].failure

    def attempts(self, task_id: str) -> list[Attempt]:
        row = self._row(task_id)
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
        return any(self._rows[seq].waits_for for *_, seq in self._pending)

    def linked(self, task_id: str, limit: int) -> tuple[list[LinkedTask], list[LinkedTask]]:
        return self._links.linked(self._ids.get(task_id, 0), limit)

    def holders(self, limit: int) -> list[str]:
        return self._links.holders(limit)

    def credentials(self) -> list[CredentialRecord]:
        return sorted(self._credentials.values(), key=lambda record: record.name)

    def active_credential(self) -> str | None:
        return self._active

    def processes(self) -> list[ProcessRecord]:
        return sorted(self._processes.values(), key=lambda record: (record.started_at, record.owner))

    def source(self, path: str) -> str | None:
        return self._sources.get(path)

    # -- writes ------------------------------------------------------------------------------------------------------
    async def add(
        self, specs: Iterable[TaskSpec], sources: Mapping[str, str] | None = None, *, skip_conflicts: bool = False
    ) -> AddReport:
        new: dict[str, TaskSpec] = {}
        seen: set[str] = set()
        conflicts = Conflicts()
        for original in specs:
            spec = original
            while original.auto_id and (spec.id in new or spec.id in seen):
                spec = conflicts.rename(original)
            known = self._row(spec.id)
            if spec.id in new or spec.id in seen:
                conflicts.duplicate(spec)
            elif known is None:
                new[spec.id] = spec
            elif known.body_hash != spec.body_hash:
                conflicts.changed(spec)
            else:
                seen.add(spec.id)
        if not skip_conflicts:
            conflicts.raise_if_any()
        links, first = Links(), len(self._rows) + 1
        links.note(first, list(new.values()))
        seq_of = self._ids | {task_id: seq for seq, task_id in enumerate(new, first)} if links.specs else {}
        kept, left_out = links.check(seq_of, conflicts, tell_all=skip_conflicts)
        if not skip_conflicts:
            conflicts.raise_if_any()
        taken_out = {links.specs[seq].id for seq in left_out}
        for spec in new.values():
            if spec.id not in taken_out:
                payload = json.loads(spec.body)
                self.add_payload(spec.id, payload, priority=spec.priority, body_hash=spec.body_hash, locks=spec.locks)
        ids = {seq: task_id for task_id, seq in seq_of.items()}
        self._links.add([(self._ids[ids[seq]], self._ids[ids[needed]]) for seq, needed in kept])
        self._sources.update(sources or {})
        return AddReport(len(new) - len(left_out), len(seen), conflicts.count, tuple(conflicts.lines))

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
        task = Task(len(self._rows) + 1, task_id, payload, priority=priority, locks=locks)
        row = self._rows[task.seq] = Row(task, body_hash)
        self._ids[task_id] = task.seq
        self._counts[TaskState.PENDING] += 1
        insort(self._pending, row.place)
        return task

    def claim(self, task: Task, owner: str, worker: str, now: float) -> Write[bool]:
        return _done(self.claim_and_wait(task, owner, worker, now))

    def claim_and_wait(self, task: Task, owner: str, worker: str, now: float) -> bool:
        row = self._rows.get(task.seq)
        if row is None or row.task.state is not TaskState.PENDING or row.task.fence != task.fence or row.waits_for:
            return False
        self._move(row, TaskState.RUNNING, fence=task.fence + 1)
        row.owner, row.worker, row.claimed_at, row.cancel_requested = owner, worker, now, False
        return True

    def settle(self, claim: Claim, settlement: Settlement) -> Write[bool]:
        return _done(self._settle(claim.task.seq, claim.task.fence, settlement))

    def settle_and_wait(self, claim: Claim, settlement: Settlement) -> bool:
        return self._settle(claim.task.seq, claim.task.fence, settlement)

    async def reclaim(self, running: RunningTask, settlement: Settlement) -> bool:
        return self._settle(running.seq, running.fence, settlement)

    async def requeue(self, ids: Sequence[str] | None, *, error_contains: str | None = None) -> int:
        chosen = None if ids is None else frozenset(ids)
        rows = [row for row in self._rows.values() if is_requeued(row, chosen, error_contains)]
        if rows:
            self._undo = [as_it_is(row, TaskState.PENDING) for row in rows]
        for row in rows:
            self._move(row, TaskState.PENDING, fence=row.task.fence + 1, attempts=0, service_failures=0, crashes=0)
            row.available_at, row.finished_at, row.failure, row.result = 0.0, None, None, None
        self._links.have_changed(row.task.seq for row in rows)
        return len(rows)

    async def cancel(self, ids: Sequence[str], now: float) -> tuple[int, int]:
        found = [row for task_id in dict.fromkeys(ids) if (row := self._row(task_id)) is not None]
        pending = [row for row in found if row.task.state is TaskState.PENDING]
        running = [row for row in found if row.task.state is TaskState.RUNNING]
        if pending or running:
            self._undo = [as_it_is(row, TaskState.CANCELLED) for row in pending]
            self._undo += [as_it_is(row, TaskState.RUNNING) for row in running]
        for row in pending:
            self._move(row, TaskState.CANCELLED, fence=row.task.fence + 1)
            row.finished_at, row.failure = now, None
            row.result = cancelled_line(row.task.id, row.task.attempts, now, cost_usd=row.task.cost_usd)
        for row in running:
            row.cancel_requested = True
        self._links.have_changed(row.task.seq for row in pending)
        return len(pending), len(running)

    async def prioritize(self, ids: Sequence[str], *, to: int | None = None, by: int = 0) -> int:
        found = [row for task_id in dict.fromkeys(ids) if (row := self._row(task_id)) is not None]
        pending = [row for row in found if row.task.state is TaskState.PENDING]
        if pending:
            self._undo = [as_it_is(row, TaskState.PENDING) for row in pending]
        for row in pending:
            wanted = row.task.priority + by if to is None else to
            self._place(row, max(-MAX_PRIORITY, min(MAX_PRIORITY, wanted)))
        return len(pending)

    async def undo(self) -> tuple[int, int]:
        done = [self._put_back(before) for before in self._undo]
        self._links.have_changed(before.task.seq for before, is_done in zip(self._undo, done, strict=True) if is_done)
        self._undo = []
        return sum(done), len(done) - sum(done)

    async def drop_undo(self) -> None:
        self._undo = []

    async def add_totals(self, totals: Totals) -> None:
        names = [f.name for f in fields(Totals)]
        self._totals = Totals(**{n: getattr(self._totals, n) + getattr(totals, n) for n in names})

    async def save_credentials(self, records: Sequence[CredentialRecord], active: str | None) -> None:
        for record in records:
            old = self._credentials.get(record.fingerprint, replace(record, requests=0, rate_limited=0))
            mark = record if record.updated_at >= old.updated_at or record.updated_at == 0 else old
            self._credentials[record.fingerprint] = replace(
                record,
                organization=record.organization or old.organization,
                pool=record.pool or old.pool,
                cooldown_until=max(record.cooldown_until, old.cooldown_until),
                requests=record.requests + old.requests,
                rate_limited=record.rate_limited + old.rate_limited,
                state=mark.state,
                exhausted_until=mark.exhausted_until,
                last_error=mark.last_error,
                updated_at=mark.updated_at,
                learned=record.learned or old.learned,
            )
        self._active = active if active is not None else self._active

    async def clock_went_back(self, seconds: float, longest: float) -> None:
        for *_, seq in self._pending:
            if (row := self._rows[seq]).available_at > longest:
                row.available_at = min(row.available_at - seconds, longest)
        for key, record in self._credentials.items():
            self._credentials[key] = replace(record, cooldown_until=record.cooldown_until - seconds)

    async def save_process(self, record: ProcessRecord) -> None:
        self._processes[record.owner] = record

    async def drop_process(self, owner: str) -> None:
        self._processes.pop(owner, None)

    async def close(self) -> None:
        """Nothing to close."""

    # -- inside ------------------------------------------------------------------------------------------------------
    def _row(self, task_id: str) -> Row | None:
        seq = self._ids.get(task_id)
        return None if seq is None else self._rows[seq]

    def _move(self, row: Row, state: TaskState, **changes: Any) -> None:
        before = row.task.state
        check_transition(before, state)
        self._counts[before] -= 1
        self._counts[state] += 1
        if before is TaskState.PENDING:
            del self._pending[bisect_left(self._pending, row.place)]
        if state is TaskState.PENDING:
            insort(self._pending, row.place)
        row.task = replace(row.task, state=state, **changes)

    def _place(self, row: Row, priority: int) -> None:
        """Give a pending task another priority."""
        del self._pending[bisect_left(self._pending, row.place)]
        row.task = replace(row.task, priority=priority)
        insort(self._pending, row.place)

    def _record(self, row: Row) -> TaskRecord:
        held_by = None if row.held_by is None else self._rows[row.held_by].task.id
        return record_of(row, held_by, tuple(needed.task.id for needed in self._links.after(row.task.seq)))

    def _settle(self, seq: int, fence: int, settlement: Settlement) -> bool:
        row = self._rows.get(seq)
        if row is None or row.task.state is not TaskState.RUNNING or row.task.fence != fence:
            return False
        self._move(
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

    def _put_back(self, before: Before) -> bool:
        """One task as it was before the last action; False if it was changed since."""
        row = self._rows[before.task.seq]
        state, was_asked = row.task.state, before.left_state is TaskState.RUNNING
        if row.task.fence != before.left_fence:
            return False
        if was_asked and state in (TaskState.RUNNING, TaskState.PENDING):
            row.cancel_requested = False
            return True
        if state is not (TaskState.CANCELLED if was_asked else before.left_state):
            return False
        if state is before.task.state:
            self._place(row, before.task.priority)
            return True
        old, is_open = before.task, was_asked or before.task.state is TaskState.PENDING
        self._move(
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


def _done(result: bool) -> Write[bool]:
    future: Write[bool] = Write()
    future.set_result(result)
    return future
