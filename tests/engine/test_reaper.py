"""Tasks of owners that died come back; tasks of the living are left alone."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agentdash.engine.locks import TaskLock
from agentdash.engine.policy import RetryPolicy
from agentdash.engine.reaper import Reaper
from agentdash.engine.store import SqliteTaskStore
from agentdash.model import Counts, TaskState
from tests.support.clock import FakeClock
from tests.support.processes import python, read_line
from tests.support.stored import NOW, check, claim, end, run, specs, task_of

POLICY = RetryPolicy()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteTaskStore]:
    found = SqliteTaskStore(tmp_path)
    yield found
    await found.close()


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[TaskLock]:
    lock = TaskLock(tmp_path)
    yield lock
    lock.close()


@pytest.fixture
def others(tmp_path: Path) -> Iterator[TaskLock]:
    """The locks of another owner."""
    lock = TaskLock(tmp_path)
    yield lock
    lock.close()


@pytest.fixture
def reaper(store: SqliteTaskStore, locks: TaskLock) -> Reaper:
    return Reaper(store, locks, POLICY, owner="me", clock=FakeClock(NOW + 60))


async def test_nothing_to_do(store: SqliteTaskStore, reaper: Reaper) -> None:
    assert await reaper.sweep({}) == 0
    await store.add(specs(2))
    await run(store, "t1")
    assert await reaper.sweep({}) == 0


async def test_a_dead_owners_tasks_come_back(store: SqliteTaskStore, reaper: Reaper, locks: TaskLock) -> None:
    await store.add(specs(3))
    for n in (1, 2, 3):
        await claim(store, f"t{n}", owner="dead")
    assert await reaper.sweep({}) == 3
    assert store.counts() == Counts(pending=3)
    task = task_of(store, "t1")
    assert (task.attempts, task.crashes, task.fence) == (0, 1, 1)
    (attempt,) = store.attempts("t1")
    assert (attempt.outcome, attempt.error_type, attempt.worker) == ("crashed", "owner_died", "w1")
    assert (attempt.started_at, attempt.finished_at) == (NOW, NOW + 60)
    assert dict(locks.held()) == {}
    assert await reaper.sweep({}) == 0
    check(store)


async def test_a_living_owners_tasks_are_left_alone(store: SqliteTaskStore, reaper: Reaper, others: TaskLock) -> None:
    """Also the one whose lock is free for a moment, between its settlement and the next look."""
    await store.add(specs(3))
    for n in (1, 2, 3):
        assert n == 3 or others.acquire(f"t{n}", "w1")
        await claim(store, f"t{n}", owner="alive")
    assert await reaper.sweep({}) == 0
    assert store.counts() == Counts(running=3)
    others.close()  # now it is dead
    assert await reaper.sweep({}) == 3


async def test_the_living_beside_the_dead(store: SqliteTaskStore, reaper: Reaper, others: TaskLock) -> None:
    await store.add(specs(6))
    for n in range(1, 7):
        owner = "alive" if n % 2 else "dead"
        assert owner == "dead" or others.acquire(f"t{n}", "w1")
        await claim(store, f"t{n}", owner=owner)
    assert await reaper.sweep({}) == 3
    assert {row.owner for row in store.running()} == {"alive"}


async def test_own_tasks_are_not_touched(store: SqliteTaskStore, reaper: Reaper, locks: TaskLock) -> None:
    await store.add(specs(4))
    held = await claim(store, "t1", owner="me")
    assert await reaper.sweep({held.task.seq: held}) == 0
    # Claimed a moment ago and not yet in the books: its lock is held here, and nothing is reported.
    assert locks.acquire("t2", "w2")
    await claim(store, "t2", owner="me")
    assert await reaper.sweep({held.task.seq: held}) == 0
    # Let go of, because its lock was lost: it comes back, whatever else is held.
    await claim(store, "t3", owner="me")
    assert await reaper.sweep({held.task.seq: held}) == 1
    assert store.counts() == Counts(pending=2, running=2)
    check(store)


async def test_what_was_settled_meanwhile_is_not_taken_back(
    store: SqliteTaskStore, reaper: Reaper, locks: TaskLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner settles and drops its lock between the reaper's reading and its lock."""
    await store.add(specs(2))
    claims = {f"t{n}": await claim(store, f"t{n}", owner="alive") for n in (1, 2)}
    acquire = locks.acquire

    def settle_first(task_id: str, holder_id: str = "w", timeout: float | None = None) -> bool:
        if (held := claims.pop(task_id, None)) is not None:
            state = TaskState.SUCCEEDED if task_id == "t1" else TaskState.PENDING
            assert store.settle_and_wait(held, end(held, state))
            if state is TaskState.PENDING:
                assert store.claim_and_wait(task_of(store, task_id), "successor", "w", NOW)
        return acquire(task_id, holder_id, timeout)

    monkeypatch.setattr(locks, "acquire", settle_first)
    assert await reaper.sweep({}) == 0
    assert task_of(store, "t1").state is TaskState.SUCCEEDED
    reread = store.running
    monkeypatch.setattr(store, "running", lambda: [replace(row, owner="alive", fence=1) for row in reread()])
    assert await reaper.sweep({}) == 0
    monkeypatch.undo()
    assert [row.owner for row in store.running()] == ["successor"]
    assert task_of(store, "t2").crashes == 0
    assert dict(locks.held()) == {}
    check(store)


async def test_a_task_that_kills_its_owners_ends(store: SqliteTaskStore, reaper: Reaper) -> None:
    await store.add(specs(2))
    for crash in range(1, POLICY.max_crashes + 1):
        assert task_of(store, "t1").state is TaskState.PENDING
        await claim(store, "t1", owner=f"owner-{crash}")
        assert await reaper.sweep({}) == 1
    task = task_of(store, "t1")
    assert (task.state, task.crashes, task.attempts) == (TaskState.FAILED, 10, 0)
    line = json.loads(store.result("t1") or "")
    assert line["result"]["type"] == "errored"
    assert "died" in line["result"]["error"]["message"]
    assert store.counts() == Counts(pending=1, failed=1)
    assert store.totals().retries == 9
    check(store)
    await store.requeue(["t1"])
    assert task_of(store, "t1").crashes == 0


HOLDER = """
import asyncio, sys
from agentdash.engine.locks import TaskLock
from agentdash.engine.store import SqliteTaskStore
from tests.support.stored import claim

async def main():
    lock, store = TaskLock(sys.argv[1]), SqliteTaskStore(sys.argv[1])
    for task_id in ("t1", "t2"):
        assert lock.acquire(task_id, "w1")
        await claim(store, task_id, owner="child")
    print("holding", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


@pytest.mark.process
async def test_kill_9_of_the_owner(store: SqliteTaskStore, reaper: Reaper, tmp_path: Path) -> None:
    await store.add(specs(3))
    with python(HOLDER, tmp_path) as child:
        assert read_line(child) == "holding"
        assert await reaper.sweep({}) == 0
        assert store.counts() == Counts(pending=1, running=2)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert await reaper.sweep({}) == 2
    assert [r.id for r in store.ready(10, NOW)] == ["t1", "t2", "t3"]
    assert task_of(store, "t1").crashes == 1
    check(store)
    await run(store, "t1")
    check(store)
