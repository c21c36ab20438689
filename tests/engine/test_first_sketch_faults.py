"""The known faults of the first sketch of these patterns (DESIGN, section 1), each shown to be gone.

The lock races are in `tests/locks`.
"""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agentdash import AdaptiveBackoff, APICredential, APIRotationState, TaskLock, WorkerHealthState
from agentdash.clock import isoformat
from agentdash.engine.errorfacts import describe
from agentdash.engine.failures import classify
from agentdash.model import Failure, FailureClass
from agentdash.secret import Secret
from tests.support.bench import CLOCK, Bench
from tests.support.virtual_loop import EPOCH, ManualClock, virtual


class AwayError(Exception):
    """An answer with a status, as an SDK raises it."""

    def __init__(self, status: int, retry_after: str | None = None) -> None:
        super().__init__(f"{status} of the test")
        self.status_code = status
        self.response = type("Response", (), {"headers": {"retry-after": retry_after} if retry_after else {}})()


@virtual
async def test_no_worker_leaves_after_an_idle_second_while_others_may_requeue() -> None:
    started: list[float] = []

    async def body(task: dict[str, Any], worker_id: str) -> None:
        started.append(CLOCK.monotonic())
        await asyncio.sleep(120)
        if len(started) == 1:
            raise AwayError(429)

    bench = Bench(1, body, workers=4)
    running = bench.start()
    await asyncio.sleep(119)
    assert bench.alive() == 4
    await running
    assert bench.states() == {"succeeded": 1}


@virtual
async def test_recovery_is_defined_a_sick_worker_waits_probes_and_heals() -> None:
    asked: list[float] = []

    async def body(task: dict[str, Any], worker_id: str) -> None:
        asked.append(CLOCK.monotonic() - 1000)
        if len(asked) <= 4:
            raise AwayError(529)

    bench = Bench(3, body, workers=1)
    await bench.run()
    health = bench.pool.health_states["worker-0"]
    assert bench.states() == {"succeeded": 3}
    assert (health.total_recoveries, health.is_healthy()) == (1, True)
    assert asked[3] - asked[2] > 0.1  # it waited before it probed


def test_no_lifetime_cap_of_five_recoveries() -> None:
    health = WorkerHealthState("worker-0")
    for _ in range(500):
        for _ in range(3):
            health.record_failure("OverloadedError")
        health.record_success()
    assert health.total_recoveries == 500
    assert health.is_healthy()


@virtual
async def test_no_task_is_lost_under_ordinary_429s() -> None:
    """The sketch lost 418 to 542 of 1,600."""
    numbers = iter(range(10**9))

    async def body(task: dict[str, Any], worker_id: str) -> None:
        await asyncio.sleep(0.2)
        if next(numbers) % 4 == 0:
            raise AwayError(429, "1")

    bench = Bench(1600, body, workers=16)
    await bench.run()
    assert bench.states() == {"succeeded": 1600}
    assert all(not health.total_recoveries for health in bench.pool.health_states.values())


@virtual
async def test_long_runs_of_failures_lose_no_task_either() -> None:
    """Each worker recovers many times more often than five."""

    async def body(task: dict[str, Any], worker_id: str) -> None:
        await asyncio.sleep(0.1)
        if CLOCK.monotonic() % 20 < 5:
            raise AwayError(529)

    bench = Bench(6000, body, workers=4)
    await bench.run()
    assert bench.states() == {"succeeded": 6000}
    assert sum(health.total_recoveries for health in bench.pool.health_states.values()) > 0


@virtual
async def test_one_bad_task_does_not_eat_a_healthy_workers_recoveries() -> None:
    async def body(task: dict[str, Any], worker_id: str) -> None:
        if task["id"] == "t0":
            raise AwayError(400)
        await asyncio.sleep(1)

    bench = Bench(20, body, workers=1)
    await bench.run()
    health = bench.pool.health_states["worker-0"]
    assert bench.states() == {"succeeded": 19, "failed": 1}
    assert (health.consecutive_failures, health.recovery_attempts, health.total_recoveries) == (0, 0, 0)


def rotation(names: str) -> APIRotationState:
    credentials = [APICredential(Secret(f"first-sketch-key-{name}"), name=name, proven=True) for name in names]
    return APIRotationState(credentials, clock=ManualClock())


def test_two_workers_that_fail_on_one_key_rotate_once() -> None:
    state = rotation("abc")
    leases = [state.lease(), state.lease()]
    for lease in leases:
        assert lease is not None
        state.failed(lease, Failure(FailureClass.CREDENTIAL, "authentication_error", "401"))
    assert (state.current_index, state.rotations) == (1, 1)


def test_no_key_is_skipped_when_another_is_exhausted() -> None:
    state = rotation("abcd")
    state.rotate("quota", failed=state.credentials[1])
    order = []
    while state.rotate("quota"):
        order.append(state.credentials[state.current_index].name)
    assert order == ["c", "d"]


@pytest.mark.parametrize("failures", [0, 1, 64, 1023, 1024, 10_000, 10**9, 10**30])
def test_two_to_the_failures_never_overflows_and_jitter_stays_below_the_maximum(failures: int) -> None:
    for drawn in (0.0, 0.5, 0.999999):
        backoff = AdaptiveBackoff(jitter_factor=1.0, rng=lambda drawn=drawn: drawn)  # type: ignore[misc]
        backoff.consecutive_failures = failures
        assert 0 <= backoff.get_delay() <= 60


def test_retry_after_is_obeyed() -> None:
    assert classify(describe(AwayError(429, "37"), EPOCH)).retry_after == 37
    state = rotation("a")
    lease = state.lease()
    assert lease is not None
    state.failed(lease, classify(describe(AwayError(429, "37"), EPOCH)))
    assert state.readiness().at == EPOCH + 37


@virtual
async def test_no_spin_on_a_locked_task() -> None:
    """The sketch tried 39,800 times a second."""

    async def body(task: dict[str, Any], worker_id: str) -> None:
        """Never reached."""

    bench = Bench(1, body, workers=16)
    bench.lock.refused.add("t0")
    running = bench.start()
    await asyncio.sleep(60)
    assert bench.lock.tries["t0"] < 40
    bench.pool.drain()
    await running


@virtual
async def test_retries_have_an_end() -> None:
    async def body(task: dict[str, Any], worker_id: str) -> None:
        await asyncio.sleep(0.01)
        if task["id"] == "t0":
            raise ValueError("always")
        if task["id"] == "t1":
            raise AwayError(502)

    bench = Bench(3000, body, workers=2)
    await bench.run()
    assert bench.states() == {"succeeded": 2998, "failed": 2}
    assert sum(task == "t0" for _, task, _ in bench.calls) == 3
    assert sum(task == "t1" for _, task, _ in bench.calls) == 20


def test_times_carry_their_zone(tmp_path: Path) -> None:
    assert isoformat(EPOCH).endswith("Z")
    lock = TaskLock(tmp_path)
    try:
        assert lock.acquire("t1")
        written = json.loads((tmp_path / ".locks" / "task-t1.lock").read_text())["acquired_at"]
        assert datetime.fromisoformat(written).tzinfo is not None
    finally:
        lock.close()
