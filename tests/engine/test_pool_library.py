"""The library's way: `run_parallel_agents` and whatever a user's function may do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentdash import ParallelSessionManager
from agentdash.engine.policy import RetryPolicy
from tests.support.bench import CLOCK, a_second
from tests.support.virtual_loop import EPOCH, virtual


# -- the library's way -------------------------------------------------------------------------------------------------
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
    [
        ValueError("no"),
        SystemExit(2),
        asyncio.CancelledError(),
        OwnBaseError("odd"),
        ExceptionGroup("g", [ValueError()]),
        MemoryError(),
        RecursionError(),
        AssertionError(),
    ],
    ids=lambda error: type(error).__name__,
)
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
    "error", [ValueError("no"), SystemExit(2), asyncio.CancelledError(), OwnBaseError("odd")], ids=repr
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
    "value",
    [
        *(None, "", 0, False, [], object(), b"x", float("nan")),
        {(1, 2): {3}},
        10**5000,
    ],
    ids=lambda value: type(value).__name__,
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


@virtual
async def test_a_plain_function_that_raises_stop_iteration_fails_its_task() -> None:
    def body(task: dict[str, Any]) -> Any:
        return next(iter(()))

    (result,) = await pool(1).run_parallel_agents([{}], body)
    assert result["success"] is False
    assert "StopIteration" in result["error"]
