"""The reading side of the SQLite store: small indexed queries on a connection of their own, answered in microseconds.

In WAL mode a reader never waits for a writer, so these may run in the event loop.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Set
from contextlib import closing
from dataclasses import fields
from typing import Any

from agentdash.engine.store.codes import CODE_OF, STATE_OF, split_locks
from agentdash.engine.store.faults import translate
from agentdash.engine.store.records import CredentialRecord, ProcessRecord, Ready, RunningTask, TaskRecord
from agentdash.model import Attempt, Counts, LinkedTask, Task, TaskState, Totals

_READY = "SELECT seq, id, priority, fence, locks FROM tasks WHERE state = 0 AND (waits_for > 0) = 0"
_IN_ORDER = f"{_READY} AND available_at <= ? ORDER BY priority DESC, locks IS NULL, seq LIMIT ?"
# Those that need no resource, priority by priority, each read where they begin. In the order of the loops: one that was
# asked for would have them all read before the first.
_UNLOCKED = """
WITH RECURSIVE level (priority) AS (
    SELECT max(priority) FROM tasks WHERE state = 0 AND (waits_for > 0) = 0
    UNION ALL SELECT (SELECT max(priority) FROM tasks WHERE state = 0 AND (waits_for > 0) = 0
        AND priority < level.priority) FROM level WHERE priority IS NOT NULL)
SELECT t.seq, id, t.priority, fence, locks FROM level CROSS JOIN tasks AS t INDEXED BY tasks_ready
    ON t.priority = level.priority AND state = 0 AND (waits_for > 0) = 0 AND (locks IS NULL) = 1
WHERE available_at <= ? LIMIT ?
"""
# The first task of each resource (or of each set of them).
_LOCKED = """
WITH RECURSIVE needed (locks) AS (
    SELECT min(locks) FROM tasks WHERE state = 0 AND waits_for = 0 AND locks IS NOT NULL
    UNION ALL SELECT (SELECT min(locks) FROM tasks WHERE state = 0 AND waits_for = 0 AND locks > needed.locks)
        FROM needed WHERE locks IS NOT NULL)
SELECT t.seq, id, priority, fence, t.locks FROM needed CROSS JOIN tasks AS t ON t.seq = (
    SELECT seq FROM tasks WHERE state = 0 AND waits_for = 0 AND locks = needed.locks AND available_at <= ?1
    ORDER BY priority DESC, seq LIMIT 1)
WHERE needed.locks NOT IN (SELECT value FROM json_each(?2))
"""
_AFTER = """SELECT json_group_array(n.id) FROM dependencies AS d CROSS JOIN tasks AS n ON n.seq = d.needs
    WHERE d.seq = tasks.seq"""
_RECORD = f"""SELECT seq, id, state, priority, attempts, service_failures, crashes, worker, claimed_at, finished_at,
    available_at, error_type, error_message, waits_for, (SELECT h.id FROM tasks AS h WHERE h.seq = tasks.held_by),
    ({_AFTER}) FROM tasks"""
_LINKED = """
SELECT t.id, t.state, t.held_by IS NOT NULL FROM dependencies AS d CROSS JOIN tasks AS t ON t.seq = d.{other}
WHERE d.{this} = (SELECT seq FROM tasks WHERE id = ?) ORDER BY d.{other} LIMIT ?
"""
_NEXT_HOLDER = "SELECT min(held_by) FROM tasks WHERE held_by > ?"
_COUNT_COLUMNS = ", ".join(f.name for f in fields(Counts))
_TOTAL_COLUMNS = ", ".join(f.name for f in fields(Totals))
_CREDENTIAL_COLUMNS = ", ".join(f.name for f in fields(CredentialRecord))
_PROCESS_COLUMNS = ", ".join(f.name for f in fields(ProcessRecord))
_ATTEMPT_COLUMNS = ", ".join(f.name for f in fields(Attempt))
_PAGE = 1000


class SqliteReads:
    """The read half of `TaskStore` over one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._reader = connection

    def counts(self) -> Counts:
        return Counts(*self._one(f"SELECT {_COUNT_COLUMNS} FROM totals"))

    def totals(self) -> Totals:
        return Totals(*self._one(f"SELECT {_TOTAL_COLUMNS} FROM totals"))

    def version(self) -> int:
        return int(self._one("PRAGMA data_version")[0])

    def ready(self, limit: int, now: float, busy: Collection[str] = ()) -> list[Ready]:
        if not busy:
            return [_ready(*row) for row in self._all(_IN_ORDER, now, limit)]
        found = [_ready(*row) for row in self._all(_UNLOCKED, now, limit)]
        taken = frozenset(busy)
        firsts = self._firsts(limit, now, taken)
        if len(firsts) == limit:  # by name, and there may be more: those that come first are surely among these
            first = (_ready(*row) for row in self._all(_IN_ORDER, now, limit))
            firsts += [one for one in first if taken.isdisjoint(one.locks)]
        found += firsts
        return sorted(set(found), key=lambda one: (-one.priority, not one.locks, one.seq))[:limit]

    def _firsts(self, limit: int, now: float, busy: Set[str]) -> list[Ready]:
        """The first task of each free resource, read until there are enough: most of them may be busy."""
        found: list[Ready] = []
        try:
            with closing(self._reader.execute(_LOCKED, (now, json.dumps(list(busy))))) as rows:
                for row in rows:
                    if busy.isdisjoint((one := _ready(*row)).locks):
                        found.append(one)
                        if len(found) == limit:
                            break
        except sqlite3.Error as error:
            raise translate(error) from error
        return found

    def next_available_at(self, now: float) -> float | None:
        # `available_at > 0` is what lets SQLite see that the partial index covers the question.
        row = self._one(
            "SELECT min(available_at) FROM tasks WHERE state = 0 AND available_at > 0 AND available_at > ?", now
        )
        return None if row[0] is None else float(row[0])

    def load(self, seq: int) -> Task | None:
        rows = self._all(
            "SELECT id, state, priority, fence, attempts, service_failures, crashes, cost_usd, locks, body FROM tasks"
            " JOIN bodies USING (seq) WHERE seq = ?",
            seq,
        )
        if not rows:
            return None
        task_id, state, *rest, locks, body = rows[0]
        return Task(seq, task_id, json.loads(body), STATE_OF[state], *[*rest, split_locks(locks)])

    def find(self, task_id: str) -> TaskRecord | None:
        rows = self._all(f"{_RECORD} WHERE id = ?", task_id)
        return _record(rows[0]) if rows else None

    def payload(self, task_id: str) -> str | None:
        return self._text("SELECT body FROM bodies JOIN tasks USING (seq) WHERE id = ?", task_id)

    def result(self, task_id: str) -> str | None:
        return self._text("SELECT line FROM results JOIN tasks USING (seq) WHERE id = ?", task_id)

    def attempts(self, task_id: str) -> list[Attempt]:
        rows = self._all(
            f"SELECT {_ATTEMPT_COLUMNS} FROM attempts WHERE seq = (SELECT seq FROM tasks WHERE id = ?) ORDER BY fence",
            task_id,
        )
        return [Attempt(*row) for row in rows]

    def tasks(
        self, states: Iterable[TaskState] = (), *, after: int = 0, limit: int | None = None
    ) -> Iterator[TaskRecord]:
        codes = sorted({CODE_OF[state] for state in states})
        condition = f"AND state IN ({', '.join(map(str, codes))})" if codes else ""
        left = limit
        while left is None or left > 0:
            page = _PAGE if left is None else min(_PAGE, left)
            rows = self._all(f"{_RECORD} WHERE seq > ? {condition} ORDER BY seq LIMIT ?", after, page)
            for row in rows:
                yield _record(row)
            if len(rows) < page:
                return
            after = rows[-1][0]
            left = None if left is None else left - len(rows)

    def running(self) -> list[RunningTask]:
        rows = self._all(
            "SELECT seq, id, owner, worker, fence, claimed_at, crashes, cancel_requested FROM tasks WHERE state = 1"
        )
        return [
            RunningTask(seq, task_id, owner, worker, fence, at, crashes, bool(asked))
            for seq, task_id, owner, worker, fence, at, crashes, asked in rows
        ]

    def has_dependents(self, seq: int) -> bool:
        return bool(self._one("SELECT EXISTS (SELECT 1 FROM dependencies WHERE needs = ?)", seq)[0])

    def has_waiting(self) -> bool:
        return bool(self._one("SELECT EXISTS (SELECT 1 FROM tasks WHERE state = 0 AND (waits_for > 0) = 1)")[0])

    def linked(self, task_id: str, limit: int) -> tuple[list[LinkedTask], list[LinkedTask]]:
        after = self._all(_LINKED.format(this="seq", other="needs"), task_id, limit)
        needed_by = self._all(_LINKED.format(this="needs", other="seq"), task_id, limit)
        return linked(after), linked(needed_by)

    def holders(self, limit: int) -> list[str]:
        found: list[str] = []
        last = 0
        while len(found) < limit and (last := self._one(_NEXT_HOLDER, last)[0]) is not None:
            found.append(str(self._one("SELECT id FROM tasks WHERE seq = ?", last)[0]))
        return found

    def credentials(self) -> list[CredentialRecord]:
        rows = self._all(f"SELECT {_CREDENTIAL_COLUMNS} FROM credentials ORDER BY name")
        return [CredentialRecord(*row) for row in rows]

    def active_credential(self) -> str | None:
        return self._text("SELECT value FROM meta WHERE key = ?", "active_credential")

    def processes(self) -> list[ProcessRecord]:
        rows = self._all(f"SELECT {_PROCESS_COLUMNS} FROM processes ORDER BY started_at, owner")
        return [ProcessRecord(*row) for row in rows]

    def source(self, path: str) -> str | None:
        return self._text("SELECT stamp FROM sources WHERE path = ?", path)

    def _all(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except UnicodeEncodeError:  # an id with a lone surrogate, as a shell may pass it: no task has it
            return []
        except sqlite3.Error as error:
            raise translate(error) from error

    def _one(self, sql: str, *parameters: object) -> tuple[Any, ...]:
        return self._all(sql, *parameters)[0]

    def _text(self, sql: str, parameter: str) -> str | None:
        rows = self._all(sql, parameter)
        return str(rows[0][0]) if rows else None


def _record(row: tuple[Any, ...]) -> TaskRecord:
    seq, task_id, state, *rest, after = row
    rest.append(tuple(json.loads(after)) if after != "[]" else ())
    return TaskRecord(seq, task_id, STATE_OF[state], *rest)


def _ready(seq: int, task_id: str, priority: int, fence: int, locks: str | None) -> Ready:
    return Ready(seq, task_id, priority, fence, split_locks(locks))


def linked(rows: Iterable[tuple[Any, ...]]) -> list[LinkedTask]:
    """Rows of (id, state, whether it is held)."""
    return [LinkedTask(task_id, STATE_OF[state], bool(held)) for task_id, state, held in rows]
