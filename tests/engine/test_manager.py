"""The queue as workers see it: order, one worker a task, locked tasks passed over without spinning, the limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest

from agentdash.engine.manager import TaskStateManager
from agentdash.engine.store import Claim, MemoryTaskStore, SqliteTaskStore
from agentdash.errors import TransitionError
from agentdash.model import Counts, Task, TaskState, Totals
from tests.support.clock import FakeClock
from tests.support.stored import Store, check, end, run, spec, specs, task_of


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    found: Store = MemoryTaskStore() if request.param == "memory" else SqliteTaskStore(tmp_path)
    yield found
    await found.close()


@pytest.fixture
def manager(store: Store, clock: FakeClock) -> TaskStateManager:
    return TaskStateManager(store, owner="me", clock=clock)


def next_ids(manager: TaskStateManager, most: int = 1000) -> list[str]:
    """All that is handed out now."""
    found: list[str] = []
    while len(found) < most and (task := manager.get_next_pending_task()) is not None:
        found.append(task.id)
    return found


def next_task(manager: TaskStateManager) -> Task:
    task = manager.get_next_pending_task()
    assert task is not None
    return task


async def claim_next(manager: TaskStateManager) -> Claim:
    claim = await manager.claim(next_task(manager), "w1")
    assert claim is not None
    return claim


async def turns(number: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(number):
        await asyncio.sleep(0)


# -- order -----------------------------------------------------------------------------------------------------------
async def test_by_priority_then_age_each_to_one_worker(manager: TaskStateManager, store: Store) -> None:
    await store.add(spec(f"t{n}", priority=n % 3) for n in range(700))
    ids = next_ids(manager)
    assert ids == [f"t{n}" for p in (2, 1, 0) for n in range(700) if n % 3 == p]
    assert manager.get_next_pending_task() is None
    assert store.counts() == Counts(pending=700)  # handed out, not claimed


async def test_handed_out_once_also_when_the_window_is_old(
    manager: TaskStateManager, store: Store, clock: FakeClock
) -> None:
    await store.add(specs(4))
    assert next_ids(manager, 2) == ["t1", "t2"]
    clock.advance(5)
    assert next_ids(manager) == ["t3", "t4"]
    clock.advance(5)
    assert next_ids(manager) == []
    manager.hand_back(task_of(store, "t3"))
    assert next_ids(manager) == ["t3"]


async def test_what_became_of_it_meanwhile_is_noticed(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(5))
    assert next_ids(manager, 1) == ["t1"]
    await run(store, "t2")
    await store.cancel(["t3"], 0)
    await run(store, "t4", TaskState.PENDING)  # another fence
    assert next_ids(manager, 1) == ["t5"]


async def test_a_more_urgent_task_comes_next_within_a_second(
    manager: TaskStateManager, store: Store, clock: FakeClock
) -> None:
    await store.add([*specs(10), spec("urgent", priority=9)])
    await run(store, "urgent", TaskState.FAILED)
    assert next_ids(manager, 2) == ["t1", "t2"]
    await store.requeue(["urgent"])
    clock.advance(1.01)
    assert next_ids(manager, 2) == ["urgent", "t3"]


async def test_a_clock_that_goes_back_does_not_stop_it(
    manager: TaskStateManager, store: Store, clock: FakeClock
) -> None:
    await store.add(specs(3))
    assert next_ids(manager, 1) == ["t1"]
    clock.advance(-3600)
    assert next_ids(manager) == ["t2", "t3"]


# -- claims ----------------------------------------------------------------------------------------------------------
async def test_claim_and_settle(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(2))
    claim = await claim_next(manager)
    assert (claim.task.id, claim.task.fence, claim.owner, claim.worker) == ("t1", 1, "me", "w1")
    assert [r.claim for r in manager.running.values()] == [claim]
    assert not await manager.settle(claim, end(claim, TaskState.SUCCEEDED))
    assert manager.running == {}
    assert manager.progress == 1
    assert store.counts() == Counts(pending=1, succeeded=1)


async def test_a_claim_that_comes_too_late(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(1))
    task = next_task(manager)
    await run(store, "t1", TaskState.PENDING)
    assert await manager.claim(task, "w1") is None
    assert manager.running == {}
    manager.notify()
    assert next_task(manager).fence == 1  # it can be had again


async def test_given_back_it_is_handed_out_again(manager: TaskStateManager, store: Store, clock: FakeClock) -> None:
    await store.add(specs(1))
    for _ in range(3):
        claim = await claim_next(manager)
        await manager.settle(claim, end(claim, TaskState.PENDING, available_at=clock.now() + 2))
        assert manager.get_next_pending_task() is None
        clock.advance(2)


async def test_a_claim_that_is_cancelled_gives_the_task_back(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(1))
    worker = asyncio.create_task(manager.claim(next_task(manager), "w1"))
    await asyncio.sleep(0)
    worker.cancel()
    outcome = (await asyncio.gather(worker, return_exceptions=True))[0]
    if isinstance(outcome, Claim):  # the store in memory answers before the cancellation can come
        assert not store.shared
        return
    assert isinstance(outcome, asyncio.CancelledError)
    assert store.counts() == Counts(pending=1)
    assert manager.running == {}
    assert task_of(store, "t1").attempts == 0
    assert next_ids(manager) == ["t1"]


async def test_a_late_settlement_does_not_hide_the_successor_here(manager: TaskStateManager, store: Store) -> None:
    """A task that was reclaimed and is run again by the same process stays in its books."""
    await store.add(specs(1))
    old = await claim_next(manager)
    (row,) = store.running()
    await store.reclaim(row, end(row, TaskState.PENDING))
    manager.forget(old)
    new = await claim_next(manager)
    await manager.settle(old, end(old, TaskState.SUCCEEDED))
    assert [r.claim for r in manager.running.values()] == [new]
    manager.forget(old)
    assert [r.claim for r in manager.running.values()] == [new]
    await manager.settle(new, end(new, TaskState.SUCCEEDED))
    assert manager.running == {}
    check(store)


async def test_request_stop(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(2))
    claim = await claim_next(manager)
    seq = claim.task.seq
    assert not manager.request_stop(99, "cancel")
    assert not manager.request_stop(seq, "cancel")  # nobody works on it yet
    runner = asyncio.create_task(asyncio.Event().wait())
    manager.running[seq].runner = runner
    assert manager.request_stop(seq, "cancel")
    assert not manager.request_stop(seq, "compromised")  # the first reason stays
    await asyncio.wait([runner])
    assert runner.cancelled()
    assert manager.running[seq].stop == "cancel"
    for reason, state in (("cancel", TaskState.CANCELLED), ("shutdown", TaskState.PENDING), (None, TaskState.PENDING)):
        settlement = manager.settlement_for_stop(claim, reason)
        assert settlement.state is state
        assert (settlement.result is not None) == (state is TaskState.CANCELLED)
        assert settlement.attempts == 0
        assert settlement.totals == Totals()


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


# -- the limit -------------------------------------------------------------------------------------------------------
async def test_the_limit_counts_tasks_begun(store: Store, clock: FakeClock) -> None:
    manager = TaskStateManager(store, clock=clock, limit=2)
    await store.add(specs(5))
    first, second = await claim_next(manager), await claim_next(manager)
    assert manager.get_next_pending_task() is None
    await manager.settle(first, end(first, TaskState.PENDING))
    assert next_ids(manager, 1) == ["t1"]  # begun already, so it may go on
    manager.hand_back(task_of(store, "t1"))
    again = await claim_next(manager)
    await manager.settle(again, end(again, TaskState.SUCCEEDED))
    await manager.settle(second, end(second, TaskState.FAILED))
    assert manager.get_next_pending_task() is None
    assert not await manager.wait_for_work()
    assert store.counts() == Counts(pending=3, succeeded=1, failed=1)


async def test_a_task_that_was_only_met_locked_does_not_count(store: Store, clock: FakeClock) -> None:
    manager = TaskStateManager(store, clock=clock, limit=2)
    await store.add(specs(5))
    manager.skip(next_task(manager))
    lost = next_task(manager)
    assert lost.id == "t2"
    await run(store, "t2")
    assert await manager.claim(lost, "w1") is None
    clock.advance(2)
    manager.skip(task_of(store, "t1"))
    assert next_ids(manager) == ["t3", "t4"]


# -- the public pattern ----------------------------------------------------------------------------------------------
async def test_update_task_by_hand(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(4))
    task = next_task(manager)
    assert manager.update_task(task.id, is_started=True)
    assert task_of(store, "t1").state is TaskState.RUNNING
    assert not manager.update_task(task.id, is_started=True)  # once
    assert manager.update_task(task.id, is_complete=True)
    assert task_of(store, "t1").state is TaskState.SUCCEEDED
    assert manager.update_task("t2", is_started=True)
    assert manager.update_task("t2", is_complete=True, error_message="broken", attempts=7)
    record = store.find("t2")
    assert record is not None
    assert (record.state, record.error_message, record.attempts) == (TaskState.FAILED, "broken", 7)
    assert manager.update_task("t3", error_message="refused")  # straight from pending
    assert task_of(store, "t3").state is TaskState.FAILED
    assert manager.update_task("t4", is_started=True)
    assert manager.update_task("t4", is_started=False)
    assert (task_of(store, "t4").state, task_of(store, "t4").attempts) == (TaskState.PENDING, 0)
    assert next_ids(manager) == ["t4"]
    assert not manager.update_task("t4")
    check(store)


async def test_update_task_of_what_cannot_be(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(2))
    assert manager.get_task("unknown") is None
    with pytest.raises(KeyError):
        manager.update_task("unknown", is_started=True)
    with pytest.raises(TransitionError, match="is pending, not running"):
        manager.update_task("t1", is_started=False)
    manager.update_task("t1", is_complete=True)
    with pytest.raises(TransitionError, match="is succeeded: requeue it first"):
        manager.update_task("t1", is_started=True)
    with pytest.raises(TransitionError, match="is succeeded, not running"):
        manager.update_task("t1", is_complete=True)
    with pytest.raises(TransitionError, match="is succeeded, not running"):
        manager.update_task("t1", is_started=False)
    check(store)


async def test_update_task_leaves_the_work_of_others_alone(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(2))
    other = TaskStateManager(store, owner="other")
    assert other.update_task("t1", is_started=True)
    assert not manager.update_task("t1", is_complete=True)
    assert not manager.update_task("t1", error_message="mine!")
    assert not manager.update_task("t1", is_started=False)
    assert task_of(store, "t1").state is TaskState.RUNNING
    (row,) = store.running()
    await store.reclaim(row, end(row, TaskState.PENDING, crashes=1))
    assert manager.update_task("t1", is_started=True)
    assert not other.update_task("t1", is_complete=True)  # its claim has a successor
    assert manager.update_task("t1", is_complete=True)
    check(store)


async def test_add_tasks() -> None:
    manager = TaskStateManager()
    added = manager.add_tasks([{"id": "a"}, {"prompt": "x"}, {"id": "a", "priority": 3}, {"id": 7}])
    assert [task.id for task in added] == ["a", "task-1", "a-2", "7"]
    assert next_ids(manager) == ["a-2", "a", "task-1", "7"]


def test_add_tasks_needs_memory(tmp_path: Path) -> None:
    manager = TaskStateManager(tmp_path)
    assert isinstance(manager.store, SqliteTaskStore)
    with pytest.raises(TypeError, match=r"Engine\.add"):
        manager.add_tasks([{"id": "a"}])
    manager.store.close_and_wait()
