"""The results file holds exactly one line for each finished task, after a crash at any point."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store import results_file as module
from agentdash.engine.store.results_file import ResultsFile
from agentdash.errors import StoreError, StoreWriteError
from agentdash.model import TaskState
from tests.support.processes import python
from tests.support.stored import NOW, run, specs

Open = Callable[[], ResultsFile]


class PowerCutError(BaseException):
    """Stands for the process's death: nothing may catch it and go on."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


@pytest.fixture
def open_file(sqlite: SqliteTaskStore, path: Path) -> Iterator[Open]:
    opened: list[ResultsFile] = []

    def start() -> ResultsFile:
        opened.append(ResultsFile(sqlite, path))
        return opened[-1]

    yield start
    for file in opened:
        file.close()


def ids(path: Path) -> list[str]:
    data = path.read_bytes()
    assert not data or data.endswith(b"\n")
    return [json.loads(line)["custom_id"] for line in data.splitlines()]


def assert_complete(store: SqliteTaskStore, path: Path) -> None:
    lines = path.read_bytes().decode().split("\n")[:-1]
    finished = [store.result(r.id) for r in store.tasks() if store.result(r.id) is not None]
    assert sorted(lines) == sorted(line for line in finished if line is not None)


async def test_it_follows_the_database(sqlite: SqliteTaskStore, path: Path, open_file: Open) -> None:
    file = open_file()
    file.check()
    assert path.read_bytes() == b""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await sqlite.add(specs(5))
    assert file.sync() == 0
    await run(sqlite, "t2")
    await run(sqlite, "t1", TaskState.FAILED)
    assert file.sync() == 2
    assert ids(path) == ["t2", "t1"]
    await sqlite.cancel(["t3"], NOW)
    await run(sqlite, "t4", TaskState.PENDING)
    assert file.sync() == 1
    assert file.sync() == 0
    assert ids(path) == ["t2", "t1", "t3"]
    assert open_file().sync() == 0
    assert_complete(sqlite, path)


async def test_a_requeue_replaces_the_line(sqlite: SqliteTaskStore, path: Path, open_file: Open) -> None:
    file = open_file()
    await sqlite.add(specs(3))
    await run(sqlite, "t1", TaskState.FAILED)
    await run(sqlite, "t2")
    file.sync()
    await sqlite.requeue(["t1"])
    assert file.sync() == 1
    assert ids(path) == ["t2"]
    await run(sqlite, "t1")
    assert file.sync() == 1
    assert ids(path) == ["t2", "t1"]
    assert_complete(sqlite, path)
    assert sorted(p.name for p in path.parent.iterdir()) == ["project", "results.jsonl"]


async def test_requeue_of_what_was_never_written(sqlite: SqliteTaskStore, path: Path, open_file: Open) -> None:
    await sqlite.add(specs(2))
    await run(sqlite, "t1", TaskState.FAILED)
    await sqlite.requeue(None)
    await run(sqlite, "t2")
    assert open_file().sync() == 1
    assert ids(path) == ["t2"]


async def test_in_blocks(sqlite: SqliteTaskStore, path: Path, open_file: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_LINES", 7)
    await sqlite.add(specs(50))
    for n in range(1, 51):
        await run(sqlite, f"t{n}", output="x" * n)
    assert open_file().sync() == 50
    assert ids(path) == [f"t{n}" for n in range(1, 51)]
    path.unlink()
    monkeypatch.setattr(module, "_CHUNK_BYTES", 1000)
    assert open_file().sync() == 50
    assert ids(path) == [f"t{n}" for n in range(1, 51)]


async def test_more_lines_than_one_block(sqlite: SqliteTaskStore, path: Path, open_file: Open) -> None:
    await sqlite.add(specs(4500))
    await sqlite.cancel([f"t{n}" for n in range(1, 4501)], NOW)
    assert open_file().sync() == 4500
    assert ids(path) == [f"t{n}" for n in range(1, 4501)]


# -- crashes ---------------------------------------------------------------------------------------------------------
def crash_at(step: int, monkeypatch: pytest.MonkeyPatch, before: bool) -> Callable[[], bool]:
    """Let the `step`-th call that changes something die, before it did its work or after; True once it has."""
    calls = 0

    def wrap(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def dying(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step and before:
                raise PowerCutError(name)
            answer: Any = None
            if calls == step and name == "pwrite":
                fd, data, offset = args
                real(fd, bytes(data)[: len(data) // 2], offset)
            else:
                answer = real(*args, **kwargs)
            if calls == step:
                raise PowerCutError(name)
            return answer

        monkeypatch.setattr(owner, name, dying)

    for owner, name in [
        (os, "pwrite"),
        (os, "fsync"),
        (os, "ftruncate"),
        (ResultsFile, "_save"),
        (Path, "replace"),
        (module, "_sync_folder"),
    ]:
        wrap(owner, name)
    return lambda: calls >= step


async def appending(store: SqliteTaskStore, path: Path) -> None:
    await run(store, "t3")
    await run(store, "t4")


async def replacing(store: SqliteTaskStore, path: Path) -> None:
    await store.requeue(["t1"])
    await run(store, "t1", output="a much longer answer than before" * 10)
    await run(store, "t3")


async def emptying(store: SqliteTaskStore, path: Path) -> None:
    await store.requeue(["t1", "t2"])


async def rebuilding(store: SqliteTaskStore, path: Path) -> None:
    path.unlink()
    await run(store, "t3")


async def completing(store: SqliteTaskStore, path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)
    await store.requeue(["t1"])


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("work", [appending, replacing, emptying, rebuilding, completing])
async def test_a_crash_at_any_point(
    sqlite: SqliteTaskStore, path: Path, open_file: Open, monkeypatch: pytest.MonkeyPatch, work: Any, before: bool
) -> None:
    monkeypatch.setattr(module, "_CHUNK_LINES", 1)
    await sqlite.add(specs(100))
    for step in range(1, 100):
        for record in list(sqlite.tasks([TaskState.PENDING], limit=4)):
            if record.id in {"t1", "t2"}:
                await run(sqlite, record.id, TaskState.FAILED, error=f"step {step}")
        open_file().sync()
        assert_complete(sqlite, path)
        await work(sqlite, path)
        with monkeypatch.context() as patch:
            crashed = crash_at(step, patch, before)
            try:
                open_file().sync()
            except PowerCutError:
                assert crashed()
        after = open_file()
        after.check()
        after.sync()
        assert_complete(sqlite, path)
        if not crashed():
            break
        await sqlite.add(specs(0))
        await sqlite.requeue(["t1", "t2"])
        path.unlink()
        forget(sqlite)
    else:
        pytest.fail("it never came to an end")
    assert step > 3


def forget(store: SqliteTaskStore) -> None:
    """A fresh start for the next step: no file, no lines, no position."""

    def clear(transaction: Any) -> None:
        transaction.connection.execute("DELETE FROM meta")
        transaction.connection.execute(
            "UPDATE totals SET failed = 0, succeeded = 0, cancelled = 0, pending = (SELECT count(*) FROM tasks)"
        )
        transaction.connection.execute("UPDATE tasks SET state = 0, fence = fence + 1")
        transaction.connection.execute("DELETE FROM results")

    store.run_and_wait(clear)


@pytest.mark.parametrize("second", range(1, 8))
async def test_two_crashes_in_a_row(
    sqlite: SqliteTaskStore, path: Path, open_file: Open, monkeypatch: pytest.MonkeyPatch, second: int
) -> None:
    for first in range(1, 8):
        await sqlite.add(specs(3))
        await run(sqlite, "t1", TaskState.FAILED)
        await run(sqlite, "t2")
        open_file().sync()
        for step in (first, second):
            await sqlite.requeue(["t1"])
            await run(sqlite, "t1", TaskState.FAILED, error="longer " * 20 * step)
            with monkeypatch.context() as patch:
                crash_at(step, patch, before=True)
                with suppress(PowerCutError):
                    open_file().sync()
        open_file().check()
        open_file().sync()
        assert_complete(sqlite, path)
        path.unlink()
        forget(sqlite)


async def test_a_truncated_file_is_built_anew(sqlite: SqliteTaskStore, path: Path, open_file: Open) -> None:
    await sqlite.add(specs(3))
    for n in (1, 2, 3):
        await run(sqlite, f"t{n}")
    open_file().sync()
    whole = path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        file = open_file()
        file.check()
        file.sync()
        assert path.read_bytes() == whole


async def test_what_a_power_cut_left_behind_is_cut_off(sqlite: SqliteTaskStore, path: Path, open_file: Open) -> None:
    await sqlite.add(specs(2))
    await run(sqlite, "t1")
    open_file().sync()
    with path.open("ab") as file:
        file.write(b"\0" * 100)
    await run(sqlite, "t2")
    assert open_file().sync() == 1
    assert_complete(sqlite, path)


async def test_zeros_instead_of_a_first_block(sqlite: SqliteTaskStore, path: Path, open_file: Open) -> None:
    open_file().check()
    path.write_bytes(b"\0" * 100)
    await sqlite.add(specs(1))
    await run(sqlite, "t1")
    open_file().check()
    assert open_file().sync() == 1
    assert_complete(sqlite, path)


async def test_a_deleted_file_is_built_anew(sqlite: SqliteTaskStore, path: Path, open_file: Open) -> None:
    await sqlite.add(specs(2))
    await run(sqlite, "t1")
    file = open_file()
    file.sync()
    path.unlink()
    await run(sqlite, "t2")
    assert file.sync() == 2
    assert ids(path) == ["t1", "t2"]


# -- other people's files --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_database_that_is_gone_is_not_followed(
    sqlite: SqliteTaskStore, path: Path, open_file: Open, replaced: bool
) -> None:
    """SQLite writes on into a deleted file; the results of it would belong to no database."""
    file = open_file()
    await sqlite.add(specs(2))
    await run(sqlite, "t1")
    file.sync()
    aside = sqlite.path.with_name("aside.db")
    sqlite.path.rename(aside)
    if replaced:
        sqlite.path.touch(0o600)
    await run(sqlite, "t2")
    for use in (file.sync, file.check):
        with pytest.raises(StoreWriteError, match="deleted, moved or replaced") as caught:
            use()
        assert caught.value.hint
    assert ids(path) == ["t1"]
    aside.replace(sqlite.path)
    assert file.sync() == 1
    assert_complete(sqlite, path)


async def test_a_foreign_file_is_refused_and_left_alone(sqlite: SqliteTaskStore, path: Path, open_file: Open) -> None:
    path.write_text("my notes\n")
    await sqlite.add(specs(1))
    await run(sqlite, "t1")
    for call in (open_file().check, open_file().sync):
        with pytest.raises(StoreError, match="this project did not write") as caught:
            call()
        assert caught.value.hint
    await sqlite.requeue(["t1"])
    assert path.read_text() == "my notes\n"


async def test_a_foreign_file_is_refused_after_a_requeue_too(
    sqlite: SqliteTaskStore, path: Path, open_file: Open
) -> None:
    await sqlite.add(specs(1))
    await run(sqlite, "t1", TaskState.FAILED)
    await sqlite.requeue(None)
    path.write_text("my notes\n")
    with pytest.raises(StoreError, match="this project did not write"):
        open_file().sync()
    assert path.read_text() == "my notes\n"


@pytest.mark.parametrize("finished", [0, 2])
async def test_notes_in_the_place_of_our_file_are_refused(
    sqlite: SqliteTaskStore, path: Path, open_file: Open, finished: int
) -> None:
    await sqlite.add(specs(3))
    for n in range(finished):
        await run(sqlite, f"t{n + 1}")
    open_file().check()
    open_file().sync()
    path.write_text("my notes\n")
    await run(sqlite, "t3")
    for call in (open_file().check, open_file().sync):
        with pytest.raises(StoreError, match="changed by another program"):
            call()
    assert path.read_text() == "my notes\n"


async def test_a_changed_tail_is_refused(sqlite: SqliteTaskStore, path: Path, open_file: Open) -> None:
    await sqlite.add(specs(2))
    await run(sqlite, "t1", TaskState.FAILED)
    open_file().sync()
    edited = path.read_bytes().replace(b"broke", b"brake")
    path.write_bytes(edited)
    with pytest.raises(StoreError, match="changed by another program"):
        open_file().check()
    await sqlite.requeue(None)  # not even now is it overwritten
    with pytest.raises(StoreError, match="changed by another program"):
        open_file().sync()
    assert path.read_bytes() == edited
    path.unlink()
    open_file().sync()
    assert_complete(sqlite, path)


def test_not_a_plain_file(sqlite: SqliteTaskStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("pipe", "not a plain file"), ("project", "cannot be written")):
        file = ResultsFile(sqlite, tmp_path / name)
        with pytest.raises(StoreError, match=words):
            file.check()
        file.close()


async def test_a_link_stays_a_link(sqlite: SqliteTaskStore, tmp_path: Path) -> None:
    target, link = tmp_path / "target.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(target)
    await sqlite.add(specs(1))
    file = ResultsFile(sqlite, link)
    await run(sqlite, "t1", TaskState.FAILED)
    file.sync()
    await sqlite.requeue(None)
    await run(sqlite, "t1")
    file.sync()
    file.close()
    assert link.is_symlink()
    assert ids(target) == ["t1"]


async def test_two_files_of_one_project(sqlite: SqliteTaskStore, tmp_path: Path) -> None:
    await sqlite.add(specs(2))
    first, second = ResultsFile(sqlite, tmp_path / "a"), ResultsFile(sqlite, tmp_path / "new" / "folder" / "b")
    await run(sqlite, "t1", TaskState.FAILED)
    first.sync()
    await sqlite.requeue(None)
    await run(sqlite, "t2")
    for file in (first, second):
        file.sync()
        assert ids(file.path) == ["t2"]
        file.close()


async def test_a_disk_error_is_told(
    sqlite: SqliteTaskStore, path: Path, open_file: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sqlite.add(specs(2))
    await run(sqlite, "t1", TaskState.FAILED)
    file = open_file()

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    for rewrite in (False, True):
        if rewrite:
            file.sync()
            await sqlite.requeue(None)
            await run(sqlite, "t1")
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            with pytest.raises(StoreWriteError, match="No space left") as caught:
                file.sync()
            assert caught.value.hint
    file.sync()
    assert_complete(sqlite, path)
    assert sorted(p.name for p in path.parent.iterdir()) == ["project", "results.jsonl"]


# -- several writers -------------------------------------------------------------------------------------------------
async def test_threads_that_sync_at_once(sqlite: SqliteTaskStore, path: Path, open_file: Open) -> None:
    await sqlite.add(specs(120))
    files = [open_file() for _ in range(3)]
    done = threading.Event()

    def go_on(file: ResultsFile) -> None:
        while not done.is_set():
            file.sync()

    threads = [threading.Thread(target=go_on, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    try:
        for n in range(1, 121):
            await run(sqlite, f"t{n}", TaskState.FAILED if n % 20 == 0 else TaskState.SUCCEEDED)
            if n % 40 == 0:
                await sqlite.requeue(None)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    files[0].sync()
    assert_complete(sqlite, path)


SYNC = """
import sys
from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.results_file import ResultsFile
store = SqliteTaskStore(sys.argv[1])
file = ResultsFile(store, sys.argv[2])
print("ready", flush=True)
for line in sys.stdin:
    file.sync()
    print("done", flush=True)
"""


@pytest.mark.process
async def test_a_second_process_that_syncs_too(sqlite: SqliteTaskStore, path: Path, open_file: Open) -> None:
    await sqlite.add(specs(40))
    file = open_file()
    with python(SYNC, sqlite.path.parent.parent, path) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        for n in range(1, 41):
            await run(sqlite, f"t{n}", TaskState.FAILED if n % 10 == 0 else TaskState.SUCCEEDED)
            if n % 20 == 0:
                await sqlite.requeue(None)
            child.stdin.write("sync\n")
            child.stdin.flush()
            file.sync()
        for _ in range(40):
            assert child.stdout.readline() == "done\n"
    file.sync()
    assert_complete(sqlite, path)
