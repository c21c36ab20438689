"""What the dashboard asks of a run: interrupt, drain and take it back, serve, undo, locks, output."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agentdash.config import Settings
from agentdash.engine import lastaction
from agentdash.engine.facade import End, Engine
from agentdash.engine.locks import TaskLock
from agentdash.engine.processors import FunctionProcessor, TaskContext
from agentdash.engine.store import SqliteTaskStore
from agentdash.model import Counts, ErrorGroup, TaskState
from agentdash.ui.run import Run
from tests.support.engines import Work, check_results, engine_over, running, state_of, until
from tests.support.stored import NOW

PENDING, CANCELLED, FAILED, SUCCEEDED = TaskState.PENDING, TaskState.CANCELLED, TaskState.FAILED, TaskState.SUCCEEDED


@pytest.fixture
def work() -> Work:
    return Work()


def kinds(engine: Engine) -> list[str]:
    return [event.kind for event in engine.events_since(0)]


async def test_the_engine_is_what_the_dashboard_asks(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path / "my project", work, tasks=0) as engine:
        run: Run = engine  # for mypy
        assert run.project_path == tmp_path / "my project"
        assert run.snapshot().project == "my project"
        assert run.log_path.parent == tmp_path / "my project" / ".agentdash"
        engine.events.emit("said", "something")
        assert "something" in run.log_path.read_text()


def test_opening_an_engine_does_not_load_the_sdk(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from agentdash.config import Settings
from agentdash.engine.credentials import APICredential
from agentdash.engine.facade import Engine
from agentdash.secret import Secret
async def main():
    async with Engine(Settings(project=Path(sys.argv[1])), credentials=[APICredential(Secret("k" * 20))]) as engine:
        engine.snapshot()
        await engine.list_locks()
asyncio.run(main())
print(*({"anthropic", "aiohttp", "textual", "rich"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.stdout, done.stderr) == ("\n", "")


# -- interrupt -------------------------------------------------------------------------------------------------------
async def test_interrupting_pauses_and_gives_running_tasks_back(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=5) as engine, running(engine) as run:
        await until(lambda: len(work.begun) == 3)
        assert engine.interrupt() == 3
        await until(lambda: engine.store.counts() == Counts(pending=5))
        assert all(record.attempts == record.crashes == 0 for record in engine.store.tasks())
        assert engine.snapshot().status == "paused"
        assert "interrupted" in kinds(engine)
        work.let_go()
        engine.resume()
        assert await run is End.FINISHED
        assert engine.store.counts().succeeded == 5
        check_results(engine)


async def test_a_task_that_is_just_being_claimed_is_given_back_too(
    tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_over(tmp_path, work, tasks=3) as engine:
        claim = engine.store.claim
        interrupted: list[int] = []

        def claim_slowly(*arguments: Any) -> Any:
            if not interrupted:  # the write is on its way now
                asyncio.get_running_loop().call_soon(lambda: interrupted.append(engine.interrupt()))
            return claim(*arguments)

        monkeypatch.setattr(engine.store, "claim", claim_slowly)
        async with running(engine):
            await until(lambda: bool(interrupted) and not engine.manager.running)
            await until(lambda: engine.store.counts() == Counts(pending=3))
            assert work.begun == []


# -- draining --------------------------------------------------------------------------------------------------------
async def test_a_drain_is_taken_back(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=6, drain_timeout_s=0.3) as engine, running(engine) as run:
        await until(lambda: len(work.begun) == 3)
        asked_at = engine.clock.now()
        engine.drain()
        engine.drain()
        snapshot = engine.snapshot()
        assert snapshot.status == "draining"
        assert snapshot.drain_until == pytest.approx(asked_at + 0.3, abs=0.2)
        stopping = [engine.is_stopping]
        assert engine.undrain()
        stopping.append(engine.is_stopping)
        assert stopping == [True, False]
        assert (engine.snapshot().status, engine.snapshot().drain_until) == ("running", None)
        assert not engine.undrain(), "there is none any more"
        await asyncio.sleep(0.4)  # in which the abort would have come
        assert len(engine.manager.running) == 3
        work.let_go()
        assert await run is End.FINISHED
        assert engine.store.counts().succeeded == 6


async def test_workers_that_have_left_begin_again(tmp_path: Path) -> None:
    last = asyncio.Event()

    async def work(task: dict[str, Any], worker_id: str) -> None:
        if task["id"] == "t0":
            await last.wait()

    async with engine_over(tmp_path, work, tasks=1, workers=4) as engine, running(engine) as run:
        await until(lambda: len(engine.manager.running) == 1)
        engine.drain()
        await until(lambda: len(engine.snapshot().workers) == 1)
        assert engine.undrain()
        assert len(engine.snapshot().workers) == 4
        (tmp_path / "more.jsonl").write_text('{"id": "more", "prompt": "p"}\n')
        await engine.add([str(tmp_path / "more.jsonl")])
        await until(lambda: state_of(engine, "more") is SUCCEEDED)
        last.set()
        assert await run is End.FINISHED


async def test_what_cannot_be_taken_back(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=3) as engine:
        async with running(engine) as run:
            await until(lambda: len(work.begun) == 3)
            assert not engine.undrain(), "nothing was asked for"
            engine.drain()
            engine.abort()
            assert not engine.undrain(), "an abort"
            assert await run is End.DRAINED
        assert not engine.undrain(), "a run that has ended"
        assert engine.store.counts().pending == 3
        work.let_go()
        async with running(engine) as run:
            assert await run is End.FINISHED, "another run is another matter"


async def test_a_drain_before_the_run_is_taken_back(tmp_path: Path, work: Work) -> None:
    work.let_go()
    async with engine_over(tmp_path, work, tasks=3) as engine:
        engine.drain()
        assert engine.undrain()
        assert await engine.run() is End.FINISHED
        assert engine.store.counts().succeeded == 3


async def test_a_drain_by_a_fault_is_not_taken_back(
    tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_over(tmp_path, work, tasks=4) as engine:
        run = asyncio.create_task(engine.run())
        await until(lambda: len(work.begun) == 3)

        async def broken() -> None:
            raise OSError("a duty failed")

        monkeypatch.setattr(engine.housekeeping, "_tick", broken)
        await until(lambda: engine.pool.is_draining)
        engine.drain()
        assert not engine.undrain()
        work.let_go()
        with pytest.raises(OSError, match="a duty failed"):
            await run


# -- serving ---------------------------------------------------------------------------------------------------------
async def test_serving_goes_on_when_tasks_are_requeued(
    tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.bad.add("t1")
    work.let_go()
    async with engine_over(tmp_path, work, tasks=3) as engine, running(engine, serve=True) as run:
        await until(lambda: engine.snapshot().status == "finished")
        assert (engine.store.counts().succeeded, engine.store.counts().failed) == (2, 1)
        check_results(engine)
        assert not run.done()
        work.bad.clear()
        monkeypatch.setattr("agentdash.engine.facade._IDLE_TICK_S", 1000.0)
        assert await engine.requeue() == 1
        await until(lambda: engine.store.counts().succeeded == 3)
        await until(lambda: engine.snapshot().status == "finished")
        check_results(engine)
        engine.drain()
        assert await asyncio.wait_for(run, 20) is End.FINISHED, "at once, without waiting for the next look"


async def test_serving_an_empty_project_waits_for_another_process_to_add_tasks(tmp_path: Path, work: Work) -> None:
    work.let_go()
    async with engine_over(tmp_path, work) as engine, running(engine, serve=True) as run:
        await until(lambda: engine._view.ended is End.FINISHED)
        assert engine.snapshot().status == "starting"
        async with engine_over(tmp_path, work, tasks=4):
            await until(lambda: engine.store.counts().succeeded == 4)
        await until(lambda: engine.snapshot().status == "finished")
        check_results(engine)
        engine.abort()
        assert await run is End.FINISHED


async def test_a_drain_ends_serving_with_what_is_left(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=5) as engine, running(engine, serve=True) as run:
        await until(lambda: len(work.begun) == 3)
        engine.drain()
        work.let_go()
        assert await run is End.DRAINED
        assert engine.store.counts() == Counts(pending=2, succeeded=3)
        assert not engine.undrain()


async def test_serving_ends_nothing_when_the_limit_is_reached(tmp_path: Path, work: Work) -> None:
    work.let_go()
    async with engine_over(tmp_path, work, tasks=5, limit=2) as engine, running(engine, serve=True) as run:
        await until(lambda: engine.snapshot().status == "finished")
        assert engine.store.counts() == Counts(pending=3, succeeded=2)
        assert engine.waiting_for() == "the limit of this session is reached"
        engine.drain()
        assert await run is End.DRAINED


async def test_undone_while_idle_is_written_down(tmp_path: Path, work: Work) -> None:
    work.bad |= {"t0", "t1"}
    work.let_go()
    async with engine_over(tmp_path, work, tasks=3) as engine, running(engine, serve=True):
        await until(lambda: engine.snapshot().status == "finished")
        work.hold()
        assert await engine.requeue(["t0"]) == 1
        assert await engine.undo() in {(1, 0), (0, 1)}
        work.let_go()
        await until(lambda: engine.snapshot().status == "finished")
        await until(lambda: len((tmp_path / "results.jsonl").read_text().splitlines()) == 3)
        check_results(engine)


# -- undo ------------------------------------------------------------------------------------------------------------
async def test_a_requeue_can_be_taken_back_for_ten_seconds(tmp_path: Path, work: Work) -> None:
    work.bad |= {"t0", "t1", "t2"}
    work.let_go()
    async with engine_over(tmp_path, work, tasks=4) as engine:
        await engine.run()
        assert engine.snapshot().undo is None
        assert await engine.undo() == (0, 0)
        assert await engine.requeue() == 3
        undo = engine.snapshot().undo
        assert undo is not None
        assert undo.text == "3 tasks requeued"
        assert undo.until == pytest.approx(engine.clock.now() + 10, abs=1)
        assert await engine.undo() == (3, 0)
        assert engine.snapshot().undo is None
        assert engine.store.counts() == Counts(succeeded=1, failed=3)
        assert kinds(engine)[-2:] == ["requeued", "undone"]
        await asyncio.to_thread(engine.results.sync)
        check_results(engine)


async def test_after_its_time_nothing_is_taken_back(
    tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lastaction, "UNDO_S", 0.02)
    work.bad |= {"t0"}
    work.let_go()
    async with engine_over(tmp_path, work, tasks=1) as engine:
        await engine.run()
        assert await engine.requeue() == 1
        await until(lambda: engine.snapshot().undo is None)
        assert await engine.undo() == (0, 0)
        assert state_of(engine, "t0") is PENDING

        def kept() -> int:
            number: int = engine.store.run_and_wait(
                lambda tx: tx.connection.execute("SELECT count(*) FROM undo").fetchone()[0]
            )
            return number

        await until(lambda: kept() == 0)


async def test_an_action_that_moved_nothing_can_not_be_taken_back(tmp_path: Path, work: Work) -> None:
    work.bad |= {"t0"}
    work.let_go()
    async with engine_over(tmp_path, work, tasks=2) as engine:
        await engine.run()
        assert await engine.requeue(["t1"]) == 0
        assert engine.snapshot().undo is None
        await engine.requeue(["t0"])
        assert await engine.cancel(["t1"]) == (0, 0)
        assert engine.snapshot().undo is not None, "the one before it still can"
        assert await engine.undo() == (1, 0)


async def test_cancelled_tasks_come_back_pending_and_running_ones_too(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=5) as engine, running(engine) as run:
        await until(lambda: len(work.begun) == 3)
        assert await engine.cancel(["t0", "t1", "t4"]) == (1, 2)
        assert engine.snapshot().undo is not None
        assert await engine.undo() == (3, 0), "before they could stop"
        await until(lambda: sorted(work.begun).count("t0") == 2)
        work.let_go()
        assert await run is End.FINISHED
        assert engine.store.counts() == Counts(succeeded=5)
        assert [engine.store.find(f"t{n}").attempts for n in range(5)] == [1] * 5  # type: ignore[union-attr]
        check_results(engine)


async def test_running_tasks_that_were_cancelled_come_back(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=3) as engine, running(engine) as run:
        await until(lambda: len(work.begun) == 3)
        assert await engine.cancel(["t0", "t1"]) == (0, 2)
        await until(lambda: engine.store.counts().cancelled == 2)
        assert await engine.undo() == (2, 0)
        work.let_go()
        assert await run is End.FINISHED
        assert engine.store.counts() == Counts(succeeded=3)
        check_results(engine)


@pytest.mark.parametrize("pause", range(0, 12, 2))
async def test_whenever_the_undo_comes_no_cancelled_task_is_left(tmp_path: Path, work: Work, pause: int) -> None:
    """After so many turns of the loop: before it is stopped, while its end is written, after that."""
    async with engine_over(tmp_path, work, tasks=20, workers=20) as engine, running(engine, serve=True):
        await until(lambda: len(work.begun) == 20)
        await engine.cancel([f"t{n}" for n in range(20)])
        for _ in range(pause):
            await asyncio.sleep(0)
        assert await engine.undo() == (20, 0)
        work.let_go()
        await until(lambda: engine.snapshot().status == "finished")
        assert engine.store.counts() == Counts(succeeded=20)
        check_results(engine)


async def test_a_group_of_errors_is_requeued_and_can_be_taken_back(tmp_path: Path, work: Work) -> None:
    work.bad |= {"t0", "t2"}
    work.let_go()
    async with engine_over(tmp_path, work, tasks=3) as engine:
        await engine.run()
        [group] = await engine.error_groups()
        assert isinstance(group, ErrorGroup)
        assert (group.error_type, group.count) == ("ValueError", 2)
        assert await engine.requeue_group(group) == 2
        assert await engine.undo() == (2, 0)
        assert await engine.export_group(group, tmp_path / "bad.jsonl") == 2
        assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 2


# -- locks -----------------------------------------------------------------------------------------------------------
async def test_locks_are_listed_with_their_heartbeats_and_stale_ones_removed(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=2) as engine, running(engine):
        await until(lambda: len(work.begun) == 2)
        (tmp_path / ".locks" / "task-left.lock").write_text("")
        other = TaskLock(tmp_path)
        try:
            other.acquire("theirs", "worker-9")
            views = {view.task_id: view for view in await engine.list_locks()}
            assert {name: view.state for name, view in views.items()} == {
                "t0": "held",
                "t1": "held",
                "theirs": "held",
                "left": "stale",
            }
            assert all(abs((view.heartbeat_at or 0) - time.time()) < 60 for view in views.values())
            assert {lock.task_id for lock in engine.snapshot().locks} == {"t0", "t1"}
            first = {lock.task_id: lock.heartbeat_at for lock in engine.snapshot().locks}
            assert await engine.clean_locks() == 1
            assert await engine.clean_locks() == 0
            await until(lambda: all(lock.heartbeat_at != first[lock.task_id] for lock in engine.snapshot().locks))
            assert {view.task_id for view in await engine.list_locks()} == {"t0", "t1", "theirs"}
        finally:
            other.close()


# -- output ----------------------------------------------------------------------------------------------------------
async def test_the_output_of_a_running_task_is_read_as_it_comes(tmp_path: Path) -> None:
    contexts: list[TaskContext] = []
    release = asyncio.Event()

    async def work(task: dict[str, Any], context: TaskContext) -> str:
        contexts.append(context)
        context.progress("Hello")
        await release.wait()
        return "done"

    processor = FunctionProcessor(work)
    processor.needs_credentials = False
    async with Engine(Settings(project=tmp_path), processor=processor) as engine:
        (tmp_path / "one.txt").write_text("a prompt\n")
        await engine.add([str(tmp_path / "one.txt")])
        task_id = next(engine.store.tasks()).id
        assert engine.output_since(task_id, 0) is None
        async with running(engine) as run:
            await until(lambda: bool(contexts))
            part = engine.output_since(task_id, 0)
            assert part is not None
            assert (part.text, part.position) == ("Hello", 5)
            contexts[0].progress(" world")
            part = engine.output_since(task_id, 5)
            assert part is not None
            assert part.text == " world"
            release.set()
            await run
        assert engine.output_since(task_id, 0) is None


# -- what other processes do -----------------------------------------------------------------------------------------
async def test_a_cancellation_of_another_process_is_none_of_ours_to_take_back(tmp_path: Path, work: Work) -> None:
    async with engine_over(tmp_path, work, tasks=4) as engine, running(engine) as run:
        await until(lambda: len(work.begun) == 3)
        other = SqliteTaskStore(tmp_path)
        await other.cancel(["t0", "t3"], NOW)
        await other.close()
        await until(lambda: engine.store.counts().cancelled == 2)
        assert await engine.undo() == (0, 0)
        work.let_go()
        assert await run is End.FINISHED
        assert (state_of(engine, "t0"), state_of(engine, "t3")) == (CANCELLED, CANCELLED)
