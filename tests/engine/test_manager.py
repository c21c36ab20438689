"""The queue as workers see it: order, one worker a task, claims and how they end, the limit."""

from __future__ import annotations

import asyncio

from agentdash.engine.manager import TaskStateManager
from agentdash.engine.store import Claim
from agentdash.model import Counts, TaskState, Totals
from tests.engine.handing import claim_next, next_ids, next_task
from tests.support.clock import FakeClock
from tests.support.stored import Store, check, end, run, spec, specs, task_of


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
