"""The SQLite form of the task store: WAL, one writing thread with group commit, `synchronous=FULL`."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, fields
from pathlib import Path
from typing import TypeVar

from agentdash.engine.log import LOG_NAME
from agentdash.engine.store.adding import Addition, add_batch
from agentdash.engine.store.batches import ClaimRequest, SettleRequest, claim_batch, settle_batch
from agentdash.engine.store.changes import (
    CancelRequest,
    PriorityRequest,
    RequeueRequest,
    cancel_tasks,
    prioritize_tasks,
    requeue_tasks,
)
from agentdash.engine.store.faults import translate
from agentdash.engine.store.reads import SqliteReads
from agentdash.engine.store.records import (
    AddReport,
    Claim,
    CredentialRecord,
    ProcessRecord,
    RunningTask,
    Settlement,
)
from agentdash.engine.store.schema import check_version, migrate
from agentdash.engine.store.undo import forget, undo_last
from agentdash.engine.store.writer import GroupCommitWriter, Transaction
from agentdash.engine.waiting import Write
from agentdash.errors import StoreError, StoreWriteError
from agentdash.model import Task, TaskSpec, Totals

T = TypeVar("T")
STATE_DIR = ".agentdash"
DATABASE = "state.db"
_FILES = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", "results.lock", LOG_NAME)
_OPEN_LIMIT_S = 5.0
_BUSY_SLICE = "PRAGMA busy_timeout = 250"
_MARK = ("state", "exhausted_until", "last_error", "updated_at")
_SAVE_MARK = ", ".join(
    f"{name} = iif(excluded.updated_at >= updated_at OR excluded.updated_at = 0, excluded.{name}, {name})"
    for name in _MARK
)
_SAVE_CREDENTIAL = f"""
INSERT INTO credentials ({", ".join(f.name for f in fields(CredentialRecord))})
VALUES ({", ".join("?" for _ in fields(CredentialRecord))})
ON CONFLICT (fingerprint) DO UPDATE SET name = excluded.name,
    organization = coalesce(excluded.organization, organization), pool = coalesce(excluded.pool, pool),
    cooldown_until = max(cooldown_until, excluded.cooldown_until), {_SAVE_MARK},
    requests = requests + excluded.requests, rate_limited = rate_limited + excluded.rate_limited,
    learned = iif(excluded.learned = '', learned, excluded.learned)
"""
_WAIT_AT_MOST = """
UPDATE tasks SET available_at = min(available_at - ?1, ?2) WHERE state = 0 AND available_at > 0 AND available_at > ?2
"""
_SAVE_PROCESS = f"""
INSERT OR REPLACE INTO processes ({", ".join(f.name for f in fields(ProcessRecord))}) VALUES (?, ?, ?, ?, ?, ?)
"""


class SqliteTaskStore(SqliteReads):
    """`TaskStore` in `<project>/.agentdash/state.db`.

    Raises `StoreError` where the folder or the database cannot be used; an existing database is never overwritten.
    `busy_limit_s`: how long another program may hold the database before a write fails.
    """

    shared = True

    def __init__(self, project: str | os.PathLike[str], *, create: bool = True, busy_limit_s: float = 30.0) -> None:
        self.path = Path(project) / STATE_DIR / DATABASE
        prepare_folder(self.path.parent, create=create)
        if not create and not self.path.exists():
            raise StoreError(
                f"There is no agentdash project in {project}.", hint="Start one with `agentdash run TASKS --project …`."
            )
        writer = _open(self.path)
        try:
            self._identity = _identity(self.path)
            migrate(writer, str(self.path))
            reader = _open(self.path)
            writer.execute(_BUSY_SLICE)
            writer.execute("PRAGMA temp.auto_vacuum = FULL")  # what is kept for an undo is given free after it
            reader.execute(_BUSY_SLICE)
            reader.execute("PRAGMA query_only = 1")
        except sqlite3.Error as error:
            writer.close()
            raise translate(error, self.path) from error
        except BaseException:
            writer.close()
            raise
        super().__init__(reader)
        self._connection = writer
        self.writer = GroupCommitWriter(writer, self.path, busy_limit_s=busy_limit_s)

    async def add(
        self, specs: Iterable[TaskSpec], sources: Mapping[str, str] | None = None, *, skip_conflicts: bool = False
    ) -> AddReport:
        report: AddReport = await self.writer.submit(
            add_batch, Addition(specs, sources or {}, skip_conflicts), alone=True
        )
        return report

    def claim(self, task: Task, owner: str, worker: str, now: float) -> Write[bool]:
        return self.writer.submit(claim_batch, ClaimRequest(task.seq, task.fence, worker, owner, now))

    def claim_and_wait(self, task: Task, owner: str, worker: str, now: float) -> bool:
        """`claim` for callers without an event loop."""
        request = ClaimRequest(task.seq, task.fence, worker, owner, now)
        return bool(self.writer.submit_and_wait(claim_batch, request))

    def settle(self, claim: Claim, settlement: Settlement) -> Write[bool]:
        return self.writer.submit(settle_batch, SettleRequest.of(claim, settlement))

    def settle_and_wait(self, claim: Claim, settlement: Settlement) -> bool:
        """`settle` for callers without an event loop."""
        settled: bool = self.writer.submit_and_wait(settle_batch, SettleRequest.of(claim, settlement))
        return settled

    async def reclaim(self, running: RunningTask, settlement: Settlement) -> bool:
        settled: bool = await self.writer.submit(settle_batch, SettleRequest(running.seq, running.fence, settlement))
        return settled

    async def requeue(self, ids: Sequence[str] | None, *, error_contains: str | None = None) -> int:
        return await self._run(lambda tx: requeue_tasks(tx, RequeueRequest(ids, error_contains)))

    async def cancel(self, ids: Sequence[str], now: float) -> tuple[int, int]:
        return await self._run(lambda tx: cancel_tasks(tx, CancelRequest(ids, now)))

    async def prioritize(self, ids: Sequence[str], *, to: int | None = None, by: int = 0) -> int:
        return await self._run(lambda tx: prioritize_tasks(tx, PriorityRequest(ids, to, by)))

    async def undo(self) -> tuple[int, int]:
        # Alone, and so after every write that was begun before it: how a stopped task ended is known by then.
        done: tuple[int, int] = await self.writer.submit(_apply, undo_last, alone=True)
        return done

    async def drop_undo(self) -> None:
        await self._run(lambda tx: forget(tx.connection))

    async def add_totals(self, totals: Totals) -> None:
        await self._run(lambda tx: tx.spend(totals))

    async def save_credentials(self, records: Sequence[CredentialRecord], active: str | None) -> None:
        def save(transaction: Transaction) -> None:
            transaction.connection.executemany(_SAVE_CREDENTIAL, [astuple(record) for record in records])
            if active is not None:
                transaction.connection.execute(
                    "INSERT OR REPLACE INTO meta (key, value) VALUES ('active_credential', ?)", (active,)
                )

        await self._run(save)

    async def clock_went_back(self, seconds: float, longest: float) -> None:
        def correct(transaction: Transaction) -> None:
            transaction.connection.execute(_WAIT_AT_MOST, (seconds, longest))
            transaction.connection.execute("UPDATE credentials SET cooldown_until = cooldown_until - ?", (seconds,))

        await self._run(correct)

    async def save_process(self, record: ProcessRecord) -> None:
        await self._run(lambda tx: tx.connection.execute(_SAVE_PROCESS, astuple(record)).rowcount)

    async def drop_process(self, owner: str) -> None:
        await self._run(lambda tx: tx.connection.execute("DELETE FROM processes WHERE owner = ?", (owner,)).rowcount)

    def check_place(self) -> None:
        """Raise `StoreWriteError` if another file, or none, stands where this database was opened.

        SQLite writes on into a file that was deleted or moved away: everything would seem well, and be lost.
        """
        if _identity(self.path) != self._identity:
            raise StoreWriteError(
                f"The project's database {self.path} was deleted, moved or replaced while it was in use.",
                hint="Put it back, or start anew: what finished since then is asked for again.",
            )

    def run_and_wait(self, change: Callable[[Transaction], T]) -> T:
        """Run one change in a transaction and block until it is durable; for threads of their own."""
        result: T = self.writer.submit_and_wait(_apply, change)
        return result

    async def close(self) -> None:
        self.close_and_wait()

    def close_and_wait(self) -> None:
        """Commit what is queued and close both connections; the store cannot be used after."""
        self.writer.close()
        self._reader.close()
        self._connection.close()

    async def _run(self, change: Callable[[Transaction], T]) -> T:
        result: T = await self.writer.submit(_apply, change)
        return result


def _apply(transaction: Transaction, changes: Sequence[Callable[[Transaction], T]]) -> list[T]:
    return [change(transaction) for change in changes]


def prepare_folder(folder: Path, *, create: bool) -> None:
    """Make the state folder (0700), or refuse one that is not safely ours. Raises `StoreError`."""
    try:
        if create:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        elif not folder.exists():
            return
    except OSError as error:
        raise StoreError(
            f"The project folder {folder.parent} cannot be written: {error.strerror}.",
            hint="Choose another folder with --project, or mend its permissions, mount or free space.",
        ) from None
    if folder.is_symlink() or not folder.is_dir():
        raise StoreError(f"{folder} is not a plain folder.", hint="Remove it, or choose another --project.")
    if hasattr(os, "getuid"):
        status = folder.stat()
        if status.st_uid != os.getuid():
            raise StoreError(f"{folder} belongs to another user.", hint="Choose another folder with --project.")
        if status.st_mode & 0o077:  # made by hand, or unpacked from an archive
            with suppress(OSError):  # a read-only disk is refused with better words when the database is opened
                folder.chmod(0o700)
    for path in (folder / name for name in _FILES):
        with suppress(OSError):
            if not stat.S_ISREG(path.lstat().st_mode):  # never written through a link, nor waited for at a pipe
                raise StoreError(f"{path} is not a plain file.", hint="Remove it, or choose another --project.")


def _identity(path: Path) -> tuple[int, int] | None:
    """The file that the path leads to; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_file(path: Path) -> None:
    """Make the file, for its owner only: SQLite gives the WAL files the mode of the database file.

    A file that is there is not opened, ever: closing it would drop every POSIX lock this process has on it, those of
    its SQLite connections too. Another process would then take itself for the last one and delete the WAL under us.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))
    except FileExistsError:
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path)) from None


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait by itself where two that open a new database do this at once."""
    deadline = time.monotonic() + _OPEN_LIMIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _open(path: Path) -> sqlite3.Connection:
    try:
        _make_file(path)
        connection = sqlite3.connect(path, timeout=0.25, isolation_level=None, check_same_thread=False)
    except OSError as error:
        raise StoreError(
            f"The database {path} cannot be opened for writing: {error.strerror}.",
            hint="Choose another folder with --project, or mend its permissions, mount or free space.",
        ) from None
    try:
        connection.execute(f"PRAGMA busy_timeout = {_OPEN_LIMIT_S * 1000:.0f}")  # another process may be migrating
        check_version(connection, str(path))  # before the first write, of which journal_mode is one
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    except sqlite3.Error as error:
        connection.close()
        raise translate(error, path) from error
    except BaseException:
        connection.close()
        raise
    return connection
