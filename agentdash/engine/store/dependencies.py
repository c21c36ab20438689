"""What tasks wait for, kept right in the transaction of each change, however many tasks hang together.

Only a task that has succeeded is done with. One that failed or was cancelled holds all that wait for it, directly or
further away: such a pending task has the number of one that holds it in `held_by`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from agentdash.engine.store.writer import Transaction

_HAS_SUCCEEDED = """
UPDATE tasks SET waits_for = waits_for - done.number
FROM (SELECT d.seq, count(*) AS number FROM json_each(?) AS j CROSS JOIN dependencies AS d ON d.needs = j.value
    GROUP BY d.seq) AS done
WHERE tasks.seq = done.seq
"""
# Those that changed, and those that were held by them: what holds them now is looked for anew.
_HELD_BY_CHANGED = """
INSERT OR IGNORE INTO again SELECT t.seq FROM changed CROSS JOIN tasks AS t ON t.held_by = changed.seq
"""
_LET_GO = "UPDATE tasks SET held_by = NULL WHERE held_by IS NOT NULL AND seq IN (SELECT seq FROM again)"
_NEXT_TO_CHANGED = """
INSERT OR IGNORE INTO again SELECT d.seq FROM changed CROSS JOIN dependencies AS d ON d.needs = changed.seq
"""
_STARTS = """
INSERT INTO starts SELECT min(iif(needed.state = 0, needed.held_by, needed.seq)), t.seq
FROM again CROSS JOIN tasks AS t ON t.seq = again.seq AND t.state = 0 AND t.held_by IS NULL
CROSS JOIN dependencies AS d ON d.seq = t.seq CROSS JOIN tasks AS needed ON needed.seq = d.needs
WHERE needed.state IN (3, 4) OR (needed.state = 0 AND needed.held_by IS NOT NULL) GROUP BY t.seq
"""
# From where a cause begins to hold, along the dependencies, over tasks that nothing holds yet.
_HOLD = """
UPDATE tasks SET held_by = ?1 WHERE seq IN (
    WITH RECURSIVE held (seq) AS (
        SELECT t.seq FROM starts CROSS JOIN tasks AS t USING (seq) WHERE cause = ?1 AND t.held_by IS NULL
        UNION
        SELECT t.seq FROM held CROSS JOIN dependencies AS d ON d.needs = held.seq CROSS JOIN tasks AS t ON t.seq = d.seq
        WHERE t.state = 0 AND t.held_by IS NULL
    ) SELECT seq FROM held)
"""
_TABLES = (
    "CREATE TEMP TABLE IF NOT EXISTS changed (seq INTEGER PRIMARY KEY)",
    "CREATE TEMP TABLE IF NOT EXISTS again (seq INTEGER PRIMARY KEY)",
    "CREATE TEMP TABLE IF NOT EXISTS starts (cause INTEGER, seq INTEGER, PRIMARY KEY (cause, seq)) WITHOUT ROWID",
)


def are_there_any(connection: sqlite3.Connection) -> bool:
    """Whether any task waits, or has waited, for another: most projects have none, and pay nothing for it."""
    return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM dependencies)").fetchone()[0])


def have_ended(transaction: Transaction, succeeded: Sequence[int], unsuccessful: Sequence[int]) -> None:
    """Claims have ended for good: those that waited for them wait for less, or are held."""
    connection = transaction.connection
    if not (succeeded or unsuccessful) or not are_there_any(connection):
        return
    if succeeded:
        connection.execute(_HAS_SUCCEEDED, (json.dumps(succeeded),))
    if unsuccessful:
        have_changed(transaction, "SELECT value FROM json_each(?)", json.dumps(unsuccessful))


def have_changed(transaction: Transaction, query: str, *parameters: object) -> None:
    """The tasks that `query` selects are pending, failed or cancelled now, and were something else of these before (or
    running, or not there): see anew what holds them, and whom they hold."""
    connection = transaction.connection
    if not are_there_any(connection):
        return
    for table in _TABLES:
        connection.execute(table)
    for name in ("changed", "again", "starts"):
        connection.execute(f"DELETE FROM {name}")
    connection.execute(f"INSERT INTO changed {query}", parameters)
    connection.execute("INSERT INTO again SELECT seq FROM changed")
    connection.execute(_HELD_BY_CHANGED)
    transaction.counts["held"] -= connection.execute(_LET_GO).rowcount
    connection.execute(_NEXT_TO_CHANGED)
    connection.execute(_STARTS)
    for (cause,) in connection.execute("SELECT DISTINCT cause FROM starts ORDER BY cause").fetchall():
        transaction.counts["held"] += connection.execute(_HOLD, (cause,)).rowcount
