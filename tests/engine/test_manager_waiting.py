"""Workers of the queue that find nothing: locked tasks are passed over without spinning, and nothing is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from agentdash.engine.manager import TaskStateManager
from agentdash.model import Counts, TaskState
from tests.engine.handing import claim_next, next_ids, next_task, turns
from tests.support.clock import FakeClock
from tests.support.stored import Store, check, end, run, specs, task_of


# -- locked elsewhere ------------------------------------------------------------------------------------------------
async def test_a_locked_task_is_passed_over_ever_longer(
    manager: TaskStateManager, store: Store, clock: FakeClock
) -> None:
    await store.add(specs(2))
    manager.skip(next_task(manager))
    assert next_ids(manager) == ["t2"]
    waits: list[float] = []
    for _ in range(7):
        waited = 0.0
        while (task := manager.get_next_pending_task()) is None:
            clock.advance(0.125)
            waited += 0.125
            assert waited < 10
        assert task.id == "t1"
        manager.skip(task)
        waits.append(waited)
    assert waits == sorted(waits)
    assert waits[0] <= 0.5
    assert 4.5 <= waits[-1] <= 5.5


async def test_a_claim_ends_the_story_of_its_locks(manager: TaskStateManager, store: Store, clock: FakeClock) -> None:
    await store.add(specs(1))
    for _ in range(6):
        manager.skip(next_task(manager))
        clock.advance(6)
    claim = await claim_next(manager)
    await manager.settle(claim, end(claim, TaskState.PENDING))
    manager.skip(next_task(manager))
    clock.advance(0.5)
    assert next_ids(manager) == ["t1"]


async def test_idle_workers_ask_the_store_seldom(
    manager: TaskStateManager, store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.add(specs(1))
    manager.skip(next_task(manager))
    asked = 0
    ready = store.ready

    def counting(limit: int, now: float, busy: Collection[str]) -> object:
        nonlocal asked
        asked += 1
        return ready(limit, now, busy)

    monkeypatch.setattr(store, "ready", counting)
    for _ in range(1000):  # sixty workers, one moment
        assert manager.get_next_pending_task() is None
    assert asked <= 1


async def rounds_in(manager: TaskStateManager, loop_turns: int) -> int:
    """How often an idle worker looks for work in so many turns of the event loop."""
    rounds = 0

    async def worker() -> None:
        nonlocal rounds
        while manager.get_next_pending_task() is None and await manager.wait_for_work():
            rounds += 1

    task = asyncio.create_task(worker())
    await turns(loop_turns)
    task.cancel()
    await asyncio.wait([task])
    return rounds


async def test_a_task_that_ended_elsewhere_leaves_no_spinning_behind(
    manager: TaskStateManager, store: Store, clock: FakeClock
) -> None:
    """It was locked by another process once, which finished it: its waiting time must not be over for ever."""
    await store.add(specs(2))
    await claim_next(manager)  # something still runs, so that workers stay
    manager.skip(next_task(manager))
    await run(store, "t2")
    clock.advance(1)
    assert await rounds_in(manager, 300) <= 2


async def test_a_task_beyond_the_limit_leaves_no_spinning_behind(store: Store, clock: FakeClock) -> None:
    manager = TaskStateManager(store, clock=clock, limit=1)
    await store.add(specs(2))
    claim = await claim_next(manager)
    await run(store, "t2", TaskState.PENDING, available_at=clock.now() + 1)
    clock.advance(2)
    assert await rounds_in(manager, 300) <= 2
    await manager.settle(claim, end(claim, TaskState.SUCCEEDED))


# -- waiting ---------------------------------------------------------------------------------------------------------
async def test_workers_leave_only_when_nothing_is_left(manager: TaskStateManager, store: Store) -> None:
    assert not await manager.wait_for_work()  # an empty project
    await store.add(specs(1))
    claim = await claim_next(manager)
    waiting = [asyncio.create_task(manager.wait_for_work()) for _ in range(3)]
    await turns()
    assert not any(task.done() for task in waiting)  # one may still come back
    await manager.settle(claim, end(claim, TaskState.PENDING))
    assert await asyncio.gather(*waiting) == [True] * 3
    claim = await claim_next(manager)
    waiting = [asyncio.create_task(manager.wait_for_work()) for _ in range(3)]
    await turns()
    await manager.settle(claim, end(claim, TaskState.SUCCEEDED))
    assert await asyncio.gather(*waiting) == [False] * 3


async def test_a_task_that_ends_among_others_wakes_nobody(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(2))
    first, second = await claim_next(manager), await claim_next(manager)
    waiting = [asyncio.create_task(manager.wait_for_work()) for _ in range(3)]
    await turns()
    await manager.settle(first, end(first, TaskState.SUCCEEDED))
    await turns()
    assert not any(task.done() for task in waiting)
    await manager.settle(second, end(second, TaskState.SUCCEEDED))
    assert await asyncio.gather(*waiting) == [False] * 3


async def test_the_one_told_of_the_last_task_may_go_at_that_moment(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(1))
    claim = await claim_next(manager)
    waiting = [asyncio.create_task(manager.wait_for_work()) for _ in range(3)]
    await turns()
    await manager.settle(claim, end(claim, TaskState.SUCCEEDED))
    waiting[2].cancel()  # the one that was told, as the last of them
    async with asyncio.timeout(5):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert results[:2] == [False, False]


async def test_a_change_wakes_all(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(1))
    await claim_next(manager)
    for change in (manager.notify, lambda: manager.hand_back(task_of(store, "t1"))):
        waiting = [asyncio.create_task(manager.wait_for_work()) for _ in range(3)]
        await turns()
        assert not any(task.done() for task in waiting)
        change()
        await turns()
        assert all(task.done() for task in waiting)


async def test_a_task_whose_time_comes_between_looking_and_waiting_is_not_missed(
    manager: TaskStateManager, store: Store, clock: FakeClock
) -> None:
    await store.add(specs(1))
    await run(store, "t1", TaskState.PENDING, available_at=clock.now() + 1)
    clock.advance(0.999)
    assert manager.get_next_pending_task() is None
    clock.advance(0.002)
    async with asyncio.timeout(5):
        assert await manager.wait_for_work()
    assert next_ids(manager) == ["t1"]


async def test_a_skip_that_ends_between_looking_and_waiting_is_not_missed(
    manager: TaskStateManager, store: Store, clock: FakeClock
) -> None:
    await store.add(specs(1))
    manager.skip(next_task(manager))
    assert manager.get_next_pending_task() is None
    clock.advance(0.3)
    async with asyncio.timeout(5):
        assert await manager.wait_for_work()
    assert next_ids(manager) == ["t1"]


async def test_many_workers_over_many_tasks(store: Store) -> None:
    """The loop of a worker in small: each task once, all workers leave."""
    manager = TaskStateManager(store)
    await store.add(specs(200))
    seen: list[str] = []

    async def worker(name: str) -> None:
        while True:
            task = manager.get_next_pending_task()
            if task is None:
                if not await manager.wait_for_work():
                    return
                continue
            claim = await manager.claim(task, name)
            assert claim is not None
            first = claim.task.id not in seen
            seen.append(claim.task.id)
            state = TaskState.PENDING if first and task.seq % 5 == 0 else TaskState.SUCCEEDED
            await manager.settle(claim, end(claim, state))

    async with asyncio.timeout(20):
        await asyncio.gather(*(worker(f"w{n}") for n in range(20)))
    assert len(seen) == 240
    assert store.counts() == Counts(succeeded=200)
    assert manager.running == {}
    check(store)
