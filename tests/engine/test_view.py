"""The snapshot of a run: its status, why workers wait, when all will be done, and that equal moments are equal."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentdash import APICredential, WorkerHealthState
from agentdash.config import Settings
from agentdash.engine.facade import Engine
from agentdash.engine.locks import TaskLock
from agentdash.engine.processors import FunctionProcessor, TaskContext
from agentdash.model import Counts
from agentdash.secret import Secret
from tests.support.engines import Work, engine_over, running, until


@pytest.fixture
def work() -> Work:
    return Work()


def assert_still(engine: Engine) -> None:
    """Nothing happens between two looks, so there is nothing to draw."""
    assert engine.snapshot() == engine.snapshot()


# -- status ------------------------------------------------------------------------------------------------------------
async def test_the_status_from_start_to_end(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work) as empty:
        assert empty.snapshot().status == "starting", "an empty project is not finished"
        assert_still(empty)
    async with engine_over(tmp_path, work, tasks=4, workers=2) as engine:
        snapshot = engine.snapshot()
        assert (snapshot.status, snapshot.max_workers, snapshot.waiting_for) == ("starting", 2, "")
        assert len(snapshot.history) == 60
        assert_still(engine)
        engine.pause()
        assert (engine.snapshot().status, engine.snapshot().paused) == ("paused", True)
        engine.resume()
        async with running(engine) as run:
            await until(lambda: engine.snapshot().status == "running")
            await until(lambda: len(work.begun) == 2)
            assert engine.waiting_for() == "", "they are busy"
            assert_still(engine)
            engine.resize(5)
            assert engine.snapshot().max_workers == 5
            engine.pause()
            await until(lambda: engine.snapshot().status == "paused")
            engine.resume()
            engine.drain()
            assert engine.snapshot().status == "draining"
            assert_still(engine)
            engine.undrain()
            work.let_go()
            await run
        snapshot = engine.snapshot()
        assert (snapshot.status, snapshot.waiting_for, snapshot.done_at) == ("finished", "", None)
        assert sum(snapshot.history) == 4
        assert_still(engine)


async def test_an_idle_dashboard_has_nothing_to_draw(tmp_path: Path, work: Work) -> None:
    work.let_go()
    async with engine_over(tmp_path, work, tasks=2) as engine, running(engine, serve=True):
        await until(lambda: engine.snapshot().status == "finished")
        first, sampled = engine.snapshot(), engine._rate._sampled_at
        await until(lambda: engine._rate._sampled_at != sampled)
        # The figures of the last run leave the window bit by bit.
        later = replace(engine.snapshot(), history=first.history, tasks_per_s=first.tasks_per_s)
        assert later == first


async def test_a_run_that_was_left_is_not_finished(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=3) as engine:
        async with running(engine):
            await until(lambda: len(work.begun) == 3)
        assert engine.snapshot().status == "draining"
        assert engine.snapshot().drain_until is None


# -- workers -----------------------------------------------------------------------------------------------------------
async def test_a_running_worker_is_shown_since_its_claim(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=1, workers=2) as engine, running(engine):
        await until(lambda: len(work.begun) == 1)
        [busy] = [worker for worker in engine.snapshot().workers if worker.task]
        record = engine.store.find("t0")
        assert record is not None
        assert (busy.state, busy.task, busy.since) == ("running", "t0", record.claimed_at)
        assert busy.last_error is None


async def test_workers_that_recover_say_after_what(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=3) as engine:
        for number in range(3):
            health = engine.pool.health_states[f"worker-{number}"] = WorkerHealthState(f"worker-{number}")
            for _ in range(3):
                health.record_failure("overloaded_error")
        async with running(engine):
            await until(lambda: any(worker.state == "backoff" for worker in engine.snapshot().workers))
            snapshot = engine.snapshot()
            assert {worker.last_error for worker in snapshot.workers} == {"overloaded_error"}
            assert snapshot.waiting_for == "every worker recovers after overloaded_error"
            assert snapshot.waiting_until == pytest.approx(engine.clock.now(), abs=5)
            assert_still(engine)


# -- why they wait -----------------------------------------------------------------------------------------------------
async def test_paused(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=2) as engine, running(engine):
        await until(lambda: len(work.begun) == 2)
        engine.pause()
        assert engine.waiting_for() == "paused"
        assert engine.snapshot().done_at is None


async def test_a_retry_is_waited_for(tmp_path: Path, work: Work) -> None:
    work.bad.add("t0")
    work.let_go()
    async with engine_over(tmp_path, work, tasks=1, max_attempts=5) as engine, running(engine):
        await until(lambda: engine.waiting_for() == "the only open task waits for a retry")
        snapshot = engine.snapshot()
        assert snapshot.waiting_until == next(engine.store.tasks()).available_at
        assert_still(engine)


async def test_several_retries_beside_a_running_task(tmp_path: Path, work: Work) -> None:
    async def fails_but_one(task: dict[str, Any], worker_id: str) -> str:
        if task["id"] == "t0":
            return await work(task, worker_id)
        raise ValueError("again")

    async with engine_over(tmp_path, fails_but_one, tasks=4, max_attempts=9) as engine, running(engine):
        await until(lambda: engine.waiting_for() == "all 3 pending tasks wait for a retry")


async def test_what_other_processes_have(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=1) as one, engine_over(tmp_path, Work()) as other, running(one):
        await until(lambda: len(work.begun) == 1)
        async with running(other):
            await until(lambda: other.waiting_for() == "1 task runs in another process")
            assert one.waiting_for() == "", "it has nothing else to do"
            assert_still(other)


async def test_locks_that_others_hold(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=2) as engine:
        other = TaskLock(tmp_path)
        try:
            assert other.acquire("t0")
            assert other.acquire("t1")
            async with running(engine):
                await until(lambda: engine.waiting_for() == "2 tasks are locked by another process")
        finally:
            other.close()


async def test_a_server_that_is_down(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=5) as engine, running(engine):
        await until(lambda: len(work.begun) == 3)
        service = engine.runner.services.of()
        for number in range(9):
            service.record_failure(engine.clock.monotonic(), "overloaded_error: busy", number)
        engine.resize(6)
        await until(lambda: engine.waiting_for() == "overloaded_error: busy")
        snapshot = engine.snapshot()
        assert snapshot.waiting_until is not None
        assert snapshot.waiting_until > engine.clock.now()
        assert_still(engine)


async def test_the_sdk_and_then_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(task: Any, context: TaskContext) -> str:
        return "never asked"

    loaded = asyncio.Event()
    credential = APICredential(Secret("a-key-for-this-test"))
    settings = Settings(project=tmp_path, workers=2)
    async with Engine(settings, processor=FunctionProcessor(ask), credentials=[credential]) as engine:
        (tmp_path / "tasks.jsonl").write_text(json.dumps({"id": "t0", "prompt": "p"}))
        await engine.add([str(tmp_path / "tasks.jsonl")])
        monkeypatch.setattr(engine._clients, "open", loaded.wait)
        assert engine.rotation is not None
        until_then = engine.clock.now() + 60
        engine.rotation.pool_of(credential).cooldown_until = until_then
        async with running(engine):
            await until(lambda: engine.waiting_for() == "loading the SDK")
            assert engine.snapshot().status == "starting"
            loaded.set()
            await until(lambda: engine.waiting_for() == "rate limit: every limit pool cools")
            snapshot = engine.snapshot()
            assert (snapshot.waiting_until, snapshot.done_at) == (until_then, None)
            assert_still(engine)
            for second in range(5):  # as if it had been at work before
                engine._rate.update(second, 2 * second, wall=second)
            assert engine.snapshot().done_at == pytest.approx(until_then + 0.5)
            status = engine.status()
            assert status["eta_s"] == pytest.approx(60.5, abs=5)
            assert engine.store.counts() == Counts(pending=1)


async def test_the_limit_of_the_session(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=5, limit=2) as engine, running(engine):
        await until(lambda: len(work.begun) == 2)
        await until(lambda: engine.waiting_for() == "the limit of this session is reached")
