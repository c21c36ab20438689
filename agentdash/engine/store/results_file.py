"""Keeps the results file equal to the database, whatever happens on the way.

The database is the truth. The file's length and the last ordinal in it are kept in the database; what a crash left
beyond that length is cut off, what is missing is appended. One process at a time writes, under a lock.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from agentdash.engine.store.faults import translate
from agentdash.engine.store.sqlite import SqliteTaskStore
from agentdash.engine.store.writer import Transaction
from agentdash.errors import StoreError, StoreWriteError

_CHUNK_LINES = 2000
_CHUNK_BYTES = 8 * 2**20
_TAIL = 4096
_BEGINNING = b'{"custom_id":'
_KEY = "results:"


@dataclass(frozen=True, slots=True)
class _Position:
    """How far a results file has come: kept in `meta` under its path.

    `replaces`: what the file was before, while it is not certain that the new one has taken its place.
    """

    offset: int = 0
    ordinal: int = 0
    generation: int = 0
    tail_crc: int = 0
    replaces: _Position | None = None

    def matches(self, descriptor: int) -> bool:
        """Whether the file begins as it was left at this position."""
        return os.fstat(descriptor).st_size >= self.offset and _tail_crc(descriptor, self.offset) == self.tail_crc


class ResultsFile:
    """One results file of one store. `sync()` brings it up to date; call it from one thread at a time.

    Raises `StoreError` for an existing file that this project did not write: it is never overwritten.
    """

    def __init__(self, store: SqliteTaskStore, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.realpath(path))  # the file itself: replacing it must not replace a link to it
        # One name for all processes, which the lock keeps apart: what a crash leaves here is used up by the next.
        self._temporary = self.path.with_name(f".{self.path.name}.agentdash.tmp")
        self._store = store
        self._key = _key(self.path)
        self._database = sqlite3.connect(store.path, timeout=30, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA query_only = 1")

    def close(self) -> None:
        """Close its connection; the file needs nothing."""
        self._database.close()

    def check(self) -> None:
        """Raise `StoreError` now if the file cannot be ours or cannot be written, before any task runs."""
        with self._exclusive(), self._open() as descriptor:
            self._verify(descriptor)

    def sync(self) -> int:
        """Append what is new (or write the file anew after a requeue); returns how many lines were written."""
        with self._exclusive(), self._open() as descriptor:
            position = self._verify(descriptor)
            generation = int(self._meta("results_generation") or 0)
            if position is None:
                os.ftruncate(descriptor, 0)
                return self._rewrite(generation, _Position())
            if generation != position.generation:
                return self._rewrite(generation, position)
            if position.replaces is not None:  # killed before the new one was in its place: the old begins alike
                self._temporary.unlink(missing_ok=True)
            if os.fstat(descriptor).st_size > position.offset:
                os.ftruncate(descriptor, position.offset)
            return self._append(descriptor, position)

    def _append(self, descriptor: int, position: _Position) -> int:
        written = 0
        for ordinal, block, lines in self._blocks(position.ordinal):
            _write_all(descriptor, block, position.offset)
            os.fsync(descriptor)
            offset = position.offset + len(block)
            position = _Position(offset, ordinal, position.generation, _tail_crc(descriptor, offset))
            self._save(position)
            written += lines
        return written

    def _rewrite(self, generation: int, before: _Position) -> int:
        """Build the whole file beside the old one and put it in its place at once."""
        temporary = self._temporary
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            offset = ordinal = written = 0
            for last, block, lines in self._blocks(0):
                _write_all(descriptor, block, offset)
                offset, ordinal, written = offset + len(block), last, written + lines
            os.fsync(descriptor)
            position = _Position(offset, ordinal, generation, _tail_crc(descriptor, offset))
            # Told before it is done: after a crash between the two, either file is known as ours.
            self._save(replace(position, replaces=replace(before, replaces=None)))
            temporary.replace(self.path)
            _sync_folder(self.path.parent)
            self._save(position)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        return written

    def _blocks(self, after: int) -> Iterator[tuple[int, bytes, int]]:
        """The lines after an ordinal, in blocks of bounded size: (last ordinal, bytes, number of lines)."""
        while True:
            lines: list[bytes] = []
            size = 0
            cursor = self._database.execute(
                "SELECT ordinal, line FROM results WHERE ordinal > ? ORDER BY ordinal LIMIT ?", (after, _CHUNK_LINES)
            )
            for ordinal, line in cursor:
                encoded = f"{line}\n".encode()
                lines.append(encoded)
                size += len(encoded)
                after = ordinal
                if size >= _CHUNK_BYTES:
                    break
            cursor.close()
            if not lines:
                return
            yield after, b"".join(lines), len(lines)

    def _verify(self, descriptor: int) -> _Position | None:
        """The position from which the file continues; None means that it is gone or shorter and must be rebuilt."""
        status = os.fstat(descriptor)
        size = status.st_size
        position = self._position()
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{self.path} is not a plain file.", hint="Name another with --results.")
        if self._meta(self._key) is None:
            if size:
                raise StoreError(
                    f"{self.path} holds something that this project did not write.",
                    hint="Move it away, or name another file with --results. It was left as it is.",
                )
            self._save(position)  # from now on it is ours, also if a crash leaves a part of the first block in it
            return position
        # Zeros: the file had grown, but was not written, when the power went.
        head = os.pread(descriptor, len(_BEGINNING), 0).rstrip(b"\0")
        ours = _BEGINNING.startswith(head)
        if ours and position.matches(descriptor):
            return position
        if ours and position.replaces is not None and position.replaces.matches(descriptor):
            return position.replaces
        if ours and size < position.offset:
            return None
        raise StoreError(
            f"{self.path} was changed by another program since the last run.",
            hint="Move it away: the next run writes it anew from the database.",
        )

    def _position(self) -> _Position:
        text = self._meta(self._key)
        found = json.loads(text) if text else {}
        if before := found.get("replaces"):
            found["replaces"] = _Position(**before)
        return _Position(**found)

    def _save(self, position: _Position) -> None:
        def save(transaction: Transaction) -> None:
            transaction.connection.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (self._key, json.dumps(asdict(position)))
            )

        self._store.run_and_wait(save)

    def _meta(self, key: str) -> str | None:
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    @contextmanager
    def _open(self) -> Iterator[int]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"The results file {self.path} cannot be written: {error.strerror}.",
                hint="Name another with --results.",
            ) from None
        try:
            yield descriptor
        except OSError as error:
            raise StoreWriteError(
                f"The results file {self.path} cannot be written: {error.strerror}.",
                hint="Nothing is lost: the next run completes it from the database.",
            ) from None
        finally:
            os.close(descriptor)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One writer at a time among the processes of the project."""
        path = self._store.path.with_name("results.lock")
        self._store.check_place()
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreWriteError(f"{path} cannot be opened: {error.strerror}.", hint="Nothing is lost.") from None
        try:
            _lock(descriptor)
            self._store.check_place()  # who waited may have waited in a folder that has gone since
            yield
        except sqlite3.Error as error:
            raise translate(error, self._store.path) from error
        finally:
            os.close(descriptor)


def results_paths(store: SqliteTaskStore) -> list[Path]:
    """The results files that this project has written, wherever they are."""
    with closing(sqlite3.connect(store.path, timeout=30)) as database:
        rows = database.execute("SELECT key FROM meta WHERE key LIKE ?", (f"{_KEY}%",)).fetchall()
    return [_path(key) for (key,) in rows]


def _key(path: Path) -> str:
    """Under which name a file's position is kept. A path that is no UTF-8 is written in hex, behind a `%`."""
    name = str(path)
    return f"{_KEY}{name}" if not any("\ud800" <= c <= "\udfff" for c in name) else f"{_KEY}%{os.fsencode(path).hex()}"


def _path(key: str) -> Path:
    name = key.removeprefix(_KEY)
    return Path(os.fsdecode(bytes.fromhex(name[1:])) if name.startswith("%") else name)


def _lock(descriptor: int) -> None:
    if os.name == "nt":  # pragma: no cover - not run here
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, where the system has a way to."""
    if os.name == "nt":  # pragma: no cover - not run here
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, offset)
        view, offset = view[done:], offset + done


def _tail_crc(descriptor: int, end: int) -> int:
    start = max(0, end - _TAIL)
    return zlib.crc32(os.pread(descriptor, end - start, start))
