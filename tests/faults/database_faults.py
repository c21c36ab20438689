"""What happens to the database: held by another program, damaged, cut, of another version, with another's journal.

Damage is done to a copy's original: what was there is put back when the fault is healed, as from a backup, because no
program can finish what a torn database held. Judged is what was said and done until then, and that a database which is
older than the results file beside it leads to no line twice.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.fault import Excuses, Fault, register
from tests.faults.stage import Stage

_DAMAGED = "damaged database"
_KEPT = ("state.db", "state.db-wal")
_TOUCHED = (*_KEPT, "state.db-shm", "state.db-journal")

# In a process of its own: SQLite's locks are those of a process, and this one forks the program.
_HOLDER = """
import sqlite3, sys, time
path, how, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
held = sqlite3.connect(path, timeout=2, isolation_level=None)
try:
    for statement in how.split(";"):
        held.execute(statement).fetchall()
    time.sleep(seconds)
except sqlite3.Error as error:
    print(error)
"""


def _database(stage: Stage) -> Path:
    return stage.project / ".agentdash" / "state.db"


def _in_another_process(path: Path, statements: str, seconds: float = 0.0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-S", "-c", _HOLDER, str(path), statements, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@dataclass(frozen=True, slots=True)
class Held(Fault):
    """Another program opens a transaction on the database and keeps it for a while."""

    holds_s: tuple[float, float] = (0.2, 2.0)

    def strike(self, stage: Stage) -> None:
        if not _database(stage).exists():
            return
        how = stage.chance.choice((
            "BEGIN EXCLUSIVE",
            "BEGIN IMMEDIATE",
            "BEGIN IMMEDIATE; UPDATE tasks SET worker = 'theirs'",  # and is rolled back
            "BEGIN; SELECT count(*) FROM tasks",
            "PRAGMA wal_checkpoint(TRUNCATE); BEGIN IMMEDIATE",
            "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE",
        ))  # fmt: skip
        holder = _in_another_process(_database(stage), how, stage.chance.uniform(*self.holds_s))
        stage.on_close.append(holder.kill)
        stage.notes.setdefault(self.name, []).append(holder)

    def heal(self, stage: Stage) -> None:
        for holder in stage.notes.pop(self.name, []):
            holder.wait()


def _backfilled(shm: Path) -> int:
    """How many frames of the WAL are in the database already: one part of what the processes share of it."""
    data = shm.read_bytes()[:100]
    return int(struct.unpack("=I", data[96:100])[0]) if len(data) == 100 else 0


@dataclass(frozen=True, slots=True)
class Damaged(Fault):
    """Bytes of the database are not what they were. It is put back as it was when the fault is healed, and with it the
    results file: who restores the database alone is told that the file is not its own, and has to move it away.

    `at_work`: under the processes that run; otherwise all are killed before.
    """

    what: str = "bytes"
    at_work: bool = False

    def strike(self, stage: Stage) -> None:
        database = _database(stage)
        if _DAMAGED in stage.notes or not database.exists() or database.stat().st_size < 4096:
            return
        stage.deaths.extend([time.monotonic()] * 3)
        self._still(stage)
        backup = stage.folder / "backup"
        backup.mkdir(exist_ok=True)
        for name in _KEPT:
            with suppress(FileNotFoundError):
                shutil.copyfile(database.with_name(name), backup / name)
        stage.notes[_DAMAGED] = backup, stage.results()
        self._damage(stage, database)
        for actor in stage.alive:
            actor.send(signal.SIGCONT)

    def heal(self, stage: Stage) -> None:
        backup, results = stage.notes.pop(_DAMAGED, (None, b""))
        if backup is None:
            return
        for actor in stage.alive:
            stage.kill(actor)
        stage.deaths.extend([time.monotonic()] * 3)
        database = _database(stage)
        for name in _TOUCHED:
            database.with_name(name).unlink(missing_ok=True)
        for path in backup.iterdir():
            path.rename(database.with_name(path.name))
        file = stage.project / "results.jsonl"
        if file.is_file():
            with suppress(OSError):  # its own disk may be full just now: a part of it is completed by the program
                file.write_bytes(results)

    def _still(self, stage: Stage) -> None:
        """Nobody writes: they are dead, or stopped for a moment."""
        for actor in stage.alive:
            if self.at_work:
                actor.send(signal.SIGSTOP)
            else:
                stage.kill(actor)

    def _damage(self, stage: Stage, database: Path) -> None:
        chance = stage.chance
        wal = database.with_name("state.db-wal")
        path = wal if wal.exists() and wal.stat().st_size > 8192 and chance.random() < 0.5 else database
        size = path.stat().st_size
        if self.what == "bytes":
            with path.open("r+b") as file:
                for _ in range(chance.choice((1, 1, 4, 20))):
                    file.seek(0 if chance.random() < 0.1 else chance.randrange(size))
                    file.write(chance.choice((b"\0", b"\xff", b"\x05")) * chance.choice((1, 16, 300, 4096)))
            os.truncate(path, size)
        elif self.what == "cut":
            os.truncate(database, chance.choice((0, 50, 512, 4096, chance.randrange(4096, size + 1))))
        elif self.what == "foreign journal":
            self._foreign(stage, database)

    @staticmethod
    def _foreign(stage: Stage, database: Path) -> None:
        """The journal or the WAL of another database, which its program left as it was killed."""
        other = stage.folder / "other"
        other.mkdir(exist_ok=True)
        mode = stage.chance.choice(("wal", "delete"))
        with closing(sqlite3.connect(other / "other.db", isolation_level=None)) as theirs:
            theirs.execute(f"PRAGMA journal_mode = {mode}")
            theirs.execute("PRAGMA cache_size = 5")
            theirs.execute("CREATE TABLE recipes (name TEXT)")
            theirs.execute("BEGIN")
            theirs.executemany("INSERT INTO recipes VALUES (?)", [("x" * 1000,)] * 100)
            if mode == "wal":
                theirs.execute("COMMIT")
            else:
                theirs.execute("UPDATE recipes SET name = 'y'")
            for end in ("-wal", "-journal"):
                left = other / f"other.db{end}"
                if left.exists():
                    shutil.copyfile(left, database.with_name(f"state.db{end}"))
            if mode == "delete":
                theirs.execute("ROLLBACK")
        shutil.rmtree(other)


@dataclass(frozen=True, slots=True)
class WalCut(Fault):
    """All are killed, and the end of the WAL is missing, as when the power went and the disk had lied: the last that
    was durable is not. The database is an older one, whole in itself, and nothing is put back."""

    def strike(self, stage: Stage) -> None:
        database = _database(stage)
        wal, shm = database.with_name("state.db-wal"), database.with_name("state.db-shm")
        for actor in stage.alive:
            stage.kill(actor)
        if not wal.exists() or not shm.exists() or _backfilled(shm):
            return  # what is in the database already cannot be taken from the WAL without tearing both
        stage.deaths.extend([time.monotonic()] * 3)
        size = wal.stat().st_size
        # From the last quarter: the tables themselves came first.
        os.truncate(wal, stage.chance.randrange(size * 3 // 4, size + 1))
        shm.unlink()


_VERSION = """
import sqlite3, sys
print(sqlite3.connect(sys.argv[1], timeout=5).execute("PRAGMA user_version").fetchone()[0])
"""


@dataclass(frozen=True, slots=True)
class Newer(Fault):
    """A newer program has brought the database up to a version of its own, and is taken back."""

    def strike(self, stage: Stage) -> None:
        if _database(stage).exists() and self.name not in stage.notes:
            stage.notes[self.name] = version = self._version(stage)
            if version:
                self._set(stage, stage.chance.choice((version + 1, 2**31 - 1)))

    def heal(self, stage: Stage) -> None:
        if version := stage.notes.pop(self.name, None):
            self._set(stage, version)

    @staticmethod
    def _version(stage: Stage) -> int:
        command = [sys.executable, "-S", "-c", _VERSION, str(_database(stage))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return int(done.stdout or 0)

    @staticmethod
    def _set(stage: Stage, version: int) -> None:
        _in_another_process(_database(stage), f"PRAGMA busy_timeout = 20000; PRAGMA user_version = {version}").wait()


_OLD = """
import sys
from agentdash.engine.store import SqliteTaskStore, schema
schema.MIGRATIONS, schema.SCHEMA_VERSION = schema.MIGRATIONS[:1], 1
SqliteTaskStore(sys.argv[1]).close_and_wait()
"""


@dataclass(frozen=True, slots=True)
class Older(Fault):
    """The project was begun by the first version there was: whoever comes first brings it up, the others wait."""

    def prepare(self, stage: Stage) -> None:
        stage.project.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-c", _OLD, str(stage.project)], check=True, cwd=Path(__file__).parents[2])

    def strike(self, stage: Stage) -> None:
        for _ in range(stage.chance.choice((0, 1, 2))):
            stage.start()


_PLACE = frozenset({"project place"})
_LEFT = Excuses(codes=frozenset({1, 2, 3}), repeats=True, overlaps=True, busy=True)
"""A database that is put back is an older one: its tasks are asked again. In a torn one a task ends anyhow."""

register(
    Held("database locked by another program", strikes=(1, 3), lasts_s=(0.2, 2.0)),
    Held("database locked for long", strikes=(1, 1), lasts_s=(5.0, 9.0), holds_s=(5.0, 9.0),
         excuses=Excuses(codes=frozenset({1}))),
    Damaged("database damaged while nobody runs", excuses=_LEFT, excludes=_PLACE, lasts_s=(0.3, 2.0)),
    Damaged("database damaged under the run", excuses=_LEFT, excludes=_PLACE, lasts_s=(0.3, 3.0), at_work=True),
    Damaged("database cut", excuses=_LEFT, excludes=_PLACE, lasts_s=(0.3, 2.0), what="cut"),
    Damaged("journal of another database", excuses=_LEFT, excludes=_PLACE, lasts_s=(0.3, 2.0), what="foreign journal"),
    WalCut("WAL cut", excuses=Excuses(codes=frozenset({1, 2}), repeats=True), excludes=_PLACE),
    Newer("database of a newer version", excuses=Excuses(codes=frozenset({2})), excludes=_PLACE, strikes=(1, 1),
          lasts_s=(0.3, 2.0)),
    Older("database of the first version", excludes=_PLACE, strikes=(1, 1)),
)  # fmt: skip
