"""The pool in virtual time: pausing, resizing, draining, and what happens when a part of it fails."""

from __future__ import annotations

import asyncio
import errno
from typing import Any

import pytest

from agentdash import ParallelSessionManager
from agentdash.engine.processors import FunctionProcessor, TaskContext
from agentdash.errors import NoMemoryError, StoreWriteError
from agentdash.model import TaskState
from tests.support.bench import CLOCK, Bench, a_second
from tests.support.virtual_loop import virtual


# -- the plain way -----------------------------------------------------------------------------------------------------
@virtual
async def test_all_tasks_are_run_once_in_order_of_priority_and_age() -> None:
    order: list[str] = []

    async def body(task: dict[str, Any], worker_id: str) -> None:
        order.append(task["id"])
        await asyncio.sleep(1)

    bench = Bench(0, body, workers=1)
    bench.manager.add_tasks(
        [{"id": "low", "priority": -1}, {"id": "b"}, {"id": "c"}, {"id": "high", "priority": 5}, {"id": "d"}]
    )
    await bench.run()
    assert order == ["high", "b", "c", "d", "low"]
    assert bench.states() == {"succeeded": 5}
    assert not bench.lock.held


@virtual
async def test_workers_work_at_the_same_time() -> None:
    bench = Bench(30, a_second, workers=10)
    started = CLOCK.monotonic()
    await bench.run()
    assert CLOCK.monotonic() - started == pytest.approx(3, abs=0.1)
    assert len({worker for _, _, worker in bench.calls}) == 10


@virtual
async def test_workers_stay_while_others_may_requeue() -> None:
    """Nine idle workers wait for the tenth, whose task fails after ten seconds and is then taken at once."""
    failed = False

    async def body(task: dict[str, Any], worker_id: str) -> None:
        nonlocal failed
        await asyncio.sleep(10)
        if not failed:
            failed = True
            bench.manager.add_tasks([{"id": f"late{n}"} for n in range(9)])
            raise ValueError("once")

    bench = Bench(1, body, workers=10)
    running = bench.start()
    await asyncio.sleep(9.5)
    assert bench.alive() == 10
    await running
    assert bench.states() == {"succeeded": 10}
    late = {worker for at, task, worker in bench.calls if task.startswith("late")}
    assert len(late) == 9
    assert all(at < 10.5 for at, task, _ in bench.calls if task.startswith("late"))


@virtual
async def test_a_pool_runs_again() -> None:
    pool = ParallelSessionManager(2, clock=CLOCK)
    for _ in range(3):
        results = await pool.run_parallel_agents([{"n": n} for n in range(5)], a_second)
        assert all(result["success"] for result in results)


@virtual
async def test_one_run_at_a_time() -> None:
    bench = Bench(2, a_second)
    running = bench.start()
    await asyncio.sleep(0.5)
    with pytest.raises(RuntimeError, match="running already"):
        await bench.run()
    await running
    assert bench.states() == {"succeeded": 2}


# -- steering ----------------------------------------------------------------------------------------------------------
@virtual
async def test_pause_and_resume() -> None:
    bench = Bench(20, a_second, workers=2)
    running = bench.start()
    await asyncio.sleep(2.5)
    bench.pool.pause()
    await asyncio.sleep(100)
    assert bench.states() == {"succeeded": 6, "pending": 14}
    assert {view.state for view in bench.pool.views()} == {"paused"}
    bench.pool.resume()
    await running
    assert bench.states() == {"succeeded": 20}
    assert all(at < 3 or at > 102 for at, _, _ in bench.calls)


@virtual
async def test_a_worker_is_idle_since_its_last_task_ended() -> None:
    """Not since it began: looking for work in vain changes nothing, a task in between does."""
    bench = Bench(0, a_second, workers=2)

    async def long(task: dict[str, Any], worker_id: str) -> None:
        await asyncio.sleep(100 if task["id"] == "long" else 1)

    bench.body = long
    bench.manager.add_tasks([{"id": "long"}, {"id": "short"}])
    running = bench.start()
    began = CLOCK.now()
    await asyncio.sleep(0.5)
    assert [(view.state, view.since - began) for view in bench.pool.views()] == [("running", 0), ("running", 0)]
    await asyncio.sleep(25)
    bench.manager.notify()
    await asyncio.sleep(1)
    (idle,) = [view for view in bench.pool.views() if view.state == "idle"]
    assert idle.since - began == pytest.approx(1)
    bench.manager.add_tasks([{"id": "late"}])
    await asyncio.sleep(0.5)
    assert all(view.state == "running" for view in bench.pool.views())
    await asyncio.sleep(0.6)
    (idle,) = [view for view in bench.pool.views() if view.state == "idle"]
    assert CLOCK.now() - idle.since < 0.2
    await running


@virtual
async def test_resize_up_and_down() -> None:
    bench = Bench(100, a_second, workers=2)
    running = bench.start()
    await asyncio.sleep(0.5)
    bench.pool.resize(6)
    await asyncio.sleep(1)
    assert bench.alive() == 6
    bench.pool.resize(3)
    await asyncio.sleep(1.1)
    assert [view.id for view in bench.pool.views()] == ["worker-0", "worker-1", "worker-2"]
    with pytest.raises(ValueError, match="at least one"):
        bench.pool.resize(0)
    await running
    assert bench.states() == {"succeeded": 100}


@virtual
async def test_resizing_back_and_forth_while_tasks_run_leaves_the_number_asked_for() -> None:
    async def body(task: dict[str, Any], worker_id: str) -> None:
        await asyncio.sleep(3 if worker_id in ("worker-3", "worker-4") else 1)

    bench = Bench(200, body, workers=5)
    running = bench.start()
    await asyncio.sleep(0.5)
    bench.pool.resize(2)
    await asyncio.sleep(1)  # worker-2 is gone, 3 and 4 are still at their tasks
    bench.pool.resize(4)
    await asyncio.sleep(5)
    assert sorted(view.id for view in bench.pool.views()) == [f"worker-{n}" for n in range(4)]
    for workers in (1, 7, 3, 3, 8, 2, 6):
        bench.pool.resize(workers)
        await asyncio.sleep(0.3)
    await asyncio.sleep(5)
    assert bench.alive() == 6
    await running
    assert bench.states() == {"succeeded": 200}


@virtual
async def test_resizing_up_just_as_the_surplus_worker_ends() -> None:
    bench = Bench(50, a_second, workers=3)
    running = bench.start()
    await asyncio.sleep(0.5)
    bench.pool.resize(2)
    surplus = bench.pool._crew.workers["worker-2"].task
    assert surplus is not None
    surplus.add_done_callback(lambda _: bench.pool.resize(3))
    await asyncio.sleep(3)
    assert bench.alive() == 3
    await running
    assert bench.states() == {"succeeded": 50}


@virtual
async def test_a_smaller_pool_shows_no_idle_leftovers() -> None:
    async def body(task: dict[str, Any], worker_id: str) -> None:
        await asyncio.sleep(50)

    bench = Bench(1, body, workers=5)
    running = bench.start()
    await asyncio.sleep(1)
    bench.pool.resize(1)
    await asyncio.sleep(1)
    assert bench.alive() <= 2  # the one that runs may be a surplus one
    await running


@virtual
async def test_drain_lets_running_tasks_end_and_takes_no_more() -> None:
    bench = Bench(20, a_second, workers=4)
    running = bench.start()
    await asyncio.sleep(2.5)
    bench.pool.drain()
    await running
    assert bench.states() == {"succeeded": 12, "pending": 8}
    assert CLOCK.monotonic() - 1000 == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize("state", ["idle", "paused", "backoff"])
@virtual
async def test_drain_ends_workers_that_wait(state: str) -> None:
    async def body(task: dict[str, Any], worker_id: str) -> None:
        if state == "backoff":
            raise ConnectionError("no")
        await asyncio.sleep(10)

    bench = Bench(1 if state == "idle" else 40, body, workers=4)
    running = bench.start()
    await asyncio.sleep(5)
    if state == "paused":
        bench.pool.pause()
        await asyncio.sleep(20)
    bench.pool.drain()
    asked = CLOCK.monotonic()
    await running
    assert CLOCK.monotonic() - asked <= (5.1 if state == "idle" else 0.1)
    assert bench.states()["running"] == 0


@virtual
async def test_abort_gives_running_tasks_back_free_of_charge() -> None:
    bench = Bench(20, a_second, workers=4)
    running = bench.start()
    await asyncio.sleep(2.5)
    bench.pool.abort()
    await running
    assert bench.states() == {"succeeded": 8, "pending": 12}
    assert CLOCK.monotonic() - 1000 == pytest.approx(2.5, abs=0.01)
    for record in bench.store.tasks([TaskState.PENDING]):
        assert (record.attempts, record.service_failures, record.crashes) == (0, 0, 0)
    assert not bench.lock.held


@virtual
async def test_cancelling_the_run_from_outside_gives_running_tasks_back() -> None:
    bench = Bench(5, a_second, workers=2)
    running = bench.start()
    await asyncio.sleep(0.5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.states() == {"pending": 5}
    assert not bench.lock.held


# -- faults ------------------------------------------------------------------------------------------------------------
@virtual
async def test_a_worker_that_crashes_is_started_again_and_its_task_is_not_lost() -> None:
    bench = Bench(10, a_second, workers=2)
    real = bench.runner.attempt
    crashes = 0

    async def attempt(claim: Any) -> Any:
        nonlocal crashes
        if claim.task.id == "t3" and crashes < 3:
            crashes += 1
            raise AttributeError("a bug of ours")
        return await real(claim)

    bench.runner.attempt = attempt  # type: ignore[method-assign]
    await bench.run()
    assert bench.states() == {"succeeded": 10}
    assert len(bench.events("restarted")) == 3
    assert not bench.lock.held


@virtual
async def test_a_bug_that_keeps_coming_back_ends_the_run_and_is_raised() -> None:
    bench = Bench(10, a_second, workers=2)

    async def attempt(claim: Any) -> Any:
        raise AttributeError("a bug of ours, of sk-ant-api03-aaaaaaaaaaaaaaaaaaaaa")

    bench.runner.attempt = attempt  # type: ignore[method-assign]
    with pytest.raises(AttributeError, match="a bug of ours"):
        await bench.run()
    assert bench.states() == {"pending": 10}
    assert len(bench.events("restarted")) <= 10
    assert not any("sk-ant" in text for text in bench.events("fault"))


@virtual
async def test_a_store_that_cannot_write_stops_claiming() -> None:
    bench = Bench(50, a_second, workers=4)
    real = bench.store.claim

    def claim(*args: Any) -> Any:
        if CLOCK.monotonic() >= 1003:
            raise StoreWriteError("disk full")
        return real(*args)

    bench.store.claim = claim  # type: ignore[method-assign,assignment]
    with pytest.raises(StoreWriteError, match="disk full"):
        await bench.run()
    assert bench.states() == {"succeeded": 12, "pending": 38}
    assert len(bench.events("fault")) == 1
    assert not bench.lock.held


@virtual
async def test_a_worker_whose_tasks_program_waits_by_itself_says_until_when_and_why() -> None:
    async def patient(task: dict[str, Any], worker_id: str, context: TaskContext) -> None:
        await asyncio.sleep(1)
        context.waits(5.0, "529 overloaded")
        await asyncio.sleep(10)

    bench = Bench(1, a_second, workers=1)
    bench.runner.processor = FunctionProcessor(patient)
    running = bench.start()
    await asyncio.sleep(2)
    (view,) = bench.pool.views()
    assert (view.state, view.task, view.last_error) == ("running", "t0", "529 overloaded")
    assert view.backoff_until == CLOCK.monotonic() + 4
    await asyncio.sleep(5)
    (view,) = bench.pool.views()
    assert (view.state, view.backoff_until, view.last_error) == ("running", None, None)
    await running


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.ENOMEM, "no memory"), RuntimeError("can't start new thread")], ids=repr
)
@virtual
async def test_a_process_without_memory_stops_at_once(error: Exception) -> None:
    bench = Bench(50, a_second, workers=4)
    real = bench.store.claim

    def claim(*args: Any) -> Any:
        if CLOCK.monotonic() >= 1003:
            raise error
        return real(*args)

    bench.store.claim = claim  # type: ignore[method-assign,assignment]
    with pytest.raises(NoMemoryError):
        await bench.run()
    assert bench.states() == {"succeeded": 12, "pending": 38}
    assert not bench.events("restarted")
    assert not bench.lock.held


@virtual
async def test_a_failing_listener_stops_nobody() -> None:
    def listener(event: object) -> None:
        raise BrokenPipeError

    async def body(task: dict[str, Any], worker_id: str) -> None:
        raise ValueError("no")

    bench = Bench(5, body)
    bench.pool.events.listeners.append(listener)
    await bench.run()
    assert bench.states() == {"failed": 5}
    assert isinstance(bench.pool.events.listener_fault, BrokenPipeError)


# -- between runs ------------------------------------------------------------------------------------------------------
@virtual
async def test_a_pool_that_does_not_run_begins_no_workers_and_shows_no_drain() -> None:
    bench = Bench(3, a_second)
    bench.pool.drain()
    await bench.run()
    assert bench.states() == {"succeeded": 3}, "what was asked before the run is the engine's to know"
    assert not bench.pool.is_running
    assert not bench.pool.is_draining
    bench.manager.add_tasks([{"id": "later"}])
    bench.pool.resize(9)
    await asyncio.sleep(5)
    assert bench.alive() == 0
    assert not bench.pool.undrain()
    await bench.run()
    assert bench.states() == {"succeeded": 4}


@virtual
async def test_a_drain_cannot_be_taken_back_when_the_last_worker_has_left() -> None:
    bench = Bench(5, a_second, workers=2)
    running = bench.start()
    await asyncio.sleep(0.5)
    bench.pool.drain()
    assert bench.pool.undrain()
    await asyncio.sleep(1)
    bench.pool.drain()
    await running
    assert not bench.pool.undrain()
    assert bench.states() == {"succeeded": 4, "pending": 1}
