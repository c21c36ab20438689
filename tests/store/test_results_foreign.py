"""A results file, or a database, that is not ours any more: refused with a reason, and left as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.results_file import ResultsFile
from agentdash.errors import StoreError, StoreWriteError
from agentdash.model import TaskState
from tests.store.resultsfile import Open, assert_complete, ids
from tests.support.stored import run, specs

pytest_plugins = ["tests.store.results_fixtures"]


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_database_that_is_gone_is_not_followed(
    sqlite: SqliteTaskStore, results_path: Path, open_results: Open, replaced: bool
) -> None:
    """SQLite writes on into a deleted file; the results of it would belong to no database."""
    file = open_results()
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
    assert ids(results_path) == ["t1"]
    aside.replace(sqlite.path)
    assert file.sync() == 1
    assert_complete(sqlite, results_path)


async def test_a_foreign_file_is_refused_and_left_alone(
    sqlite: SqliteTaskStore, results_path: Path, open_results: Open
) -> None:
    results_path.write_text("my notes\n")
    await sqlite.add(specs(1))
    await run(sqlite, "t1")
    for call in (open_results().check, open_results().sync):
        with pytest.raises(StoreError, match="this project did not write") as caught:
            call()
        assert caught.value.hint
    await sqlite.requeue(["t1"])
    assert results_path.read_text() == "my notes\n"


async def test_a_foreign_file_is_refused_after_a_requeue_too(
    sqlite: SqliteTaskStore, results_path: Path, open_results: Open
) -> None:
    await sqlite.add(specs(1))
    await run(sqlite, "t1", TaskState.FAILED)
    await sqlite.requeue(None)
    results_path.write_text("my notes\n")
    with pytest.raises(StoreError, match="this project did not write"):
        open_results().sync()
    assert results_path.read_text() == "my notes\n"


@pytest.mark.parametrize("finished", [0, 2])
async def test_notes_in_the_place_of_our_file_are_refused(
    sqlite: SqliteTaskStore, results_path: Path, open_results: Open, finished: int
) -> None:
    await sqlite.add(specs(3))
    for n in range(finished):
        await run(sqlite, f"t{n + 1}")
    open_results().check()
    open_results().sync()
    results_path.write_text("my notes\n")
    await run(sqlite, "t3")
    for call in (open_results().check, open_results().sync):
        with pytest.raises(StoreError, match="changed by another program"):
            call()
    assert results_path.read_text() == "my notes\n"


async def test_a_changed_tail_is_refused(sqlite: SqliteTaskStore, results_path: Path, open_results: Open) -> None:
    await sqlite.add(specs(2))
    await run(sqlite, "t1", TaskState.FAILED)
    open_results().sync()
    edited = results_path.read_bytes().replace(b"broke", b"brake")
    results_path.write_bytes(edited)
    with pytest.raises(StoreError, match="changed by another program"):
        open_results().check()
    await sqlite.requeue(None)  # not even now is it overwritten
    with pytest.raises(StoreError, match="changed by another program"):
        open_results().sync()
    assert results_path.read_bytes() == edited
    results_path.unlink()
    open_results().sync()
    assert_complete(sqlite, results_path)


def test_not_a_plain_file(sqlite: SqliteTaskStore, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("pipe", "not a plain file"), ("project", "cannot be written")):
        file = ResultsFile(sqlite, tmp_path / name)
        with pytest.raises(StoreError, match=words):
            file.check()
        file.close()
