"""The results file follows the database: one line for each finished task, whoever writes it."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store import results_file as module
from agentdash.engine.store.results_file import ResultsFile
from agentdash.errors import StoreWriteError
from agentdash.model import TaskState
from tests.store.resultsfile import Open, assert_complete, ids
from tests.support.processes import python
from tests.support.stored import NOW, run, specs

pytest_plugins = ["tests.store.results_fixtures"]


async def test_it_follows_the_database(sqlite: SqliteTaskStore, results_path: Path, open_results: Open) -> None:
    file = open_results()
    file.check()
    assert results_path.read_bytes() == b""
    assert stat.S_IMODE(results_path.stat().st_mode) == 0o600
    await sqlite.add(specs(5))
    assert file.sync() == 0
    await run(sqlite, "t2")
    await run(sqlite, "t1", TaskState.FAILED)
    assert file.sync() == 2
    assert ids(results_path) == ["t2", "t1"]
    await sqlite.cancel(["t3"], NOW)
    await run(sqlite, "t4", TaskState.PENDING)
    assert file.sync() == 1
    assert file.sync() == 0
    assert ids(results_path) == ["t2", "t1", "t3"]
    assert open_results().sync() == 0
    assert_complete(sqlite, results_path)


async def test_a_requeue_replaces_the_line(sqlite: SqliteTaskStore, results_path: Path, open_results: Open) -> None:
    file = open_results()
    await sqlite.add(specs(3))
    await run(sqlite, "t1", TaskState.FAILED)
    await run(sqlite, "t2")
    file.sync()
    await sqlite.requeue(["t1"])
    assert file.sync() == 1
    assert ids(results_path) == ["t2"]
    await run(sqlite, "t1")
    assert file.sync() == 1
    assert ids(results_path) == ["t2", "t1"]
    assert_complete(sqlite, results_path)
    assert sorted(p.name for p in results_path.parent.iterdir()) == ["project", "results.jsonl"]


async def test_requeue_of_what_was_never_written(
    sqlite: SqliteTaskStore, results_path: Path, open_results: Open
) -> None:
    await sqlite.add(specs(2))
    await run(sqlite, "t1", TaskState.FAILED)
    await sqlite.requeue(None)
    await run(sqlite, "t2")
    assert open_results().sync() == 1
    assert ids(results_path) == ["t2"]


async def test_in_blocks(
    sqlite: SqliteTaskStore, results_path: Path, open_results: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK_LINES", 7)
    await sqlite.add(specs(50))
    for n in range(1, 51):
        await run(sqlite, f"t{n}", output="x" * n)
    assert open_results().sync() == 50
    assert ids(results_path) == [f"t{n}" for n in range(1, 51)]
    results_path.unlink()
    monkeypatch.setattr(module, "_CHUNK_BYTES", 1000)
    assert open_results().sync() == 50
    assert ids(results_path) == [f"t{n}" for n in range(1, 51)]


async def test_more_lines_than_one_block(sqlite: SqliteTaskStore, results_path: Path, open_results: Open) -> None:
    await sqlite.add(specs(4500))
    await sqlite.cancel([f"t{n}" for n in range(1, 4501)], NOW)
    assert open_results().sync() == 4500
    assert ids(results_path) == [f"t{n}" for n in range(1, 4501)]


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
    sqlite: SqliteTaskStore, results_path: Path, open_results: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sqlite.add(specs(2))
    await run(sqlite, "t1", TaskState.FAILED)
    file = open_results()

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
    assert_complete(sqlite, results_path)
    assert sorted(p.name for p in results_path.parent.iterdir()) == ["project", "results.jsonl"]


# -- several writers -------------------------------------------------------------------------------------------------
async def test_threads_that_sync_at_once(sqlite: SqliteTaskStore, results_path: Path, open_results: Open) -> None:
    await sqlite.add(specs(120))
    files = [open_results() for _ in range(3)]
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
    assert_complete(sqlite, results_path)


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
async def test_a_second_process_that_syncs_too(sqlite: SqliteTaskStore, results_path: Path, open_results: Open) -> None:
    await sqlite.add(specs(40))
    file = open_results()
    with python(SYNC, sqlite.path.parent.parent, results_path) as child:
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
    assert_complete(sqlite, results_path)
