"""What every form of the task store must do: requeue and cancel."""

from __future__ import annotations

import json

from agentdash.model import Counts, TaskState
from tests.support.stored import NOW, Store, check, claim, end, run, specs, task_of

SUCCEEDED, FAILED, CANCELLED = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED
PENDING = TaskState.PENDING


# -- requeue ---------------------------------------------------------------------------------------------------------
async def test_requeue_by_id(store: Store) -> None:
    await store.add(specs(5))
    before = await run(store, "t1", FAILED, attempts=3, service_failures=4, crashes=5, available_at=NOW + 99)
    await run(store, "t2", SUCCEEDED)
    await claim(store, "t3")
    await store.cancel(["t4"], NOW)
    assert await store.requeue(["t1", "t1", "t2", "t3", "t4", "t5", "unknown"]) == 2
    assert store.counts() == Counts(pending=3, running=1, succeeded=1)
    task = task_of(store, "t1")
    assert (task.attempts, task.service_failures, task.crashes) == (0, 0, 0)
    assert task.fence == before.task.fence + 1
    record = store.find("t1")
    assert record is not None
    assert (record.available_at, record.finished_at, record.error_type, record.error_message) == (0.0, None, None, None)
    assert store.result("t1") is None
    assert len(store.attempts("t1")) == 1  # the history stays
    assert [ready.id for ready in store.ready(100, NOW)] == ["t1", "t4", "t5"]
    check(store)
    await run(store, "t1")
    assert json.loads(store.result("t1") or "")["result"]["type"] == "succeeded"
    assert await store.requeue([]) == 0
    check(store)


async def test_requeue_all_failed_or_those_with_an_error(store: Store) -> None:
    await store.add(specs(5))
    await run(store, "t1", FAILED, error="no room % left", error_type="DiskError")
    await run(store, "t2", FAILED, error="timed out")
    await run(store, "t3", FAILED, error="room")
    await run(store, "t4", SUCCEEDED)
    await store.cancel(["t5"], NOW)
    assert await store.requeue(None, error_contains="ROOM") == 0
    assert await store.requeue(None, error_contains="% left") == 1
    assert await store.requeue(None, error_contains="Boo") == 2  # the error's type counts too
    assert store.counts() == Counts(pending=3, succeeded=1, cancelled=1)
    await run(store, "t1", FAILED)
    await run(store, "t2", FAILED)
    assert await store.requeue(None) == 2
    assert store.counts() == Counts(pending=3, succeeded=1, cancelled=1)
    check(store)


async def test_what_was_loaded_before_a_requeue_cannot_be_claimed(store: Store) -> None:
    await store.add(specs(1))
    loaded = task_of(store, "t1")
    await store.cancel(["t1"], NOW)
    await store.requeue(["t1"])
    assert not await store.claim(loaded, "me", "w1", NOW)
    assert await store.claim(task_of(store, "t1"), "me", "w1", NOW)


# -- cancel ----------------------------------------------------------------------------------------------------------
async def test_cancel(store: Store) -> None:
    await store.add(specs(4))
    loaded = task_of(store, "t1")
    held = await claim(store, "t2")
    await run(store, "t3")
    assert await store.cancel(["t1", "t1", "t2", "t3", "unknown"], NOW + 7) == (1, 1)
    assert store.counts() == Counts(pending=1, running=1, succeeded=1, cancelled=1)
    record = store.find("t1")
    assert record is not None
    assert (record.state, record.finished_at) == (CANCELLED, NOW + 7)
    line = json.loads(store.result("t1") or "")
    assert line["result"] == {"type": "canceled"}
    assert line["agentdash"]["state"] == "cancelled"
    assert not await store.claim(loaded, "me", "w1", NOW)
    assert [row.cancel_requested for row in store.running()] == [True]
    assert await store.cancel(["t1"], NOW) == (0, 0)
    check(store)
    # The wish is for this run of the task: given back and claimed again, it is not asked to stop.
    await store.settle(held, end(held, PENDING))
    await claim(store, "t2")
    assert [row.cancel_requested for row in store.running()] == [False]
