"""The changes a user asks for: requeue and cancel, by hand or in bulk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from agentdash.engine.results import cancelled_line
from agentdash.engine.store.codes import CANCELLED, CODE_OF, FAILED, storable
from agentdash.engine.store.writer import Transaction
from agentdash.model import TaskState


@dataclass(frozen=True, slots=True)
class RequeueRequest:
    """Which finished tasks shall run again; `ids` None: all failed ones (whose error holds `error_contains`)."""

    ids: Sequence[str] | None
    error_contains: str | None = None


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """Which tasks shall not run; `now` is written as their end."""

    ids: Sequence[str]
    now: float


def requeue_tasks(transaction: Transaction, request: RequeueRequest) -> int:
    """failed or cancelled → pending, counters fresh. The fence grows: what was loaded before cannot be claimed."""
    if request.ids is not None:
        condition = f"state IN ({FAILED}, {CANCELLED}) AND id IN (SELECT value FROM json_each(?1))"
        parameters = [_as_json(request.ids)]
    elif request.error_contains is not None:
        condition = (
            f"state = {FAILED} AND (instr(coalesce(error_message, ''), ?1) OR instr(coalesce(error_type, ''), ?1))"
        )
        parameters = [storable(request.error_contains)]
    else:
        condition, parameters = f"state = {FAILED}", []
    connection = transaction.connection
    moved = 0
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS requeued (seq INTEGER PRIMARY KEY)")
    connection.execute("DELETE FROM requeued")
    connection.execute(f"INSERT INTO requeued SELECT seq FROM tasks WHERE {condition}", parameters)
    for state in (TaskState.FAILED, TaskState.CANCELLED):
        number = connection.execute(
            "UPDATE tasks SET state = 0, fence = fence + 1, attempts = 0, service_failures = 0, crashes = 0,"
            " available_at = 0, finished_at = NULL, error_type = NULL, error_message = NULL"
            " WHERE state = ? AND seq IN (SELECT seq FROM requeued)",
            (CODE_OF[state],),
        ).rowcount
        if number:
            transaction.move(state, TaskState.PENDING, number)
        moved += number
    # Their lines leave the results: the file is written anew from what is left.
    lines = connection.execute("DELETE FROM results WHERE seq IN (SELECT seq FROM requeued)").rowcount
    if lines:
        mark_results_changed(transaction)
    return moved


def cancel_tasks(transaction: Transaction, request: CancelRequest) -> tuple[int, int]:
    """pending → cancelled with its results line; running ones are marked for their owner to stop."""
    connection = transaction.connection
    ids = _as_json(request.ids)
    rows = connection.execute(
        "SELECT seq, id, attempts FROM tasks WHERE state = 0 AND id IN (SELECT value FROM json_each(?)) ORDER BY seq",
        (ids,),
    ).fetchall()
    connection.executemany(
        "UPDATE tasks SET state = 4, fence = fence + 1, finished_at = ?, error_type = NULL, error_message = NULL"
        " WHERE seq = ?",
        [(request.now, seq) for seq, _, _ in rows],
    )
    connection.executemany(
        "INSERT INTO results (seq, line) VALUES (?, ?)",
        [(seq, cancelled_line(task_id, attempts, request.now)) for seq, task_id, attempts in rows],
    )
    if rows:
        transaction.move(TaskState.PENDING, TaskState.CANCELLED, len(rows))
    asked = connection.execute(
        "UPDATE tasks SET cancel_requested = 1 WHERE state = 1 AND id IN (SELECT value FROM json_each(?))", (ids,)
    ).rowcount
    return len(rows), asked


def mark_results_changed(transaction: Transaction) -> None:
    """Lines that the results file may hold already are gone: it must be written anew."""
    transaction.connection.execute(
        "INSERT INTO meta (key, value) VALUES ('results_generation', '1')"
        " ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
    )


def _as_json(ids: Sequence[str]) -> str:
    """Ids for `json_each`, without those that no task can have: SQLite would read one with a NUL as its beginning."""
    return json.dumps([task_id for task_id in ids if storable(task_id) == task_id])
