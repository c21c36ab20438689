"""The reading side of the SQLite store: small indexed queries on a connection of their own, answered in microseconds.

In WAL mode a reader never waits for a writer, so these may run in the event loop.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from agentdash.engine.store.base import CredentialRecord, ProcessRecord, Ready, RunningTask, TaskRecord
from agentdash.engine.store.codes import CODE_OF, STATE_OF
from agentdash.engine.store.writer import translate
from agentdash.model import Attempt, Counts, Task, TaskState, Totals

_READY = "SELECT seq, id, priority, fence FROM tasks WHERE state = 0 AND available_at <= ? ORDER BY priority DESC, seq"
_RECORD = """SELECT seq, id, state, priority, attempts, service_failures, crashes, worker, claimed_at, finished_at,
    available_at, error_type, error_message FROM tasks"""
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

    def ready(self, limit: int, now: float) -> list[Ready]:
        rows = self._all(f"{_READY} LIMIT ?", now, limit)
        return [Ready(seq, task_id, priority, fence) for seq, task_id, priority, fence in rows]

    def next_available_at(self, now: float) -> float | None:
        # `available_at > 0` is what lets SQLite see that the partial index covers the question.
        row = self._one(
            "SELECT min(available_at) FROM tasks WHERE state = 0 AND available_at > 0 AND available_at > ?", now
        )
        return None if row[0] is None else float(row[0])

    def load(self, seq: int) -> Task | None:
        rows = self._all(
            "SELECT id, state, priority, fence, attempts, service_failures, crashes, body FROM tasks"
            " JOIN bodies USING (seq) WHERE seq = ?",
            seq,
        )
        if not rows:
            return None
        task_id, state, priority, fence, attempts, service_failures, crashes, body = rows[0]
        payload = json.loads(body)
        return Task(seq, task_id, payload, STATE_OF[state], priority, fence, attempts, service_failures, crashes)

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
    seq, task_id, state, *rest = row
    return TaskRecord(seq, task_id, STATE_OF[state], *rest)
