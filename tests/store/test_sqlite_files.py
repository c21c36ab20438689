"""The database as a file: what is refused and left as it was, what modes it has, and how it is brought up to date."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentdash.engine.store import CredentialRecord, SqliteTaskStore, schema
from agentdash.engine.store import sqlite as sqlite_module
from agentdash.engine.store.results_file import ResultsFile
from agentdash.errors import StoreError, StoreWriteError
from agentdash.model import Counts, TaskState
from tests.support.disks import Mount, mountable
from tests.support.stored import NOW, check, run, spec, specs, task_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    with mountable(tmp_path) as mount:
        yield mount


def database(project: Path) -> Path:
    return project / ".agentdash" / "state.db"


async def fill(project: Path, number: int = 200) -> None:
    store = SqliteTaskStore(project)
    await store.add(specs(number))
    await run(store, "t1")
    await store.close()


def refuse(project: Path, words: str) -> StoreError:
    """Opening is refused in these words, and the database is left as it was."""
    before = database(project).read_bytes()
    with pytest.raises(StoreError, match=words) as caught:
        SqliteTaskStore(project)
    assert database(project).read_bytes() == before
    assert caught.value.hint
    return caught.value


# -- databases that are refused --------------------------------------------------------------------------------------
@pytest.mark.parametrize("content", [b"these are no pages\n" * 500, b"\0" * 4096, b"xy"])
def test_a_file_that_is_no_database(project: Path, content: bytes) -> None:
    database(project).parent.mkdir(parents=True)
    database(project).write_bytes(content)
    refuse(project, "is corrupt")


async def test_a_broken_first_page(project: Path) -> None:
    await fill(project)
    with database(project).open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)
    refuse(project, "is corrupt")


async def test_damage_that_shows_later_is_told_as_such(project: Path) -> None:
    await fill(project)
    with closing(sqlite3.connect(database(project))) as connection:
        roots = [page for (page,) in connection.execute("SELECT rootpage FROM sqlite_master WHERE rootpage > 0")]
    with database(project).open("r+b") as file:  # all but the schema's own pages, which are read at once
        for page in roots:
            file.seek(4096 * (page - 1))
            file.write(b"\xff" * 4096)
    before = database(project).read_bytes()
    store = SqliteTaskStore(project)
    results = ResultsFile(store, project / "results.jsonl")
    for read in (store.counts, lambda: store.find("t1"), lambda: list(store.tasks()), results.sync, results.check):
        with pytest.raises(StoreError, match="is corrupt"):
            read()
    with pytest.raises(StoreError, match="is corrupt"):
        await store.cancel(["t1"], 0)
    results.close()
    await store.close()
    assert database(project).read_bytes() == before


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_of_another_program(project: Path, mode: str) -> None:
    database(project).parent.mkdir(parents=True)
    with closing(sqlite3.connect(database(project))) as other:
        other.execute(f"PRAGMA journal_mode = {mode}")
        other.execute("CREATE TABLE recipes (name TEXT)")
        other.commit()
    refuse(project, "of another program")
    with closing(sqlite3.connect(database(project))) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == (mode,)


async def test_a_newer_database(project: Path) -> None:
    await fill(project)
    with closing(sqlite3.connect(database(project))) as newer:
        newer.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
    error = refuse(project, f"newer agentdash .schema {schema.SCHEMA_VERSION + 1}")
    assert "Upgrade" in (error.hint or "")


# -- migration -------------------------------------------------------------------------------------------------------
async def test_an_older_database_is_brought_up(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(project)
    new = (
        "ALTER TABLE tasks ADD COLUMN colour TEXT NOT NULL DEFAULT 'semi;colon';\nCREATE TABLE more (\n  a INTEGER\n);",
        "INSERT INTO more VALUES (1);\n-- a comment; with a semicolon\nINSERT INTO more VALUES (2);\n",
    )
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS + new)
        patch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 2)
        for _ in range(2):  # the second time there is nothing to do
            store = SqliteTaskStore(project)
            assert store.counts() == Counts(pending=199, succeeded=1)
            await store.close()
        with closing(sqlite3.connect(database(project))) as connection:
            assert connection.execute("SELECT sum(a), count(*) FROM more").fetchone() == (3, 2)
            assert connection.execute("SELECT DISTINCT colour FROM tasks").fetchall() == [("semi;colon",)]
            assert connection.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA_VERSION,)
    refuse(project, "newer agentdash")


_KEYS_OF_1 = """INSERT INTO credentials (fingerprint, name, organization, pool, cooldown_until, state, exhausted_until,
    last_error, requests, rate_limited, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


def _fill_old(project: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[object, ...]]]:
    """A project of an older version with 199 pending tasks and one that succeeded; returns every row by table."""
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:version])
        patch.setattr(schema, "SCHEMA_VERSION", version)
        SqliteTaskStore(project).close_and_wait()
    line = json.dumps({"custom_id": "t1"})
    with closing(sqlite3.connect(database(project))) as old, old:
        assert old.execute("PRAGMA user_version").fetchone() == (version,)
        old.executemany(
            "INSERT INTO tasks (seq, id, body_hash, batch, priority, state) VALUES (?, ?, ?, 1, ?, ?)",
            [(n, s.id, s.body_hash, n % 3, 2 if n == 1 else 0) for n, s in enumerate(specs(200), 1)],
        )
        bodies = [(n, s.body) for n, s in enumerate(specs(200), 1)]
        old.executemany("INSERT INTO bodies (seq, body) VALUES (?, ?)", bodies)
        old.execute("INSERT INTO results (seq, line) VALUES (1, ?)", (line,))
        old.execute("UPDATE totals SET pending = 199, succeeded = 1")
        old.executemany(_KEYS_OF_1, _KEYS)
        old.execute("INSERT INTO meta (key, value) VALUES ('active_credential', 'f2')")
    return _rows(project)


def _rows(project: Path, columns: dict[str, list[str]] | None = None) -> dict[str, list[tuple[object, ...]]]:
    """What each table holds, of these columns; the first row of each are the names of the columns."""
    found: dict[str, list[tuple[object, ...]]] = {}
    with closing(sqlite3.connect(database(project))) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables if columns is None else columns:
            names = columns[table] if columns else [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            rows = connection.execute(f"SELECT {', '.join(names)} FROM {table}").fetchall()
            found[table] = [tuple(names), *rows]
    return found


_KEYS = [
    ("f1", "key-1", "org", "pool", 60.0, "ready", 0.0, None, 10, 2, 5.0),
    ("f2", "key-2", None, None, 0.0, "exhausted", 99.0, "no credit", 1, 0, 6.0),
]


@pytest.mark.parametrize("version", range(1, schema.SCHEMA_VERSION))
async def test_a_project_of_an_older_version_loses_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """A project whose tasks ran, and whose keys were known, before limits were learned, costs kept, tasks waited."""
    before = _fill_old(project, version, monkeypatch)
    store = SqliteTaskStore(project)
    assert _rows(project, {table: [str(name) for name in rows[0]] for table, rows in before.items()}) == before
    assert store.credentials() == [CredentialRecord(*key) for key in _KEYS]
    assert {record.learned for record in store.credentials()} == {""}
    assert store.active_credential() == "f2"
    assert store.counts() == Counts(pending=199, succeeded=1)
    check(store)
    assert [ready.id for ready in store.ready(2, NOW)] == ["t2", "t5"]
    await store.save_credentials([CredentialRecord("f1", "key-1", learned="{}", updated_at=5.0)], None)
    assert [record.learned for record in store.credentials()] == ["{}", ""]
    await store.close()
    with closing(sqlite3.connect(database(project))) as now:
        now.execute(_KEYS_OF_1, ("f3", *_KEYS[0][1:]))  # a run of before that is still at work
        assert now.execute("SELECT learned FROM credentials WHERE fingerprint = 'f3'").fetchone() == ("",)


async def test_tasks_of_an_older_version_can_be_waited_for(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fill_old(project, schema.SCHEMA_VERSION - 1, monkeypatch)
    store = SqliteTaskStore(project)
    await store.add([spec("new", after=["t1", "t2"], priority=9)])
    assert task_of(store, "new").state is TaskState.PENDING
    assert store.ready(1, NOW)[0].id == "t2"
    await run(store, "t2")
    assert store.ready(1, NOW)[0].id == "new"
    check(store)
    await store.close()


async def test_a_migration_that_fails_changes_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(project)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE more (a);", "CREATE TABLE tasks (b);"))
        patch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 2)
        with pytest.raises(StoreError):
            SqliteTaskStore(project)
    with closing(sqlite3.connect(database(project))) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA_VERSION,)
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone() == (0,)
    store = SqliteTaskStore(project)
    check(store)
    await store.close()


async def test_many_who_open_a_new_project_at_once(project: Path) -> None:
    stores = await asyncio.gather(*(asyncio.to_thread(SqliteTaskStore, project) for _ in range(8)))
    await stores[0].add(specs(3))
    assert {store.counts() for store in stores} == {Counts(pending=3)}
    for store in stores:
        await store.close()


def test_the_first_switch_to_wal_is_waited_for() -> None:
    """Two processes that begin a project at once: SQLite refuses one of them on the spot, whatever the timeout."""
    refusals = 3

    class Refusing(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            nonlocal refusals
            if refusals:
                refusals -= 1
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY
                raise error
            return super().execute(sql, *parameters)

    with closing(sqlite3.connect(":memory:", factory=Refusing)) as connection:
        sqlite_module._enter_wal(connection)
    assert refusals == 0


def test_a_database_that_a_crash_left_empty(project: Path) -> None:
    database(project).parent.mkdir(parents=True)
    database(project).touch()
    store = SqliteTaskStore(project, create=False)
    assert store.counts() == Counts()
    store.close_and_wait()


# -- folders ---------------------------------------------------------------------------------------------------------
async def test_modes(project: Path) -> None:
    old = os.umask(0)
    try:
        store = SqliteTaskStore(project)
        results = ResultsFile(store, project / "results.jsonl")
        await store.add(specs(1))
        await run(store, "t1")
        results.sync()
    finally:
        os.umask(old)
    folder = database(project).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm", "results.lock"), 0o600)
    assert stat.S_IMODE(results.path.stat().st_mode) == 0o600
    results.close()
    await store.close()


def test_an_open_folder_is_closed_to_others(project: Path) -> None:
    folder = database(project).parent
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    SqliteTaskStore(project).close_and_wait()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("there", [True, False])
def test_a_link_in_place_of_the_folder(project: Path, tmp_path: Path, there: bool) -> None:
    project.mkdir()
    elsewhere = tmp_path / "elsewhere"
    if there:
        elsewhere.mkdir()
    (project / ".agentdash").symlink_to(elsewhere)
    with pytest.raises(StoreError):
        SqliteTaskStore(project)
    assert not there or list(elsewhere.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_another_user(project: Path) -> None:
    folder = database(project).parent
    folder.mkdir(parents=True)
    os.chown(folder, 12345, 12345)
    with pytest.raises(StoreError, match="belongs to another user"):
        SqliteTaskStore(project)
    assert list(folder.iterdir()) == []


def test_files_in_the_way(project: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        SqliteTaskStore(tmp_path / "file" / "project")
    project.mkdir()
    (project / ".agentdash").touch()
    with pytest.raises(StoreError):
        SqliteTaskStore(project)


def test_no_project_there(project: Path) -> None:
    with pytest.raises(StoreError, match="no agentdash project"):
        SqliteTaskStore(project, create=False)
    assert not project.exists()


# -- disks -----------------------------------------------------------------------------------------------------------
async def test_a_read_only_disk(project: Path, mount: Mount) -> None:
    mount("size=4m")
    await fill(project)
    mount("remount,ro")
    refuse(project, "cannot be opened for writing")
    with pytest.raises(StoreError, match="cannot be written"):
        SqliteTaskStore(project.parent / "other")


def write_on(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(project: Path) -> None:
    project.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        SqliteTaskStore(project)


async def test_a_disk_that_fills_up(project: Path, mount: Mount) -> None:
    mount("size=3m")
    await fill(project)
    store = SqliteTaskStore(project)
    filler = project / "filler"
    with pytest.raises(OSError, match="No space"):
        write_on(filler)
    with pytest.raises(StoreWriteError) as caught:
        await store.add(specs(5000, "more"))
    assert caught.value.hint
    assert store.counts() == Counts(pending=199, succeeded=1)
    filler.unlink()
    await run(store, "t2")
    check(store)
    await store.close()


def test_a_disk_that_is_full_from_the_start(project: Path, mount: Mount) -> None:
    mount("size=16k")
    with pytest.raises(StoreError) as caught:
        SqliteTaskStore(project)
    assert caught.value.hint


@pytest.mark.process
def test_a_limit_on_file_sizes(project: Path) -> None:
    """As on a full disk, where mounting is not allowed."""
    code = (
        "import asyncio, resource, signal, sys\n"
        "from agentdash.engine.store import SqliteTaskStore\n"
        "from agentdash.errors import StoreWriteError\n"
        "from tests.support.stored import specs\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = SqliteTaskStore(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    asyncio.run(store.add(specs(20_000)))\n"
        "except StoreWriteError as error:\n"
        "    print(error.hint)\n"
    )
    from tests.support.processes import python, read_line

    with python(code, project) as child:
        assert read_line(child)
    store = SqliteTaskStore(project)
    assert store.counts() == Counts()
    check(store)
    store.close_and_wait()
