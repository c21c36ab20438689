"""A worker's loop in virtual time: locked tasks, and one task stopped while it runs or while its end is written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentdash import TaskStateManager, work_stealing_loop
from agentdash.engine.store import MemoryTaskStore
from tests.support.bench import CLOCK, Bench, a_second
from tests.support.virtual_loop import virtual


# -- locked tasks ------------------------------------------------------------------------------------------------------
@virtual
async def test_a_locked_task_is_passed_over_without_spinning() -> None:
    bench = Bench(5, a_second, workers=8)
    bench.lock.refused.add("t2")
    running = bench.start()
    await asyncio.sleep(60)
    assert bench.states() == {"succeeded": 4, "pending": 1}
    assert 10 <= bench.lock.tries["t2"] <= 40
    bench.lock.refused.clear()
    await running
    assert bench.states() == {"succeeded": 5}
    assert CLOCK.monotonic() - 1000 < 67


@virtual
async def test_a_task_that_was_locked_and_then_finished_elsewhere_is_forgotten() -> None:
    """Its turn to be tried again passed long ago: nobody may turn in circles over that."""

    async def body(task: dict[str, Any], worker_id: str) -> None:
        await asyncio.sleep(60)

    bench = Bench(2, body, workers=3)
    bench.lock.refused.add("t1")
    running = bench.start()
    await asyncio.sleep(1)
    bench.manager.update_task("t1", is_complete=True)
    await running
    assert bench.states() == {"succeeded": 2}


# -- one task stopped --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stubborn", [False, True])
@virtual
async def test_cancelling_a_running_task_does_not_cost_the_worker(stubborn: bool) -> None:
    async def body(task: dict[str, Any], worker_id: str) -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            if not stubborn:
                raise
        return "done"

    bench = Bench(6, body, workers=1)
    running = bench.start()
    for _ in range(3):
        await asyncio.sleep(1)
        (seq,) = bench.manager.running
        assert bench.manager.request_stop(seq, "cancel")
        assert not bench.manager.request_stop(seq, "cancel")
    await asyncio.sleep(1)
    assert bench.alive() == 1
    await running
    assert bench.states() == ({"succeeded": 6} if stubborn else {"cancelled": 3, "succeeded": 3})
    assert not bench.events("restarted")


@virtual
async def test_a_processor_that_swallowed_a_stop_and_later_raises_cancelled_error_itself() -> None:
    async def body(task: dict[str, Any], worker_id: str) -> str:
        if task["id"] == "t1":
            raise asyncio.CancelledError
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return "swallowed"
        return "done"

    bench = Bench(3, body, workers=1)
    running = bench.start()
    await asyncio.sleep(1)
    bench.manager.request_stop(1, "cancel")
    await running
    assert bench.states() == {"succeeded": 2, "failed": 1}


@virtual
async def test_a_task_whose_lock_was_lost_is_not_settled() -> None:
    bench = Bench(2, a_second, workers=1)
    running = bench.start()
    await asyncio.sleep(0.5)
    bench.manager.request_stop(1, "compromised")
    await asyncio.sleep(2)
    assert bench.states() == {"running": 1, "succeeded": 1}
    assert not bench.manager.running
    assert bench.alive() == 1  # it waits: that task runs somewhere
    bench.pool.abort()
    await running


class SlowStore(MemoryTaskStore):
    """Settling takes a second, as on a slow disk."""

    def settle(self, claim: Any, settlement: Any) -> Any:
        done = super().settle(claim, settlement)
        slow = type(done)()

        async def later() -> None:
            await asyncio.sleep(1)
            slow.set_result(done.result())

        self.writing = asyncio.create_task(later())
        return slow


@pytest.mark.parametrize("how", ["stop", "abort", "cancel twice"])
@virtual
async def test_being_cancelled_while_the_answer_is_written_loses_nothing(how: str) -> None:
    bench = Bench(0, a_second, workers=1)
    bench.store = SlowStore()
    bench.manager = TaskStateManager(bench.store, clock=CLOCK)
    bench.manager.add_tasks([{"id": "t0"}, {"id": "t1"}])
    running = bench.start()
    await asyncio.sleep(1.5)
    if how == "stop":
        assert not bench.manager.request_stop(1, "cancel")  # too late: it has ended
        worker = bench.pool.views()[0]
        assert worker.task == "t0"
    else:
        bench.pool.abort()
        if how == "cancel twice":
            await asyncio.sleep(0.1)
            bench.pool.abort()
    await running
    assert bench.states() == ({"succeeded": 2} if how == "stop" else {"succeeded": 1, "pending": 1})
    assert not bench.lock.held


# -- a loop by itself --------------------------------------------------------------------------------------------------
@virtual
async def test_loops_without_a_pool_spare_a_server_that_is_down() -> None:
    async def body(task: dict[str, Any], worker_id: str) -> None:
        if CLOCK.monotonic() < 1600:
            raise ConnectionRefusedError("nobody there")

    bench = Bench(50, body)
    loops = [work_stealing_loop(f"worker-{n}", bench.manager, bench.lock, bench.runner) for n in range(4)]
    await asyncio.gather(*loops)
    assert bench.states() == {"succeeded": 50}
    assert len(bench.calls) < 50 + 120
    assert CLOCK.monotonic() < 1600 + 65
