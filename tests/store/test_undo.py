"""Taking the last requeue or cancellation back: what comes back, what has gone on, and what the results file says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.results_file import ResultsFile
from agentdash.model import Counts, TaskState
from tests.support.stored import NOW, Store, check, claim, end, run, specs, task_of

FAILED, CANCELLED, PENDING, SUCCEEDED = TaskState.FAILED, TaskState.CANCELLED, TaskState.PENDING, TaskState.SUCCEEDED


def as_it_is(store: Store, task_id: str) -> object:
    """Everything of a task but its fence, with its results line."""
    return store.find(task_id), store.result(task_id)


async def finish_some(store: Store) -> None:
    """t1 and t2 failed, t3 cancelled, t4 succeeded, t5 pending after a failure, t6 pending."""
    await store.add(specs(6))
    await run(store, "t1", FAILED, attempts=3, error="first", service_failures=2)
    await run(store, "t2", FAILED, attempts=2, error="second", crashes=1)
    await store.cancel(["t3"], NOW)
    await run(store, "t4")
    await run(store, "t5", PENDING, attempts=1, error="once", available_at=NOW + 60)


# -- a requeue -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ids", [None, ["t1", "t2", "t3", "t4", "t6"]])
async def test_a_requeue_is_taken_back_whole(store: Store, ids: list[str] | None) -> None:
    await finish_some(store)
    before = [as_it_is(store, f"t{n}") for n in range(1, 7)]
    counts, fences = store.counts(), {n: task_of(store, n).fence for n in ("t1", "t2")}
    moved = await store.requeue(ids)
    assert moved == (2 if ids is None else 3)
    assert await store.undo() == (moved, 0)
    assert [as_it_is(store, f"t{n}") for n in range(1, 7)] == before
    assert store.counts() == counts
    assert all(task_of(store, name).fence == fence + 2 for name, fence in fences.items()), "each change is one"
    check(store)


async def test_what_was_begun_again_goes_on(store: Store) -> None:
    await finish_some(store)
    await store.requeue(None)
    held = await claim(store, "t1")
    assert await store.undo() == (1, 1)
    assert task_of(store, "t1").state is TaskState.RUNNING
    assert task_of(store, "t2").state is FAILED
    check(store)
    assert await store.settle(held, end(held, SUCCEEDED))
    assert store.counts() == Counts(pending=2, succeeded=2, failed=1, cancelled=1)
    check(store)


async def test_what_ended_again_goes_on(store: Store) -> None:
    await finish_some(store)
    await store.requeue(["t1", "t2"])
    await run(store, "t1", SUCCEEDED)
    await run(store, "t2", PENDING, available_at=NOW + 5)
    assert await store.undo() == (0, 2)
    assert (task_of(store, "t1").state, task_of(store, "t2").state) == (SUCCEEDED, PENDING)
    check(store)


async def test_a_claim_of_a_requeued_task_that_was_put_back_is_refused(store: Store) -> None:
    await finish_some(store)
    await store.requeue(None)
    loaded = task_of(store, "t1")
    await store.undo()
    assert not await store.claim(loaded, "me", "w1", NOW)
    await store.requeue(None)
    assert not await store.claim(loaded, "me", "w1", NOW), "nor after another requeue"
    check(store)


# -- a cancellation ----------------------------------------------------------------------------------------------------
async def test_a_cancellation_is_taken_back_whole(store: Store) -> None:
    await finish_some(store)
    before, counts = [as_it_is(store, f"t{n}") for n in range(1, 7)], store.counts()
    assert await store.cancel(["t1", "t5", "t6"], NOW + 5) == (2, 0)
    assert await store.undo() == (2, 0)
    assert [as_it_is(store, f"t{n}") for n in range(1, 7)] == before
    assert store.counts() == counts
    check(store)
    assert [ready.id for ready in store.ready(10, NOW)] == ["t6"], "t5 waits for its retry again"
    await run(store, "t6")
    check(store)


async def test_what_was_requeued_after_its_cancellation_goes_on(store: Store) -> None:
    await store.add(specs(2))
    await store.cancel(["t1", "t2"], NOW)
    other = task_of(store, "t1")
    await store.requeue(["t1"])  # the last action now
    assert await store.undo() == (1, 0)
    assert task_of(store, "t1").state is CANCELLED
    assert task_of(store, "t1").fence == other.fence + 2
    check(store)


async def test_a_running_task_is_asked_no_more(store: Store) -> None:
    await store.add(specs(2))
    held = await claim(store, "t1")
    assert await store.cancel(["t1", "t2"], NOW) == (1, 1)
    assert await store.undo() == (2, 0)
    [running] = store.running()
    assert (running.id, running.cancel_requested) == ("t1", False)
    assert await store.settle(held, end(held, SUCCEEDED))
    assert store.counts() == Counts(pending=1, succeeded=1)
    check(store)


async def test_a_running_task_that_was_stopped_by_it_is_pending_again(store: Store) -> None:
    await store.add(specs(1))
    held = await claim(store, "t1")
    await store.cancel(["t1"], NOW)
    stopped = store.settle(held, end(held, CANCELLED, attempts=0))
    assert await store.undo() == (1, 0), "also one whose end is just being written"
    assert await stopped
    assert task_of(store, "t1").state is PENDING
    assert store.counts() == Counts(pending=1)
    check(store)
    await run(store, "t1")
    check(store)


@pytest.mark.parametrize("state", [SUCCEEDED, FAILED, PENDING])
async def test_a_running_task_that_ended_by_itself_stays_so(store: Store, state: TaskState) -> None:
    await store.add(specs(1))
    held = await claim(store, "t1")
    await store.cancel(["t1"], NOW)
    await store.settle(held, end(held, state))
    assert await store.undo() == ((1, 0) if state is PENDING else (0, 1))
    assert task_of(store, "t1").state is state
    check(store)


# -- one level ---------------------------------------------------------------------------------------------------------
async def test_there_is_nothing_to_take_back_at_first_nor_twice(store: Store) -> None:
    assert await store.undo() == (0, 0)
    await finish_some(store)
    await store.undo()
    await store.requeue(None)
    assert await store.undo() == (2, 0)
    assert await store.undo() == (0, 0)
    check(store)


async def test_a_second_action_replaces_the_first(store: Store) -> None:
    await finish_some(store)
    await store.requeue(["t1"])
    await store.requeue(["t2"])
    assert await store.undo() == (1, 0)
    assert (task_of(store, "t1").state, task_of(store, "t2").state) == (PENDING, FAILED)
    check(store)


async def test_an_action_that_moved_nothing_leaves_the_one_before_it(store: Store) -> None:
    await finish_some(store)
    await store.requeue(["t1"])
    assert await store.requeue(["t4", "nobody"]) == 0
    assert await store.cancel(["t4", "nobody"], NOW) == (0, 0)
    assert await store.undo() == (1, 0)
    assert task_of(store, "t1").state is FAILED
    check(store)


async def test_what_was_forgotten_is_not_taken_back(store: Store) -> None:
    await finish_some(store)
    await store.requeue(None)
    await store.drop_undo()
    assert await store.undo() == (0, 0)
    assert task_of(store, "t1").state is PENDING


# -- the results file --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("synced_between", [False, True])
@pytest.mark.parametrize("action", ["requeue", "cancel"])
async def test_the_results_file_follows(
    sqlite: SqliteTaskStore, tmp_path: Path, action: str, *, synced_between: bool
) -> None:
    await finish_some(sqlite)
    file = ResultsFile(sqlite, tmp_path / "results.jsonl")
    try:
        file.sync()
        await (sqlite.requeue(None) if action == "requeue" else sqlite.cancel(["t5", "t6"], NOW))
        if synced_between:
            file.sync()
        await sqlite.undo()
        file.sync()
        check_lines(sqlite, file.path)
        await run(sqlite, "t6")
        file.sync()
        check_lines(sqlite, file.path)
    finally:
        file.close()


def check_lines(store: SqliteTaskStore, path: Path) -> None:
    """Exactly one line for each finished task, the one of the store."""
    lines = path.read_text().splitlines()
    finished = [record.id for record in store.tasks([SUCCEEDED, FAILED, CANCELLED])]
    assert Counter(json.loads(line)["custom_id"] for line in lines) == Counter(finished)
    assert Counter(lines) == Counter(store.result(task_id) for task_id in finished)


async def test_many_and_back(sqlite: SqliteTaskStore) -> None:
    number = 20_000
    await sqlite.add(specs(number))
    assert await sqlite.cancel([f"t{n}" for n in range(1, number + 1)], NOW) == (number, 0)
    assert await sqlite.undo() == (number, 0)
    assert sqlite.counts() == Counts(pending=number)
    [page_count] = sqlite._connection.execute("PRAGMA temp.page_count").fetchone()
    assert page_count < 100, "what was kept for it is given free"
