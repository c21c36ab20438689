"""Adding a stream of tasks to the database: all of it or nothing, a million lines with flat memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from agentdash.engine.store.codes import SUCCEEDED, join_locks
from agentdash.engine.store.conflicts import Conflicts
from agentdash.engine.store.dependencies import have_changed
from agentdash.engine.store.links import Links
from agentdash.engine.store.records import AddReport
from agentdash.engine.store.writer import Transaction
from agentdash.model import TaskSpec, TaskState

_CHUNK = 2000
_PARAMETERS = 900
"""Below the 999 bound parameters that older SQLite builds allow in one statement."""
_WAITS_FOR = f"""
UPDATE tasks SET waits_for = open.number
FROM (SELECT d.seq, count(*) AS number FROM dependencies AS d JOIN tasks AS t ON t.seq = d.needs
    WHERE d.seq > ? AND t.state <> {SUCCEEDED} GROUP BY d.seq) AS open
WHERE tasks.seq = open.seq
"""


class Addition(NamedTuple):
    """One request to add: the stream, the stamps of its files, and whether conflicts are left out or refuse it all."""

    specs: Iterable[TaskSpec]
    sources: Mapping[str, str]
    skip_conflicts: bool


def add_batch(transaction: Transaction, requests: Sequence[Addition]) -> list[AddReport]:
    """Add each stream. Raises `BadInputError` (and the caller rolls back) for duplicates and changed tasks."""
    return [_add(transaction, request) for request in requests]


def _add(transaction: Transaction, request: Addition) -> AddReport:
    connection = transaction.connection
    batch = _next_batch(connection)
    seq = last = int(connection.execute("SELECT coalesce(max(seq), 0) FROM tasks").fetchone()[0])
    links = Links()
    conflicts = Conflicts()
    added = known = 0
    all_new = True  # until an id is met twice, looking each one up first would be a third of the work
    stream = iter(request.specs)
    while chunk := list(islice(stream, _CHUNK)):
        new: list[TaskSpec] = chunk
        seen: list[TaskSpec] = []
        all_new = all_new and _insert_new(connection, chunk, seq, batch)
        if not all_new:
            new, seen = _sort_out(connection, chunk, batch, conflicts)
            _insert(connection, new, seq, batch)
            # Marks the known ones as met in this file, so that a second line of the same id is a duplicate.
            connection.executemany("UPDATE tasks SET batch = ? WHERE id = ?", [(batch, s.id) for s in seen])
        links.note(seq + 1, new)
        seq += len(new)
        added += len(new)
        known += len(seen)
    if not request.skip_conflicts:
        conflicts.raise_if_any()
    if links.specs:
        added -= _link(transaction, links, conflicts, last, skip_conflicts=request.skip_conflicts)
    transaction.move(None, TaskState.PENDING, added)
    connection.executemany("INSERT OR REPLACE INTO sources (path, stamp) VALUES (?, ?)", list(request.sources.items()))
    return AddReport(added, known, conflicts.count, tuple(conflicts.lines))


def _link(transaction: Transaction, links: Links, conflicts: Conflicts, last: int, *, skip_conflicts: bool) -> int:
    """Write down what the tasks after number `last` wait for; returns how many had to be taken out again."""
    connection = transaction.connection
    seq_of: dict[str, int] = {}
    ids = links.ids()
    while chunk := list(islice(ids, _CHUNK)):
        rows = connection.execute(
            "SELECT tasks.id, seq FROM json_each(?) AS j CROSS JOIN tasks ON tasks.id = j.value", (json.dumps(chunk),)
        )
        seq_of.update(rows.fetchall())
    kept, left_out = links.check(seq_of, conflicts, tell_all=skip_conflicts)
    if not skip_conflicts:
        conflicts.raise_if_any()
    for table in ("tasks", "bodies"):
        connection.executemany(f"DELETE FROM {table} WHERE seq = ?", [(seq,) for seq in left_out])
    connection.executemany("INSERT OR IGNORE INTO dependencies (seq, needs) VALUES (?, ?)", kept)
    connection.execute(_WAITS_FOR, (last,))
    have_changed(transaction, "SELECT DISTINCT seq FROM dependencies WHERE seq > ?", last)
    return len(left_out)


def _next_batch(connection: sqlite3.Connection) -> int:
    connection.execute("UPDATE totals SET additions = additions + 1")
    return int(connection.execute("SELECT additions FROM totals").fetchone()[0])


def _insert_new(connection: sqlite3.Connection, chunk: Sequence[TaskSpec], seq: int, batch: int) -> bool:
    """Insert a chunk none of whose ids is known; False, and nothing is inserted, if one is."""
    connection.execute("SAVEPOINT chunk")
    try:
        _insert(connection, chunk, seq, batch)
    except sqlite3.IntegrityError:
        connection.execute("ROLLBACK TO chunk")
        return False
    finally:
        connection.execute("RELEASE chunk")
    return True


def _insert(connection: sqlite3.Connection, specs: Sequence[TaskSpec], seq: int, batch: int) -> None:
    connection.executemany(
        "INSERT INTO tasks (seq, id, body_hash, batch, priority, locks) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (seq + n, s.id, s.body_hash, batch, s.priority, join_locks(s.locks) if s.locks else None)
            for n, s in enumerate(specs, 1)
        ],
    )
    connection.executemany(
        "INSERT INTO bodies (seq, body) VALUES (?, ?)", [(seq + n, s.body) for n, s in enumerate(specs, 1)]
    )


def _sort_out(
    connection: sqlite3.Connection, chunk: Sequence[TaskSpec], batch: int, conflicts: Conflicts
) -> tuple[list[TaskSpec], list[TaskSpec]]:
    """Split a chunk into new and known tasks; what is neither goes to `conflicts`."""
    known = _known(connection, [spec.id for spec in chunk])
    new: list[TaskSpec] = []
    seen: list[TaskSpec] = []
    for original in chunk:
        spec = original
        while (found := known.get(spec.id)) and found[1] == batch and original.auto_id:
            # The same line once more, without an id: another task of the same content, not a mistake.
            spec = conflicts.rename(original)
            if spec.id not in known:
                known |= _known(connection, [spec.id])
        if found is None:
            new.append(spec)
            known[spec.id] = (spec.body_hash, batch)
        elif found[1] == batch:
            conflicts.duplicate(spec)
        elif found[0] != spec.body_hash:
            conflicts.changed(spec)
        else:
            seen.append(spec)
            known[spec.id] = (spec.body_hash, batch)
    return new, seen


def _known(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[bytes, int]]:
    found: dict[str, tuple[bytes, int]] = {}
    for start in range(0, len(ids), _PARAMETERS):
        part = ids[start : start + _PARAMETERS]
        marks = ", ".join("?" * len(part))
        rows = connection.execute(f"SELECT id, body_hash, batch FROM tasks WHERE id IN ({marks})", part)
        found.update((task_id, (body_hash, batch)) for task_id, body_hash, batch in rows)
    return found
