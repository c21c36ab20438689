"""What every form of the task store must do: what may be claimed, claims and how they end."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from agentdash.engine.store import Claim
from agentdash.model import Counts, TaskState, Totals
from tests.support.stored import NOW, Store, check, claim, end, run, spec, specs, task_of

SUCCEEDED, FAILED, CANCELLED = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED
PENDING, RUNNING = TaskState.PENDING, TaskState.RUNNING


def ready_ids(store: Store, now: float = NOW, limit: int = 100) -> list[str]:
    return [ready.id for ready in store.ready(limit, now)]


# -- ready -----------------------------------------------------------------------------------------------------------
async def test_ready_by_priority_then_age(store: Store) -> None:
    lines = [("a", 0), ("b", 5), ("c", -1), ("d", 5), ("e", 0)]
    await store.add(spec(task_id, priority=priority) for task_id, priority in lines)
    assert ready_ids(store) == ["b", "d", "a", "e", "c"]
    assert ready_ids(store, limit=2) == ["b", "d"]
    first = store.ready(1, NOW)[0]
    assert (first.seq, first.priority, first.fence) == (2, 5, 0)
    await claim(store, "b")
    assert ready_ids(store) == ["d", "a", "e", "c"]


async def test_not_ready_before_its_time(store: Store) -> None:
    await store.add(specs(3))
    assert store.next_available_at(NOW) is None
    await run(store, "t1", PENDING, available_at=NOW + 10)
    await run(store, "t2", PENDING, available_at=NOW + 5)
    assert ready_ids(store) == ["t3"]
    assert store.next_available_at(NOW) == NOW + 5
    assert store.next_available_at(NOW + 5) == NOW + 10
    assert store.next_available_at(NOW + 10) is None
    assert ready_ids(store, NOW + 5) == ["t2", "t3"]
    assert ready_ids(store, NOW + 10) == ["t1", "t2", "t3"]


# -- claim, settle, reclaim ------------------------------------------------------------------------------------------
async def test_one_of_many_claims_wins(store: Store) -> None:
    await store.add(specs(1))
    task = task_of(store, "t1")
    won = await asyncio.gather(*(store.claim(task, f"p{n}", f"w{n}", NOW) for n in range(10)))
    assert won == [True] + [False] * 9
    (row,) = store.running()
    assert (row.owner, row.worker, row.fence, row.claimed_at, row.cancel_requested) == ("p0", "w0", 1, NOW, False)
    record = store.find("t1")
    assert record is not None
    assert (record.state, record.worker, record.claimed_at) == (RUNNING, "w0", NOW)
    check(store)


async def test_a_claim_needs_the_fence_that_was_loaded(store: Store) -> None:
    await store.add(specs(1))
    before = task_of(store, "t1")
    await run(store, "t1", PENDING)
    assert not await store.claim(before, "me", "w1", NOW)
    assert not await store.claim(replace(before, seq=99), "me", "w1", NOW)
    assert await store.claim(task_of(store, "t1"), "me", "w1", NOW)
    assert not store.claim_and_wait(task_of(store, "t1"), "me", "w1", NOW)


async def test_of_a_stale_and_a_fresh_claim_at_once_the_fresh_one_wins(store: Store) -> None:
    await store.add(specs(1))
    stale = task_of(store, "t1")
    await run(store, "t1", PENDING)
    fresh = task_of(store, "t1")
    late, true = store.claim(stale, "a", "w", NOW), store.claim(fresh, "b", "w", NOW)
    assert [await late, await true] == [False, True]
    assert [row.owner for row in store.running()] == ["b"]


@pytest.mark.parametrize("state", [SUCCEEDED, FAILED, CANCELLED])
async def test_settled_for_good(store: Store, state: TaskState) -> None:
    await store.add(specs(2))
    held = await claim(store, "t1")
    settlement = end(held, state, attempts=2, service_failures=3, crashes=1, totals=Totals(requests=2, cost_usd=0.5))
    assert await store.settle(held, settlement)
    record = store.find("t1")
    assert record is not None
    assert (record.state, record.attempts, record.service_failures, record.crashes) == (state, 2, 3, 1)
    assert (record.worker, record.claimed_at, record.finished_at) == ("w1", NOW, NOW + 1)
    assert (record.error_type, record.error_message) == (("Boom", "it broke") if state is FAILED else (None, None))
    assert store.result("t1") == settlement.result
    assert store.attempts("t1") == [settlement.attempt]
    assert store.totals() == Totals(requests=2, cost_usd=0.5)
    assert ready_ids(store) == ["t2"]
    assert not await store.settle(held, settlement)  # once
    assert store.totals().requests == 2
    check(store)


async def test_given_back(store: Store) -> None:
    await store.add(specs(1))
    held = await run(store, "t1", PENDING, attempts=1, error="try again", available_at=NOW + 3)
    record = store.find("t1")
    assert record is not None
    assert (record.state, record.finished_at, record.available_at) == (PENDING, None, NOW + 3)
    assert (record.error_type, record.error_message, record.attempts) == ("Boom", "try again", 1)
    task = task_of(store, "t1")
    assert (task.fence, task.attempts) == (held.task.fence, 1)
    assert store.result("t1") is None
    await run(store, "t1")
    assert [(a.fence, a.outcome) for a in store.attempts("t1")] == [(1, "pending"), (2, "succeeded")]
    record = store.find("t1")
    assert record is not None
    assert (record.error_type, record.error_message, record.available_at) == (None, None, 0.0)
    check(store)


async def test_an_owner_thought_dead_cannot_settle_over_its_successor(store: Store) -> None:
    await store.add(specs(1))
    old = await claim(store, "t1", owner="old")
    (row,) = store.running()
    assert await store.reclaim(row, end(row, PENDING, crashes=1))
    assert not await store.reclaim(row, end(row, PENDING, crashes=2))
    assert not await store.settle(old, end(old, SUCCEEDED))
    new = await claim(store, "t1", owner="new")
    assert not await store.settle(old, end(old, SUCCEEDED, output="too late"))
    assert not store.settle_and_wait(old, end(old, SUCCEEDED, output="too late"))
    assert store.counts() == Counts(running=1)
    assert await store.settle(new, end(new, SUCCEEDED, output="the one"))
    assert not await store.settle(old, end(old, FAILED))
    assert '"output":"the one"' in (store.result("t1") or "")
    assert [a.fence for a in store.attempts("t1")] == [1, 2]
    check(store)


async def test_of_a_stale_and_a_true_settlement_at_once_the_true_one_counts(store: Store) -> None:
    await store.add(specs(1))
    old = await run(store, "t1", PENDING)
    new = await claim(store, "t1")
    late, true = store.settle(old, end(old, FAILED)), store.settle(new, end(new, SUCCEEDED))
    assert [await late, await true] == [False, True]
    assert task_of(store, "t1").state is SUCCEEDED
    assert store.totals().requests == 2
    check(store)


async def test_many_claims_and_settlements_at_once(store: Store) -> None:
    await store.add(specs(600))
    tasks = [task_of(store, f"t{n}") for n in range(1, 601)]
    assert all(await asyncio.gather(*(store.claim(task, "me", "w1", NOW) for task in tasks)))
    claims = [Claim(replace(task, fence=1), "me", "w1", NOW) for task in tasks]
    states = [SUCCEEDED, FAILED, PENDING]
    ends = [store.settle(held, end(held, states[n % 3])) for n, held in enumerate(claims)]
    assert all([await one for one in ends])
    assert store.counts() == Counts(pending=200, succeeded=200, failed=200)
    assert store.totals().requests == 600
    check(store)


async def test_the_attempts_kept_are_the_newest_fifty(store: Store) -> None:
    await store.add(specs(1))
    for _ in range(53):
        await run(store, "t1", PENDING)
    assert [a.fence for a in store.attempts("t1")] == list(range(4, 54))
    assert store.attempts("unknown") == []


async def test_what_attempts_have_cost_adds_up_and_outlives_a_requeue(store: Store) -> None:
    await store.add(specs(1))
    for state, cost in ((PENDING, 0.25), (FAILED, 0.5), (PENDING, 0.0), (PENDING, 1.0)):
        if task_of(store, "t1").state is FAILED:
            assert await store.requeue(["t1"]) == 1
        held = await claim(store, "t1")
        settlement = end(held, state, totals=Totals(cost_usd=cost))
        assert await store.settle(held, settlement)
        assert not await store.settle(held, settlement), "once"
    assert task_of(store, "t1").cost_usd == 1.75
    assert (await claim(store, "t1")).task.cost_usd == 1.75
    assert store.totals().cost_usd == 1.75
    await store.reclaim(store.running()[0], end(store.running()[0], PENDING))
    await store.cancel(["t1"], NOW)
    assert json.loads(store.result("t1") or "")["agentdash"]["cost_usd"] == 1.75
