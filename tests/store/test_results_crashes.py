"""The results file holds exactly one line for each finished task, after a crash at any point."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store import results_file as module
from agentdash.engine.store.results_file import ResultsFile
from agentdash.model import TaskState
from tests.store.resultsfile import Open, assert_complete, ids
from tests.support.stored import run, specs

pytest_plugins = ["tests.store.results_fixtures"]


class PowerCutError(BaseException):
    """Stands for the process's death: nothing may catch it and go on."""


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


async def appending(store: SqliteTaskStore, results_path: Path) -> None:
    await run(store, "t3")
    await run(store, "t4")


async def replacing(store: SqliteTaskStore, results_path: Path) -> None:
    await store.requeue(["t1"])
    await run(store, "t1", output="a much longer answer than before" * 10)
    await run(store, "t3")


async def emptying(store: SqliteTaskStore, results_path: Path) -> None:
    await store.requeue(["t1", "t2"])


async def rebuilding(store: SqliteTaskStore, results_path: Path) -> None:
    results_path.unlink()
    await run(store, "t3")


async def completing(store: SqliteTaskStore, results_path: Path) -> None:
    os.truncate(results_path, results_path.stat().st_size // 2)
    await store.requeue(["t1"])


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("work", [appending, replacing, emptying, rebuilding, completing])
async def test_a_crash_at_any_point(
    sqlite: SqliteTaskStore,
    results_path: Path,
    open_results: Open,
    monkeypatch: pytest.MonkeyPatch,
    work: Any,
    before: bool,
) -> None:
    monkeypatch.setattr(module, "_CHUNK_LINES", 1)
    await sqlite.add(specs(100))
    for step in range(1, 100):
        for record in list(sqlite.tasks([TaskState.PENDING], limit=4)):
            if record.id in {"t1", "t2"}:
                await run(sqlite, record.id, TaskState.FAILED, error=f"step {step}")
        open_results().sync()
        assert_complete(sqlite, results_path)
        await work(sqlite, results_path)
        with monkeypatch.context() as patch:
            crashed = crash_at(step, patch, before)
            try:
                open_results().sync()
            except PowerCutError:
                assert crashed()
        after = open_results()
        after.check()
        after.sync()
        assert_complete(sqlite, results_path)
        if not crashed():
            break
        await sqlite.add(specs(0))
        await sqlite.requeue(["t1", "t2"])
        results_path.unlink()
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
    sqlite: SqliteTaskStore, results_path: Path, open_results: Open, monkeypatch: pytest.MonkeyPatch, second: int
) -> None:
    for first in range(1, 8):
        await sqlite.add(specs(3))
        await run(sqlite, "t1", TaskState.FAILED)
        await run(sqlite, "t2")
        open_results().sync()
        for step in (first, second):
            await sqlite.requeue(["t1"])
            await run(sqlite, "t1", TaskState.FAILED, error="longer " * 20 * step)
            with monkeypatch.context() as patch:
                crash_at(step, patch, before=True)
                with suppress(PowerCutError):
                    open_results().sync()
        open_results().check()
        open_results().sync()
        assert_complete(sqlite, results_path)
        results_path.unlink()
        forget(sqlite)


# -- what a crash of the machine, or a hand, leaves behind -----------------------------------------------------------
async def test_a_truncated_file_is_built_anew(sqlite: SqliteTaskStore, results_path: Path, open_results: Open) -> None:
    await sqlite.add(specs(3))
    for n in (1, 2, 3):
        await run(sqlite, f"t{n}")
    open_results().sync()
    whole = results_path.read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        results_path.write_bytes(whole[:size])
        file = open_results()
        file.check()
        file.sync()
        assert results_path.read_bytes() == whole


async def test_what_a_power_cut_left_behind_is_cut_off(
    sqlite: SqliteTaskStore, results_path: Path, open_results: Open
) -> None:
    await sqlite.add(specs(2))
    await run(sqlite, "t1")
    open_results().sync()
    with results_path.open("ab") as file:
        file.write(b"\0" * 100)
    await run(sqlite, "t2")
    assert open_results().sync() == 1
    assert_complete(sqlite, results_path)


async def test_zeros_instead_of_a_first_block(sqlite: SqliteTaskStore, results_path: Path, open_results: Open) -> None:
    open_results().check()
    results_path.write_bytes(b"\0" * 100)
    await sqlite.add(specs(1))
    await run(sqlite, "t1")
    open_results().check()
    assert open_results().sync() == 1
    assert_complete(sqlite, results_path)


async def test_a_deleted_file_is_built_anew(sqlite: SqliteTaskStore, results_path: Path, open_results: Open) -> None:
    await sqlite.add(specs(2))
    await run(sqlite, "t1")
    file = open_results()
    file.sync()
    results_path.unlink()
    await run(sqlite, "t2")
    assert file.sync() == 2
    assert ids(results_path) == ["t1", "t2"]
