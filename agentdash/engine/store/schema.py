"""The SQLite schema and its migrations. A database from a newer program is refused, an older one is brought up."""

from __future__ import annotations

import sqlite3

from agentdash.errors import StoreError

APPLICATION_ID = 0x61676473  # "agds": tells our database from any other SQLite file

_VERSION_1 = """
CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    body_hash BLOB NOT NULL,
    batch INTEGER NOT NULL,
    priority INTEGER NOT NULL DEFAULT 0,
    state INTEGER NOT NULL DEFAULT 0,
    available_at REAL NOT NULL DEFAULT 0,
    fence INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    service_failures INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    owner TEXT,
    worker TEXT,
    claimed_at REAL,
    finished_at REAL,
    error_type TEXT,
    error_message TEXT
);
CREATE INDEX tasks_ready ON tasks (priority DESC, seq) WHERE state = 0;
-- Those that wait for a retry: few, and asked for their first whenever workers idle.
CREATE INDEX tasks_waiting ON tasks (available_at) WHERE state = 0 AND available_at > 0;
CREATE INDEX tasks_running ON tasks (owner) WHERE state = 1;
CREATE INDEX tasks_failed ON tasks (seq) WHERE state = 3;
CREATE INDEX tasks_cancelled ON tasks (seq) WHERE state = 4;

-- Apart from `tasks`, so that a change of state never rewrites a prompt of megabytes.
CREATE TABLE bodies (seq INTEGER PRIMARY KEY, body TEXT NOT NULL);

-- AUTOINCREMENT: an ordinal is never used again, so the results file can follow by "ordinal greater than the last".
CREATE TABLE results (ordinal INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER NOT NULL UNIQUE, line TEXT NOT NULL);

CREATE TABLE attempts (
    seq INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    worker TEXT NOT NULL,
    credential TEXT,
    organization TEXT,
    started_at REAL NOT NULL,
    finished_at REAL NOT NULL,
    outcome TEXT NOT NULL,
    error_type TEXT,
    error_message TEXT,
    request_id TEXT,
    PRIMARY KEY (seq, fence)
) WITHOUT ROWID;

-- One row: tasks by state and what the run has used, kept in the transaction of each change, so never counted.
CREATE TABLE totals (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    pending INTEGER NOT NULL DEFAULT 0,
    running INTEGER NOT NULL DEFAULT 0,
    succeeded INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    requests INTEGER NOT NULL DEFAULT 0,
    rate_limited INTEGER NOT NULL DEFAULT 0,
    retries INTEGER NOT NULL DEFAULT 0,
    recoveries INTEGER NOT NULL DEFAULT 0,
    rotations INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cost_usd REAL NOT NULL DEFAULT 0,
    elapsed_s REAL NOT NULL DEFAULT 0,
    additions INTEGER NOT NULL DEFAULT 0
);
INSERT INTO totals (one) VALUES (1);

CREATE TABLE credentials (
    fingerprint TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    organization TEXT,
    pool TEXT,
    cooldown_until REAL NOT NULL,
    state TEXT NOT NULL,
    exhausted_until REAL NOT NULL,
    last_error TEXT,
    requests INTEGER NOT NULL,
    rate_limited INTEGER NOT NULL,
    updated_at REAL NOT NULL
);
CREATE TABLE processes (
    owner TEXT PRIMARY KEY,
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    started_at REAL NOT NULL,
    seen_at REAL NOT NULL,
    report TEXT NOT NULL
);
CREATE TABLE sources (path TEXT PRIMARY KEY, stamp TEXT NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

_VERSION_2 = """
-- What was learned of the limits of the credential's pool: a JSON object, '' if nothing.
ALTER TABLE credentials ADD COLUMN learned TEXT NOT NULL DEFAULT '';
"""

_VERSION_3 = """
-- What all attempts at the task have cost, as far as that is known.
ALTER TABLE tasks ADD COLUMN cost_usd REAL NOT NULL DEFAULT 0;
"""

_VERSION_4 = """
-- What a task waits for. `waits_for` counts those of its dependencies that have not succeeded, and `held_by` names a
-- failed or cancelled task, direct or further away, that keeps a pending one from ever being ready; NULL if none does.
-- `locks` are the names of the resources it needs for itself, one a line; NULL if it needs none.
ALTER TABLE tasks ADD COLUMN waits_for INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN held_by INTEGER;
ALTER TABLE tasks ADD COLUMN locks TEXT;
ALTER TABLE totals ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
CREATE TABLE dependencies (seq INTEGER NOT NULL, needs INTEGER NOT NULL, PRIMARY KEY (seq, needs)) WITHOUT ROWID;
CREATE INDEX dependencies_needs ON dependencies (needs, seq);
CREATE INDEX tasks_held ON tasks (held_by) WHERE held_by IS NOT NULL;
-- The queue's order: what may run before what waits. Of one priority those that need a resource come first, as only one
-- of them can run at a time; and so those that need none stand together, whatever stands before them.
DROP INDEX tasks_ready;
CREATE INDEX tasks_ready ON tasks (waits_for > 0, priority DESC, locks IS NULL, seq) WHERE state = 0;
CREATE INDEX tasks_locked ON tasks (locks, priority DESC, seq) WHERE state = 0 AND waits_for = 0 AND locks IS NOT NULL;
"""

MIGRATIONS: tuple[str, ...] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4)
"""Script N brings version N to N + 1. Never edited once released: add another."""

SCHEMA_VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, where: str) -> None:
    """Bring the database up to `SCHEMA_VERSION` in one transaction.

    Raises `StoreError` for a database of a newer version or of another program; neither is touched.
    """
    # Read outside a transaction first: a database that is up to date must not need the write lock.
    if check_version(connection, where) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for script in MIGRATIONS[check_version(connection, where) :]:
            for statement in _statements(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_version(connection: sqlite3.Connection, where: str) -> int:
    """The database's version. Writes nothing; raises `StoreError` for one of a newer version or of another program."""
    alone = not connection.in_transaction
    if alone:
        connection.execute("BEGIN")  # one moment for all three: another process may be making the tables
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        application: int = connection.execute("PRAGMA application_id").fetchone()[0]
        tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    finally:
        if alone and connection.in_transaction:
            connection.execute("ROLLBACK")
    if tables and application != APPLICATION_ID:
        raise StoreError(
            f"{where} is an SQLite database of another program.",
            hint="It was left as it is. Choose another folder with --project.",
        )
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{where} was written by a newer agentdash (schema {version}, this one knows {SCHEMA_VERSION}).",
            hint="It was left as it is. Upgrade agentdash, or choose another folder with --project.",
        )
    return version


def _statements(script: str) -> list[str]:
    """The script's statements one by one: `executescript` would commit the open transaction."""
    statements: list[str] = []
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
