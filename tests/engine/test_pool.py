"""The pool and its workers in virtual time: pausing, resizing, draining, cancelling, faults and outages."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agentdash import ParallelSessionManager, TaskStateManager
from agentdash.engine.policy import RetryPolicy
from agentdash.engine.processors import FunctionProcessor
from agentdash.engine.runner import TaskRunner
from agentdash.engine.store import MemoryTaskStore
from agentdash.errors import StoreWriteError
from agentdash.model import TaskState
from tests.support.virtual_loop import EPOCH, LoopClock, virtual

CLOCK = LoopClock()
Body = Callable[[dict[str, Any], str], Awaitable[Any]]


class FreeLock:
    """A lock that counts, and refuses the tasks it is told to."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()
        self.held: set[str] = set()
        self.refused: set[str] = set()

    def acquire(self, task_id: str, holder_id: str = "", timeout: float = 0) -> bool:
        self.tries[task_id] += 1
        if task_id in self.refused or task_id in self.held:
            return False
        self.held.add(task_id)
        return True

    def release(self, task_id: str, holder_id: str | None = None) -> bool:
        self.held.remove(task_id)
        return True


class Bench:
    """A pool over a store in memory, as the engine puts them together."""

    def __init__(self, tasks: int, body: Body, *, workers: int = 3, **options: Any) -> None:
        self.store = MemoryTaskStore()
        self.manager = TaskStateManager(self.store, clock=CLOCK)
        self.manager.add_tasks([{"id": f"t{n}"} for n in range(tasks)])
        self.lock = FreeLock()
        self.calls: list[tuple[float, str, str]] = []
        self.body = body
        self.pool = ParallelSessionManager(workers, clock=CLOCK, **options)
        self.runner = TaskRunner(
            FunctionProcessor(self._call),
            clock=CLOCK,
            policy=self.pool.policy,
            health=self.pool.health_states,
            events=self.pool.events,
        )

    async def _call(self, task: dict[str, Any], worker_id: str) -> Any:
        self.calls.append((CLOCK.monotonic() - 1000, task["id"], worker_id))
        return await self.body(task, worker_id)

    async def run(self) -> None:
        await self.pool.run(self.manager, self.lock, self.runner)

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.run())

    def states(self) -> Counter[str]:
        return Counter(record.state.value for record in self.store.tasks())

    def events(self, kind: str) -> list[str]:
        return [event.text for event in self.pool.events.since(0) if event.kind == kind]

    def alive(self) -> int:
        return len(self.pool.views())


async def a_second(task: dict[str, Any], worker_id: str) -> str:
    await asyncio.sleep(1)
    return "done"


# -- the plain way ------------------------------------------------------------------------------------------------------
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


# -- locked tasks -------------------------------------------------------------------------------------------------------
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


# -- steering -----------------------------------------------------------------------------------------------------------
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
    surplus = bench.pool._workers["worker-2"].task
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


# -- one task stopped ---------------------------------------------------------------------------------------------------
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


# -- faults -------------------------------------------------------------------------------------------------------------
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

    bench.store.claim = claim  # type: ignore[method-assign]
    with pytest.raises(StoreWriteError, match="disk full"):
        await bench.run()
    assert bench.states() == {"succeeded": 12, "pending": 38}
    assert len(bench.events("fault")) == 1
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


# -- outages ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [ConnectionError, ConnectionRefusedError, TimeoutError])
@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("tasks", [3, 50])
@virtual
async def test_an_outage_of_ten_minutes_loses_no_task(error: type[Exception], workers: int, tasks: int) -> None:
    back = 600.0

    async def body(task: dict[str, Any], worker_id: str) -> str:
        await asyncio.sleep(0.1)
        if CLOCK.monotonic() - 1000 < back:
            raise error("the server is away")
        return "done"

    bench = Bench(tasks, body, workers=workers)
    running = bench.start()
    await asyncio.sleep(300)
    assert bench.pool.parked == workers
    assert {view.state for view in bench.pool.views()} <= {"parked", "running", "probing"}
    await running
    assert bench.states() == {"succeeded": tasks}
    during = [at for at, _, _ in bench.calls if at < back]
    assert len(during) <= workers * (3 + 5 + 10 + 2)
    assert CLOCK.monotonic() - 1000 < back + 62 + tasks * 0.2
    assert all(health.is_healthy() or health.total_recoveries for health in bench.pool.health_states.values())


@virtual
async def test_a_parked_worker_can_be_revived_by_hand() -> None:
    down = True

    async def body(task: dict[str, Any], worker_id: str) -> str:
        if down:
            raise ConnectionRefusedError("away")
        return "done"

    bench = Bench(10, body, workers=3)
    running = bench.start()
    await asyncio.sleep(400)
    assert bench.pool.parked == 3
    down = False
    asked = CLOCK.monotonic()
    assert bench.pool.revive("worker-1") == 1
    await running
    assert CLOCK.monotonic() - asked < 2
    assert bench.states() == {"succeeded": 10}


@virtual
async def test_one_bad_task_costs_no_worker_its_recoveries() -> None:
    """Its own exceptions are its own: no worker is the worse for them."""

    async def body(task: dict[str, Any], worker_id: str) -> str:
        await asyncio.sleep(0.01)
        if int(task["id"][1:]) % 100 == 0:
            raise ValueError("I am bad")
        return "done"

    bench = Bench(1000, body, workers=4)
    await bench.run()
    assert bench.states() == {"succeeded": 990, "failed": 10}
    for health in bench.pool.health_states.values():
        assert (health.consecutive_failures, health.total_recoveries, health.recovery_attempts) == (0, 0, 0)
    assert not bench.events("parked")
    assert bench.store.failure(1) is not None


@virtual
async def test_one_task_that_always_breaks_its_answer_parks_nobody_while_others_succeed() -> None:
    async def body(task: dict[str, Any], worker_id: str) -> str:
        await asyncio.sleep(0.5)
        if task["id"] == "t0":
            raise ConnectionResetError("my answer always breaks")
        return "done"

    bench = Bench(2000, body, workers=4)
    await bench.run()
    assert bench.states() == {"succeeded": 1999, "failed": 1}
    record = bench.store.find("t0")
    assert record is not None
    assert (record.service_failures, record.attempts) == (20, 0)
    assert not bench.events("parked")


class RateLimitError(Exception):
    """As a user's own client raises it."""

    status_code = 429

    def __init__(self, retry_after: float | None) -> None:
        super().__init__("rate limit")
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        self.response = type("Response", (), {"headers": headers})()


@pytest.mark.parametrize("retry_after", [1.0, 0.0, None])
@virtual
async def test_1600_tasks_under_ordinary_429s_lose_none(retry_after: float | None) -> None:
    """The function brings its own client: there is no key of ours to cool, and yet nobody hammers the server."""
    limit, window, used, limited = 80, -1, 0, 0

    async def body(task: dict[str, Any], worker_id: str) -> str:
        nonlocal window, used, limited
        await asyncio.sleep(0.05)
        if int(CLOCK.monotonic()) != window:
            window, used = int(CLOCK.monotonic()), 0
        used += 1
        if used > limit:
            limited += 1
            raise RateLimitError(retry_after)
        return "done"

    bench = Bench(1600, body, workers=64)
    await bench.run()
    assert bench.states() == {"succeeded": 1600}
    assert limited > 0
    assert len(bench.calls) < 1600 * 2.5
    assert CLOCK.monotonic() - 1000 < 120
    assert all(record.attempts == 1 for record in bench.store.tasks())


@pytest.mark.parametrize("status", [401, 402, 403, 429])
@virtual
async def test_a_refusal_without_end_in_a_users_function_neither_spins_nor_costs_a_task(status: int) -> None:
    class RefusedError(Exception):
        status_code = status

    async def body(task: dict[str, Any], worker_id: str) -> None:
        raise RefusedError("no")

    bench = Bench(20, body, workers=4)
    running = bench.start()
    await asyncio.sleep(3600)
    assert bench.states() == {"pending": 20}
    assert len(bench.calls) < 4 * 75
    bench.pool.abort()
    await running


# -- the library's way --------------------------------------------------------------------------------------------------
def pool(workers: int = 3, **options: Any) -> ParallelSessionManager:
    return ParallelSessionManager(workers, clock=CLOCK, **options)


@virtual
async def test_results_come_in_the_order_of_the_tasks() -> None:
    async def body(task: dict[str, Any], worker_id: str) -> Any:
        await asyncio.sleep(10 - task["n"])
        if task["n"] % 3 == 0:
            raise ValueError(f"no {task['n']}")
        return {"n": task["n"], "by": worker_id}

    tasks = [{"n": n} for n in range(10)]
    results = await pool(10).run_parallel_agents(tasks, body)
    for task, result in zip(tasks, results, strict=True):
        assert result["task"] is task
        if task["n"] % 3 == 0:
            assert result == {"task": task, "error": f"no {task['n']}", "success": False}
        else:
            assert set(result) == {"task", "result", "success"}
            assert result["result"]["n"] == task["n"]


@virtual
async def test_an_empty_list() -> None:
    assert await pool().run_parallel_agents([], a_second) == []


@pytest.mark.parametrize("workers", [0, -1])
def test_a_pool_has_at_least_one_worker(workers: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ParallelSessionManager(max_workers=workers)


@virtual
async def test_tasks_without_ids_and_with_the_same_id() -> None:
    async def body(task: dict[str, Any], worker_id: str) -> Any:
        return task

    tasks: list[dict[str, Any]] = [{"id": "a"}, {"id": "a"}, {}, {"id": None}, {"id": 7}, {"id": "7"}, {"id": "task-2"}]
    results = await pool().run_parallel_agents(tasks, body)
    assert [result["task"] for result in results] == tasks
    assert all(result["success"] for result in results)
    assert all(result["result"] for result in results)


@virtual
async def test_a_service_that_stays_away_ends_with_exhausted_recovery() -> None:
    async def body(task: dict[str, Any], worker_id: str) -> None:
        raise ConnectionRefusedError("nobody there")

    results = await pool().run_parallel_agents([{"n": n} for n in range(20)], body)
    for result in results:
        assert result["exhausted_recovery"] is True
        assert result["success"] is False
        assert "nobody there" in result["error"]
    assert CLOCK.monotonic() - 1000 < 200


class OwnBaseError(BaseException):
    """Not even an `Exception`."""


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), SystemExit(2), asyncio.CancelledError(), OwnBaseError("odd"), ExceptionGroup("g", [ValueError()]),
     MemoryError(), RecursionError(), AssertionError()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
@virtual
async def test_whatever_a_processor_raises_is_its_tasks_failure(error: BaseException) -> None:
    calls = 0

    async def body(task: dict[str, Any], worker_id: str) -> str:
        nonlocal calls
        if task["n"] == 1:
            calls += 1
            raise error
        return "fine"

    results = await pool(2, policy=RetryPolicy(max_attempts=3)).run_parallel_agents([{"n": n} for n in range(4)], body)
    assert [result["success"] for result in results] == [True, False, True, True]
    assert results[1]["error"]
    assert calls == 3


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(2), asyncio.CancelledError(), StopIteration(), OwnBaseError("odd")], ids=repr
)
async def test_whatever_a_plain_function_raises_is_its_tasks_failure(error: BaseException) -> None:
    def body(task: dict[str, Any], worker_id: str) -> str:
        if task["n"] == 1:
            raise error
        return f"fine {worker_id[:6]}"

    manager = ParallelSessionManager(2, policy=RetryPolicy(max_attempts=1))
    async with asyncio.timeout(5):
        results = await manager.run_parallel_agents([{"n": n} for n in range(3)], body)
    assert [result["success"] for result in results] == [True, False, True]
    assert results[0]["result"] == "fine worker"


@pytest.mark.parametrize(
    "value", [None, "", 0, False, [], {(1, 2): {3}}, object(), b"x", float("nan"), 10**5000], ids=lambda value: type(value).__name__
)
@virtual
async def test_any_value_is_handed_back_as_it_is(value: Any) -> None:
    async def body(task: dict[str, Any]) -> Any:
        return value

    (result,) = await pool().run_parallel_agents([{"id": "a"}], body)
    assert result["success"] is True
    assert result["result"] is value


@virtual
async def test_a_circular_value() -> None:
    circle: list[Any] = []
    circle.append(circle)

    async def body(task: dict[str, Any]) -> Any:
        return circle

    (result,) = await pool().run_parallel_agents([{}], body)
    assert result["success"] is True
    assert result["result"] is circle


async def test_plain_functions_of_one_and_two_arguments() -> None:
    def one(task: dict[str, Any]) -> Any:
        return task["n"]

    def two(task: dict[str, Any], worker_id: str) -> Any:
        return worker_id

    manager = ParallelSessionManager(2)
    assert (await manager.run_parallel_agents([{"n": 4}], one))[0]["result"] == 4
    assert (await manager.run_parallel_agents([{"n": 4}], two))[0]["result"].startswith("worker-")


@virtual
async def test_the_health_states_are_there_to_look_at() -> None:
    manager = pool(4)
    await manager.run_parallel_agents([{"n": n} for n in range(8)], a_second)
    assert sorted(manager.health_states) == [f"worker-{n}" for n in range(4)]
    assert all(health.is_healthy() for health in manager.health_states.values())


@virtual
async def test_time_is_virtual() -> None:
    assert CLOCK.now() == pytest.approx(EPOCH)
    await CLOCK.sleep(86400)
    assert CLOCK.now() == pytest.approx(EPOCH + 86400)
