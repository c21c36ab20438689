"""`--workers auto` in whole runs: against the simulator's limits, and in virtual time for functions."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from agentdash import ParallelSessionManager
from agentdash.cli import main
from agentdash.config import Settings
from agentdash.engine.facade import End, Engine
from agentdash.engine.processors import FunctionProcessor
from agentdash.engine.runner import TaskRunner
from agentdash.engine.store import MemoryTaskStore, SqliteTaskStore
from agentdash.engine.workerfinder import TimedTasks, WorkerFinder, files_allow, first_workers
from agentdash.errors import ExitCode
from agentdash.simulator import KeyConfig, Latency, Limit, OrganizationConfig, Simulator, SimulatorConfig
from tests.scenarios.running import run
from tests.support.bench import CLOCK, Body, FreeLock
from tests.support.engines import Work, engine_over, running, until
from tests.support.virtual_loop import virtual


def resized(engine: Engine) -> list[str]:
    return [event.text for event in engine.events_since(0) if event.kind == "resized"]


def _mean_seconds(project: Path) -> float:
    """How long the tries took, on the machine as it is."""
    store = SqliteTaskStore(project)
    try:
        tries = [attempt for task in store.tasks() for attempt in store.attempts(task.id)]
    finally:
        store.close_and_wait()
    return sum(attempt.finished_at - attempt.started_at for attempt in tries) / len(tries)


# -- limits ------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
async def test_four_keys_of_twenty_a_second_need_some_fifty_workers(tmp_path: Path) -> None:
    limits = [OrganizationConfig(f"org-{n}", Limit(1200, 20)) for n in range(4)]
    keys = tuple(KeyConfig(f"sim-key-{n}-0000", f"org-{n}") for n in range(4))
    config = SimulatorConfig(tuple(limits), keys, latency=Latency(first_token_s=0.5), answer_tokens=8)
    found: list[int] = []
    started: list[float] = []

    async def watch(engine: Engine) -> None:
        await until(lambda: engine.store.counts().succeeded >= 1)
        started.append(time.monotonic())
        await until(lambda: engine.store.counts().pending < 60, within=30)
        found.append(engine.pool.max_workers)

    async with Simulator(config) as simulator:
        done = await run(tmp_path, simulator.base_url, keys, tasks=400, workers="auto", during=watch)
        took = time.monotonic() - started[0]
    assert (done.end, done.counts.succeeded) == (End.FINISHED, 400)
    needed = 80 * _mean_seconds(tmp_path)  # 41 on a machine that does nothing else
    assert 0.95 * needed <= found[0] <= 1.85 * needed, (found, needed)
    assert done.totals.rate_limited <= 4
    assert took < 0.3 * 400 * needed / 80 / 4, "with the four at the beginning it would be three times as long"
    changes = [text for text in done.events if text.startswith("resized: ")]
    assert any("workers: all busy, the limits allow 80 a second at 0." in text for text in changes), changes
    assert len(changes) <= 8


# -- functions ---------------------------------------------------------------------------------------------------------
class Auto:
    """A pool in memory whose number of workers is found."""

    def __init__(self, tasks: int, body: Body, *, most: int = 256) -> None:
        self.manager = TimedTasks(MemoryTaskStore(), clock=CLOCK)
        self.manager.add_tasks([{"id": f"t{n}"} for n in range(tasks)])
        self.pool = ParallelSessionManager(first_workers(most, 0), clock=CLOCK)
        self.runner = TaskRunner(
            FunctionProcessor(body), clock=CLOCK, health=self.pool.health_states, events=self.pool.events
        )
        self.finder = WorkerFinder(
            pool=self.pool,
            manager=self.manager,
            runner=self.runner,
            rotation=None,
            events=self.pool.events,
            most=most,
            clock=CLOCK,
        )

    async def run(self) -> None:
        async with self.finder:
            await self.pool.run(self.manager, FreeLock(), self.runner)

    def events(self, kind: str = "resized") -> list[str]:
        return [event.text for event in self.pool.events.since(0) if event.kind == kind]


@virtual
async def test_workers_that_bring_nothing_go_again() -> None:
    """A service that does ten at a time: the others stand in its queue."""
    service = asyncio.Semaphore(10)

    async def body(task: dict[str, Any], worker_id: str) -> str:
        async with service:
            await asyncio.sleep(1)
        return "done"

    auto = Auto(3000, body)
    task = asyncio.create_task(auto.run())
    await asyncio.sleep(60)
    assert 10 <= auto.pool.max_workers <= 16
    assert auto.events()[:2] == [
        "4 → 8 workers: all busy, no limit is known",
        "8 → 16 workers: all busy, 4 more brought 100 % more",
    ]
    began = auto.manager.store.counts().finished
    await asyncio.sleep(100)
    assert auto.manager.store.counts().finished - began >= 990
    await task
    assert auto.manager.store.counts().succeeded == 3000


@virtual
async def test_a_service_that_is_away_gets_fewer_workers() -> None:
    away = (30.0, 45.0)

    async def body(task: dict[str, Any], worker_id: str) -> str:
        await asyncio.sleep(0.5)
        if away[0] <= CLOCK.monotonic() - 1000 < away[1]:
            raise ConnectionError("the server is away")
        return "done"

    auto = Auto(12_000, body, most=60)
    await auto.run()
    assert auto.manager.store.counts().succeeded == 12_000
    cuts = [text for text in auto.events() if "asks for less" in text]
    assert cuts[0] == "60 → 40 workers: the server asks for less (ConnectionError: the server is away)"
    assert auto.pool.max_workers == 60, "a minute later it may have all again"


@virtual
async def test_a_fault_of_its_own_leaves_the_run_going() -> None:
    async def body(task: dict[str, Any], worker_id: str) -> str:
        await asyncio.sleep(0.5)
        return "done"

    auto = Auto(100, body)

    def broken(runner: int) -> Any:
        raise ZeroDivisionError("nothing to divide by")

    auto.runner.services.outage = broken.__get__(1)  # type: ignore[method-assign]
    await auto.run()
    assert auto.manager.store.counts().succeeded == 100
    assert auto.events("fault") == ["4 workers from now on: ZeroDivisionError: nothing to divide by"]
    assert auto.events() == []


# -- the engine --------------------------------------------------------------------------------------------------------
async def test_a_number_set_by_hand_stays(tmp_path: Path) -> None:
    work = Work()
    async with engine_over(tmp_path, work, tasks=300, workers="auto") as engine, running(engine) as task:
        await until(lambda: len(work.begun) == 4)
        assert engine.snapshot().max_workers == 4
        engine.resize(7)
        engine.resize(6)
        assert resized(engine) == ["7 workers by hand: their number is no longer found by itself"]
        work.let_go()
        assert await task is End.FINISHED
        assert engine.snapshot().max_workers == 6
        assert len(resized(engine)) == 1


async def test_a_fixed_number_is_not_found(tmp_path: Path) -> None:
    work = Work()
    work.let_go()
    async with engine_over(tmp_path, work, tasks=50) as engine, running(engine) as task:
        engine.resize(5)
        await task
        assert engine.snapshot().max_workers == 5
        assert not resized(engine)


async def test_the_next_run_goes_on_with_what_was_found(tmp_path: Path) -> None:
    async def body(task: dict[str, Any], worker_id: str) -> str:
        await asyncio.sleep(0.02)
        return "done"

    more = tmp_path / "more.jsonl"
    more.write_text("".join(json.dumps({"id": f"more-{n}", "prompt": "p"}) + "\n" for n in range(40)))
    async with engine_over(tmp_path, body, tasks=400, workers="auto", max_workers=8) as engine:
        assert await engine.run() is End.FINISHED
        await engine.add([str(more)])
        assert await engine.run() is End.FINISHED
        assert engine.store.counts().succeeded == 440
        assert engine.snapshot().max_workers == 8
        assert resized(engine) == ["4 → 8 workers: all busy, no limit is known"]


def test_the_demo_finds_the_number_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(("demo", "--tasks", "40", "--workers", "auto", "--headless", "--project", str(tmp_path / "demo")))
    said = capsys.readouterr().err
    assert code in (ExitCode.OK, ExitCode.FAILED_TASKS)
    assert "40 tasks to run with as many workers as fill the limits (at most 256)." in said


def test_there_are_files_enough_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert first_workers(256, 3) == 4
    assert first_workers(256, 9) == 9
    assert first_workers(2, 9) == 2
    monkeypatch.setattr(resource, "getrlimit", lambda what: (256, 4096))
    assert files_allow() == 78
    monkeypatch.setattr(resource, "getrlimit", lambda what: (64, 64))
    assert (files_allow(), first_workers(256, 9)) == (1, 1)
    monkeypatch.setattr(resource, "getrlimit", lambda what: (resource.RLIM_INFINITY,) * 2)
    assert files_allow() > 1_000_000


def test_settings_name_the_most(tmp_path: Path) -> None:
    assert Settings(project=tmp_path, workers="auto", max_workers=9).most_workers == 9
    assert Settings(project=tmp_path, workers=12).most_workers == 12
