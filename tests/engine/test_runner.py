"""Outages, bad tasks and rate limits in virtual time: who pays, who waits, and how often the server is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.bench import CLOCK, Bench
from tests.support.virtual_loop import virtual


# -- outages -----------------------------------------------------------------------------------------------------------
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
    assert bench.pool.parked >= 1
    assert {view.state for view in bench.pool.views()} <= {"parked", "backoff", "waiting", "probing", "running", "idle"}
    await running
    assert bench.states() == {"succeeded": tasks}
    during = [at for at, _, _ in bench.calls if at < back]
    assert len(during) <= workers * (3 + 5 + 10 + 2)
    assert CLOCK.monotonic() - 1000 < back + 62 + tasks * 0.2
    assert bench.pool.parked == 0


@virtual
async def test_a_parked_worker_can_be_revived_by_hand() -> None:
    down = True

    async def body(task: dict[str, Any], worker_id: str) -> str:
        if down:
            raise ConnectionRefusedError("away")
        return "done"

    bench = Bench(10, body, workers=3)
    running = bench.start()
    for _ in range(360):  # virtual seconds: how long it takes depends on the jitter
        if bench.pool.parked < 3:
            await asyncio.sleep(10)
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
