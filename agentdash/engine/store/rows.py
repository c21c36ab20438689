"""Tasks as a list shows them, read on connections that write nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agentdash.engine.preview import PREVIEW_BYTES, PROMPT_FIRST, SEARCHED_BYTES, preview
from agentdash.engine.store.codes import STATE_OF, SUCCEEDED
from agentdash.engine.store.faults import translate
from agentdash.engine.store.ordering import TRIES
from agentdash.engine.store.reads import SqliteReads, linked
from agentdash.errors import StoreError
from agentdash.model import TaskDetail, TaskRow, TaskState

CLOSED = "the store is closed"
_ERROR_CHARS = 500
_ROWS = f"""
SELECT t.seq, t.id, state, priority, {TRIES}, worker, claimed_at, finished_at, available_at, error_type,
    substr(error_message, 1, {_ERROR_CHARS}), waits_for, held_by
FROM json_each(?) AS wanted CROSS JOIN tasks AS t ON t.seq = wanted.value ORDER BY wanted.key
"""
_WAITS_FOR = f"""
SELECT t.id FROM dependencies AS d CROSS JOIN tasks AS t ON t.seq = d.needs
WHERE d.seq = ? AND t.state <> {SUCCEEDED} ORDER BY d.needs LIMIT ?
"""
_NAMED = 2
_LINKED = 100
_SHOWS_ERROR = frozenset({TaskState.FAILED, TaskState.PENDING, TaskState.CANCELLED})


class RowReads(SqliteReads):
    """The reads of one thread. Nothing is written, no file is made."""

    def __init__(self, path: Path, *, cache_kib: int) -> None:
        self._ended = False
        try:
            # `rw` and not `ro`: reading a WAL needs its index, which may have to be made. It never makes the database.
            connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=rw", uri=True, timeout=1.0, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("PRAGMA query_only = 1")
                connection.execute("PRAGMA mmap_size = 0")  # a file that is cut off would end the process
                connection.execute(f"PRAGMA cache_size = -{cache_kib}")
                connection.execute("SELECT 1 FROM totals")
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise translate(error) from error
        super().__init__(connection)

    def close(self) -> None:
        self._reader.close()

    def interrupt(self, *, for_good: bool = False) -> None:
        """End the statement that another thread runs here, which gets a `StoreError`; `for_good`: and those after."""
        self._ended = self._ended or for_good
        self._reader.interrupt()

    def detail(self, task_id: str) -> TaskDetail | None:
        """Everything about one task."""
        with self.moment():
            record = self.find(task_id)
            if record is None:
                return None
            body, line = self.payload(task_id), self.result(task_id)
            (row,) = self.read_rows([record.seq])
            tried = (record.attempts, record.service_failures, record.crashes, record.claimed_at)
            history = tuple(self.attempts(task_id))
            after, needed_by = self.linked(task_id, _LINKED)
        result = json.loads(line) if line else None
        return TaskDetail(row, json.loads(body or "{}"), *tried, history, result, tuple(after), tuple(needed_by))

    def id_of(self, seq: int) -> str:
        return str(self._one("SELECT id FROM tasks WHERE seq = ?", seq)[0])

    def select(self, sql: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        """Rows one by one."""
        if self._ended:
            raise StoreError(CLOSED)
        try:
            yield from self._reader.execute(sql, parameters)
        except sqlite3.Error as error:
            raise translate(error) from error

    def texts(self, sql: str, *parameters: object) -> Iterator[str]:
        """The one text of each row."""
        return (row[0] for row in self.select(sql, *parameters))

    def read_rows(self, seqs: Iterable[int]) -> tuple[TaskRow, ...]:
        return tuple(self._row(*values) for values in self._all(_ROWS, json.dumps(list(seqs))))

    def _row(
        self, seq: int, task_id: str, code: int, priority: int, tries: int, worker: str | None,
        claimed_at: float | None, finished_at: float | None, available_at: float,
        error_type: str | None, message: str | None, waits_for: int, held_by: int | None,
    ) -> TaskRow:  # fmt: skip
        state = STATE_OF[code]
        since = {TaskState.PENDING: None, TaskState.RUNNING: claimed_at}.get(state, finished_at)
        error = f"{error_type}: {message}" if error_type is not None and state in _SHOWS_ERROR else None
        shown = None if state is TaskState.PENDING else worker
        text = self._beginning_of_prompt(seq)
        row = TaskRow(seq, task_id, state, priority, tries, shown, since, available_at, text, error)
        if state is not TaskState.PENDING or not waits_for:
            return row
        named = tuple(task_id for (task_id,) in self._all(_WAITS_FOR, seq, _NAMED))
        holder = linked(self._all("SELECT id, state, 0 FROM tasks WHERE seq = ?", held_by)) if held_by else ()
        more = max(0, waits_for - len(named))
        return replace(row, waits_for=named, waits_for_more=more, held_by=next(iter(holder), None))

    def _beginning_of_prompt(self, seq: int) -> str:
        """From the first bytes of the body: an SQL function would have all its megabytes read first."""
        try:
            with self._reader.blobopen("bodies", "body", seq, readonly=True) as blob:
                head = blob.read(PREVIEW_BYTES)
                if not head.startswith(PROMPT_FIRST.encode()):
                    head += blob.read(SEARCHED_BYTES - PREVIEW_BYTES)
        except sqlite3.Error as error:
            raise translate(error) from error
        return preview(head.decode(errors="ignore"))

    def _seqs(self, sql: str, *parameters: object) -> list[int]:
        return [row[0] for row in self._all(sql, *parameters)]

    @contextmanager
    def moment(self) -> Iterator[None]:
        """All reads within see one state of the database."""
        self._all("BEGIN")
        try:
            yield
        finally:
            if self._reader.in_transaction:
                self._all("ROLLBACK")
