"""Takes the last requeue, cancellation or change of priorities back: what tasks were is kept beside the database.

It is kept in a TEMP table of the writing connection: nothing of it reaches the disk, a transaction that fails takes it
back too, and it ends with the process.
"""

from __future__ import annotations

import sqlite3
from itertools import product

from agentdash.engine.store.codes import CANCELLED, FAILED, PENDING, RUNNING, STATE_OF
from agentdash.engine.store.dependencies import have_changed
from agentdash.engine.store.writer import Transaction

# `left_state` and `left_fence`: how the action left the task. What holds others by now has gone on.
_TABLE = """
CREATE TEMP TABLE IF NOT EXISTS undo (seq INTEGER PRIMARY KEY, left_state INTEGER, left_fence INTEGER, state INTEGER,
    attempts INTEGER, service_failures INTEGER, crashes INTEGER, available_at REAL, finished_at REAL, error_type TEXT,
    error_message TEXT, ordinal INTEGER, line TEXT, priority INTEGER)
"""
_REMEMBER = """
INSERT INTO undo SELECT seq, ?1, fence + ?2, state, attempts, service_failures, crashes, available_at, finished_at,
    error_type, error_message, ordinal, line, priority
FROM tasks LEFT JOIN results USING (seq) WHERE seq IN (SELECT seq FROM temp.chosen WHERE state = ?3)
"""
_TOUCHED = """
DELETE FROM undo WHERE NOT EXISTS (
    SELECT 1 FROM tasks WHERE tasks.seq = undo.seq AND tasks.fence = left_fence AND tasks.state = left_state)
"""
_PUT_BACK = """
UPDATE tasks SET state = undo.state, fence = fence + 1, attempts = undo.attempts,
    service_failures = undo.service_failures, crashes = undo.crashes, available_at = undo.available_at,
    finished_at = undo.finished_at, error_type = undo.error_type, error_message = undo.error_message
FROM undo WHERE undo.seq = tasks.seq AND undo.left_state = ?1 AND undo.state = ?2
"""
_PUT_PRIORITY_BACK = f"""
UPDATE tasks SET priority = undo.priority
FROM undo WHERE undo.seq = tasks.seq AND left_state = {PENDING} AND undo.state = {PENDING}
"""
# One that was asked to stop, and was stopped by it: the end of a claim leaves the fence alone.
_STOPPED = f"""
UPDATE undo SET left_state = {CANCELLED}, state = {PENDING}
FROM tasks WHERE tasks.seq = undo.seq AND tasks.fence = left_fence AND tasks.state = {CANCELLED}
    AND left_state = {RUNNING}
"""
# One that was stopped before the request was taken back, and went back to pending by that.
_GIVEN_BACK = f"""
SELECT count(*) FROM undo JOIN tasks USING (seq)
WHERE left_state = {RUNNING} AND tasks.fence = left_fence AND tasks.state = {PENDING}
"""
_NOT_ASKED = f"""
UPDATE tasks SET cancel_requested = 0
WHERE state = {RUNNING} AND seq IN (SELECT seq FROM undo WHERE left_state = {RUNNING} AND left_fence = tasks.fence)
"""


def choose(connection: sqlite3.Connection, query: str, parameters: tuple[object, ...] = ()) -> int:
    """Put the tasks that an action is about into `temp.chosen (seq, state)`; returns how many."""
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS chosen (seq INTEGER PRIMARY KEY, state INTEGER)")
    connection.execute("DELETE FROM chosen")
    return connection.execute(f"INSERT INTO chosen {query}", parameters).rowcount


def remember(connection: sqlite3.Connection) -> None:
    """Keep what the chosen tasks are, before the action; what an earlier one left is forgotten.

    A finished task will be left pending and a pending one cancelled, each with the next fence; a running one is only
    asked.
    """
    forget(connection)
    for state, left, step in (
        (FAILED, PENDING, 1),
        (CANCELLED, PENDING, 1),
        (PENDING, CANCELLED, 1),
        (RUNNING, RUNNING, 0),
    ):
        connection.execute(_REMEMBER, (left, step, state))


def remember_priorities(connection: sqlite3.Connection) -> None:
    """Keep what the chosen tasks are, which are pending and stay so, before they get other priorities."""
    forget(connection)
    connection.execute(_REMEMBER, (PENDING, 0, PENDING))


def forget(connection: sqlite3.Connection) -> None:
    """Nothing can be taken back any more."""
    connection.execute(_TABLE)
    connection.execute("DELETE FROM undo")


def undo_last(transaction: Transaction) -> tuple[int, int]:
    """Put back what nobody has changed since; returns (put back, gone on). The fence grows here too."""
    connection = transaction.connection
    connection.execute(_TABLE)
    total: int = connection.execute("SELECT count(*) FROM undo").fetchone()[0]
    if not total:
        return 0, 0
    connection.execute(_STOPPED)
    given_back: int = connection.execute(_GIVEN_BACK).fetchone()[0]
    connection.execute(_TOUCHED)
    restored: int = connection.execute("SELECT count(*) FROM undo").fetchone()[0] + given_back
    connection.execute(_NOT_ASKED)
    connection.execute(_PUT_PRIORITY_BACK)
    for left, state in product((PENDING, CANCELLED), (PENDING, FAILED, CANCELLED)):
        if left != state and (number := connection.execute(_PUT_BACK, (left, state)).rowcount):
            transaction.move(STATE_OF[left], STATE_OF[state], number)
    _put_results_back(transaction)
    have_changed(transaction, f"SELECT seq FROM undo WHERE left_state <> {RUNNING}")
    forget(connection)
    return restored, total - restored


def _put_results_back(transaction: Transaction) -> None:
    """The lines of tasks that are finished again come last: the results file takes them as it takes new ones."""
    connection = transaction.connection
    connection.execute(
        f"INSERT INTO results (seq, line) SELECT seq, line FROM undo WHERE left_state = {PENDING} AND line IS NOT NULL"
        " ORDER BY ordinal"
    )
    if connection.execute(
        f"DELETE FROM results WHERE seq IN (SELECT seq FROM undo WHERE left_state = {CANCELLED})"
    ).rowcount:
        mark_results_changed(transaction)


def mark_results_changed(transaction: Transaction) -> None:
    """Lines that the results file may hold already are gone: it must be written anew."""
    transaction.connection.execute(
        "INSERT INTO meta (key, value) VALUES ('results_generation', '1')"
        " ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
    )
