"""Runs that reach a limit: paused with the reason, nothing lost, and the money of every attempt counted once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentdash.config import Settings
from agentdash.engine.facade import End, Engine
from agentdash.engine.failures import StatedFailureError
from agentdash.engine.processors import FunctionProcessor, TaskContext
from agentdash.model import Answer, Counts, FailureClass, TaskState, Usage
from tests.support.engines import check_results, engine_over, running, state_of, until


def paid(cost: float) -> Callable[..., Any]:
    async def work(task: dict[str, Any], worker_id: str) -> Answer:
        await asyncio.sleep(0)
        return Answer("done", usage=Usage(10, 2), cost_usd=cost)

    return work


class Bill:
    """A processor whose attempts spend something, fail, or wait; it knows what was spent."""

    needs_credentials = False

    def __init__(self, *attempts: tuple[float, FailureClass | None]) -> None:
        self.attempts = attempts
        self.allowed: list[float | None] = []
        self.spent = 0.0

    async def run(self, task: Any, context: TaskContext) -> Answer:
        self.allowed.append(context.max_cost)
        cost, failure_class = self.attempts[min(len(self.allowed), len(self.attempts)) - 1]
        self.spent += cost
        if failure_class is not None:
            raise StatedFailureError(failure_class, "it went wrong", usage=Usage(100, 7), cost_usd=cost)
        return Answer("done", usage=Usage(100, 7), cost_usd=cost)


def line_of(engine: Engine, task_id: str = "t0") -> dict[str, Any]:
    line: dict[str, Any] = json.loads(engine.store.result(task_id) or "{}")
    return line


async def one_task(project: Path, bill: Bill, *, task: dict[str, Any] | None = None, **limits: Any) -> Engine:
    """Run one task to its end, and return the engine, closed."""
    path = project / "one.jsonl"
    path.write_text(json.dumps({"id": "t0", "prompt": "p"} | (task or {})) + "\n")
    engine = Engine(Settings(project=project, workers=2, **limits), processor=bill)
    async with engine:
        await engine.add([str(path)])
        await asyncio.wait_for(engine.run(), 30)
    return engine


# -- what attempts have cost -------------------------------------------------------------------------------------------
async def test_the_cost_of_failed_attempts_is_counted_once_and_stands_in_the_tasks_line(tmp_path: Path) -> None:
    bill = Bill((0.25, FailureClass.TASK), (0.5, FailureClass.TASK), (1.0, None))
    await one_task(tmp_path, bill)
    async with engine_over(tmp_path, paid(0)) as engine:
        totals = engine.store.totals()
        assert (totals.cost_usd, totals.input_tokens, totals.output_tokens) == (1.75, 300, 21)
        assert line_of(engine)["agentdash"]["cost_usd"] == 1.75
        assert line_of(engine)["agentdash"]["usage"]["input_tokens"] == 100, "the answer's own"


async def test_a_task_that_fails_for_good_says_what_it_has_cost(tmp_path: Path) -> None:
    bill = Bill((0.25, FailureClass.TASK))
    await one_task(tmp_path, bill, max_attempts=2)
    async with engine_over(tmp_path, paid(0)) as engine:
        assert line_of(engine)["agentdash"]["cost_usd"] == 0.5
        assert engine.store.totals().cost_usd == 0.5


@pytest.mark.parametrize("how", ["cancel", "interrupt", "abort"])
async def test_what_was_spent_before_a_task_was_stopped_counts(tmp_path: Path, how: str) -> None:
    async def spends(task: dict[str, Any], worker_id: str, context: TaskContext) -> str:
        context.spend(Usage(50, 5), 0.125)
        context.spend(Usage(50, 5), 0.125)
        await asyncio.Event().wait()
        return "never"

    processor = FunctionProcessor(spends)
    processor.needs_credentials = False
    path = tmp_path / "one.jsonl"
    path.write_text('{"id": "t0", "prompt": "p"}\n')
    async with Engine(Settings(project=tmp_path, workers=1), processor=processor) as engine:
        await engine.add([str(path)])
        async with running(engine):
            await until(lambda: len(engine.manager.running) == 1 and engine.runner.outputs.since("t0", 0) is not None)
            await asyncio.sleep(0)
            if how == "cancel":
                await engine.cancel(["t0"])
                await until(lambda: state_of(engine, "t0") is TaskState.CANCELLED)
                assert line_of(engine)["agentdash"]["cost_usd"] == 0.25
            elif how == "interrupt":
                engine.interrupt()
                await until(lambda: state_of(engine, "t0") is TaskState.PENDING)
            else:
                engine.abort()
        totals = engine.store.totals()
        assert (totals.cost_usd, totals.input_tokens, totals.output_tokens) == (0.25, 100, 10)


# -- of one task -------------------------------------------------------------------------------------------------------
async def test_a_task_fails_for_good_when_its_attempts_have_cost_its_limit(tmp_path: Path) -> None:
    bill = Bill((0.4, FailureClass.SERVICE))
    engine = await one_task(tmp_path, bill, max_task_cost=1.0)
    assert bill.allowed == [1.0, pytest.approx(0.6), pytest.approx(0.2)], "what is left of it"
    texts = [event.text for event in engine.events.since(0) if event.kind == "failed"]
    said = "the task's limit of $1.00 is reached ($1.20 spent); its last try: CommandFailed: it went wrong"
    assert texts == [f"t0 failed: max_task_cost: {said}"]
    async with engine_over(tmp_path, paid(0)) as again:
        assert line_of(again)["result"]["error"] == {"type": "max_task_cost", "message": said}
        assert line_of(again)["agentdash"]["cost_usd"] == pytest.approx(1.2)


async def test_requeued_it_goes_on_only_when_the_limit_was_raised(tmp_path: Path) -> None:
    await one_task(tmp_path, Bill((2.0, FailureClass.TASK)), max_task_cost=1.0)
    bill = Bill((0.5, None))
    async with Engine(Settings(project=tmp_path, max_task_cost=1.0), processor=bill) as engine:
        assert await engine.requeue() == 1
        await asyncio.wait_for(engine.run(), 30)
        assert (state_of(engine, "t0"), bill.allowed) == (TaskState.FAILED, [])
        assert line_of(engine)["result"]["error"]["message"] == "the task's limit of $1.00 is reached ($2.00 spent)"
        assert line_of(engine)["agentdash"]["cost_usd"] == 2.0
    async with Engine(Settings(project=tmp_path, max_task_cost=3.0), processor=bill) as engine:
        assert await engine.requeue() == 1
        await asyncio.wait_for(engine.run(), 30)
        assert (state_of(engine, "t0"), bill.allowed) == (TaskState.SUCCEEDED, [1.0])
        assert line_of(engine)["agentdash"]["cost_usd"] == 2.5
        assert engine.store.totals().cost_usd == 2.5
        check_results(engine)


async def test_a_tasks_own_limit_goes_first(tmp_path: Path) -> None:
    bill = Bill((0.4, FailureClass.TASK))
    await one_task(tmp_path, bill, task={"max_cost": 0.1}, max_task_cost=100.0)
    assert bill.allowed == [0.1]


# -- of the run --------------------------------------------------------------------------------------------------------
async def test_a_run_ends_at_its_limit_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async with engine_over(tmp_path, paid(0.1), tasks=40, max_cost=2.0) as engine:
        assert await asyncio.wait_for(engine.run(), 30) is End.LIMITED
        assert engine.limit_reached == "the limit of $2.00 is reached ($2.00 spent)"
        assert engine.store.counts() == Counts(pending=20, succeeded=20)
        snapshot = engine.snapshot()
        assert (snapshot.status, snapshot.paused) == ("paused", True)
        assert snapshot.waiting_for == snapshot.limits.reached == engine.limit_reached
        assert engine.status()["limits"]["reason"] == engine.limit_reached
        assert await asyncio.wait_for(engine.run(), 30) is End.LIMITED, "still"
        check_results(engine)
    async with engine_over(tmp_path, paid(0.1), max_cost=2.0) as engine:
        assert await asyncio.wait_for(engine.run(), 30) is End.LIMITED, "of the project, over all sessions"
        assert engine.store.counts().succeeded == 20
    async with engine_over(tmp_path, paid(0.1), max_cost=50.0) as engine:
        assert await asyncio.wait_for(engine.run(), 30) is End.FINISHED
        assert engine.store.totals().cost_usd == pytest.approx(4.0)
        assert engine.limit_reached == ""
        check_results(engine)


async def test_in_the_dashboard_it_is_paused_and_goes_on_by_hand(tmp_path: Path) -> None:
    async with engine_over(tmp_path, paid(0.1), tasks=40, max_cost=2.0) as engine, running(engine, serve=True):
        await until(lambda: engine.snapshot().status == "paused")
        assert engine.waiting_for() == "the limit of $2.00 is reached ($2.00 spent)"
        assert engine.store.counts().pending == 20
        engine.resume()
        await until(lambda: engine.store.counts() == Counts(succeeded=40))
        said = [event.text for event in engine.events.since(0) if event.kind == "allowance"]
        assert said[-1] == "the run goes on without its limit of what it may cost"
        assert engine.snapshot().limits.max_cost is None


async def test_two_processes_share_what_the_project_may_cost(tmp_path: Path) -> None:
    async with (
        engine_over(tmp_path, paid(0.1), tasks=100, max_cost=3.0, workers=4) as one,
        engine_over(tmp_path, paid(0.1), max_cost=3.0, workers=4) as other,
    ):
        ends = await asyncio.wait_for(asyncio.gather(one.run(), other.run()), 60)
        assert set(ends) == {End.LIMITED}
        spent = one.store.totals().cost_usd
        assert 2.9 <= spent <= 3.0 + 8 * 0.1, "what both may have begun in one moment"
        assert one.store.counts().succeeded == round(spent / 0.1)
        check_results(one)


async def test_each_process_obeys_its_own_limits(tmp_path: Path) -> None:
    async with (
        engine_over(tmp_path, paid(0.1), tasks=60, max_cost=1.0) as poor,
        engine_over(tmp_path, paid(0.1)) as rich,
    ):
        assert await asyncio.wait_for(poor.run(), 30) is End.LIMITED
        assert await asyncio.wait_for(rich.run(), 30) is End.FINISHED
        assert rich.store.counts() == Counts(succeeded=60)


async def test_when_its_time_is_over_running_tasks_end_and_no_other_begins(tmp_path: Path) -> None:
    gate = asyncio.Event()
    begun: list[str] = []

    async def work(task: dict[str, Any], worker_id: str) -> str:
        begun.append(task["id"])
        await gate.wait()
        return "done"

    async with engine_over(tmp_path, work, tasks=9, max_duration="0.2s") as engine:
        run = asyncio.create_task(engine.run())
        await until(lambda: engine.limit_reached != "")
        assert engine.snapshot().counts.running == 3
        gate.set()
        assert await asyncio.wait_for(run, 30) is End.LIMITED
        assert engine.limit_reached == "the limit of 0.2s is reached"
        assert len(begun) == 3
        assert engine.store.counts() == Counts(pending=6, succeeded=3)


async def test_a_moment_that_has_passed_begins_nothing(tmp_path: Path) -> None:
    async with engine_over(tmp_path, paid(0.1), tasks=3, stop_after="2020-01-01T00:00Z") as engine:
        assert await asyncio.wait_for(engine.run(), 30) is End.LIMITED
        assert engine.store.counts() == Counts(pending=3)


async def test_a_run_with_nothing_left_to_do_is_finished_whatever_its_limits(tmp_path: Path) -> None:
    async with engine_over(tmp_path, paid(5.0), tasks=1, max_cost=1.0) as engine:
        assert await asyncio.wait_for(engine.run(), 30) is End.FINISHED
        assert await asyncio.wait_for(engine.run(), 30) is End.FINISHED
