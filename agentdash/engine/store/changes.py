"""The changes a user asks for: requeue, cancel, other priorities, one by one or in bulk. `undo` takes one back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from agentdash.engine.results import cancelled_line
from agentdash.engine.store.codes import CANCELLED, CODE_OF, FAILED, PENDING, storable
from agentdash.engine.store.dependencies import have_changed
from agentdash.engine.store.undo import choose, mark_results_changed, remember, remember_priorities
from agentdash.engine.store.writer import Transaction
from agentdash.model import MAX_PRIORITY, TaskState


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


@dataclass(frozen=True, slots=True)
class PriorityRequest:
    """Which pending tasks get another priority: `to` this one, or `by` so much more."""

    ids: Sequence[str]
    to: int | None
    by: int


def requeue_tasks(transaction: Transaction, request: RequeueRequest) -> int:
    """failed or cancelled → pending, counters fresh. The fence grows: what was loaded before cannot be claimed."""
    if request.ids is not None:
        condition = f"state IN ({FAILED}, {CANCELLED}) AND id IN (SELECT value FROM json_each(?1))"
        parameters: tuple[object, ...] = (_as_json(request.ids),)
    elif request.error_contains is not None:
        condition = (
            f"state = {FAILED} AND (instr(coalesce(error_message, ''), ?1) OR instr(coalesce(error_type, ''), ?1))"
        )
        parameters = (storable(request.error_contains),)
    else:
        condition, parameters = f"state = {FAILED}", ()
    connection = transaction.connection
    if not choose(connection, f"SELECT seq, state FROM tasks WHERE {condition}", parameters):
        return 0
    remember(connection)
    moved = 0
    for state in (TaskState.FAILED, TaskState.CANCELLED):
        number = connection.execute(
            "UPDATE tasks SET state = 0, fence = fence + 1, attempts = 0, service_failures = 0, crashes = 0,"
            " available_at = 0, finished_at = NULL, error_type = NULL, error_message = NULL"
            " WHERE seq IN (SELECT seq FROM temp.chosen WHERE state = ?)",
            (CODE_OF[state],),
        ).rowcount
        if number:
            transaction.move(state, TaskState.PENDING, number)
        moved += number
    have_changed(transaction, "SELECT seq FROM temp.chosen")
    # Their lines leave the results: the file is written anew from what is left.
    lines = connection.execute("DELETE FROM results WHERE seq IN (SELECT seq FROM temp.chosen)").rowcount
    if lines:
        mark_results_changed(transaction)
    return moved


def cancel_tasks(transaction: Transaction, request: CancelRequest) -> tuple[int, int]:
    """pending → cancelled with its results line; running ones are marked for their owner to stop."""
    connection = transaction.connection
    query = "SELECT seq, state FROM tasks WHERE state IN (0, 1) AND id IN (SELECT value FROM json_each(?))"
    if not choose(connection, query, (_as_json(request.ids),)):
        return 0, 0
    remember(connection)
    rows = connection.execute(
        "SELECT seq, id, attempts, cost_usd FROM tasks WHERE seq IN (SELECT seq FROM temp.chosen WHERE state = 0)"
        " ORDER BY seq"
    ).fetchall()
    connection.execute(
        "UPDATE tasks SET state = 4, fence = fence + 1, finished_at = ?, error_type = NULL, error_message = NULL"
        " WHERE seq IN (SELECT seq FROM temp.chosen WHERE state = 0)",
        (request.now,),
    )
    connection.executemany(
        "INSERT INTO results (seq, line) VALUES (?, ?)",
        [(seq, cancelled_line(task_id, attempts, request.now, cost_usd=cost)) for seq, task_id, attempts, cost in rows],
    )
    if rows:
        transaction.move(TaskState.PENDING, TaskState.CANCELLED, len(rows))
        have_changed(transaction, "SELECT seq FROM temp.chosen WHERE state = 0")
    asked = connection.execute(
        "UPDATE tasks SET cancel_requested = 1 WHERE seq IN (SELECT seq FROM temp.chosen WHERE state = 1)"
    ).rowcount
    return len(rows), asked


def prioritize_tasks(transaction: Transaction, request: PriorityRequest) -> int:
    """Another priority for pending tasks. The fence stays: who is just claiming one may have it."""
    connection = transaction.connection
    query = f"SELECT seq, state FROM tasks WHERE state = {PENDING} AND id IN (SELECT value FROM json_each(?))"
    if not choose(connection, query, (_as_json(request.ids),)):
        return 0
    remember_priorities(connection)
    return connection.execute(
        "UPDATE tasks SET priority = max(?1, min(?2, iif(?3 IS NULL, priority + ?4, ?3)))"
        " WHERE seq IN (SELECT seq FROM temp.chosen)",
        (-MAX_PRIORITY, MAX_PRIORITY, request.to, request.by),
    ).rowcount


def _as_json(ids: Sequence[str]) -> str:
    """Ids for `json_each`, without those that no task can have: SQLite would read one with a NUL as its beginning."""
    return json.dumps([task_id for task_id in ids if storable(task_id) == task_id])
