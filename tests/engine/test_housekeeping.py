"""What the housekeeping owes the run, and what becomes of a run without it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentdash.engine.facade import End
from agentdash.engine.stall import StallWatch
from agentdash.errors import StoreWriteError
from agentdash.model import Counts
from tests.support.engines import Work, engine_over, running, until


def _disk_is_full() -> int:
    raise StoreWriteError("The disk is full.", hint="Make room.")


async def test_a_fault_before_the_first_task_is_no_run_without_housekeeping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the first tick, while the SDK is still being loaded: nobody would bring lost tasks back,
    nor see that the run stalls, and it would wait for ever for the tasks of a process that died."""
    work = Work()
    work.let_go()
    async with engine_over(tmp_path, work, tasks=3) as engine:

        async def load_slowly() -> None:
            await until(lambda: engine.housekeeping.is_at_work)
            await until(lambda: not engine.housekeeping.is_at_work)

        sync = engine.results.sync
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_load_sdk", load_slowly)
            patch.setattr(engine.results, "sync", _disk_is_full)
            with pytest.raises(StoreWriteError, match="disk is full"):
                await asyncio.wait_for(engine.run(), 20)
        assert work.begun == []
        assert engine.results.sync == sync
        await asyncio.wait_for(engine.run(), 20)
        assert engine.store.counts() == Counts(succeeded=3)


async def test_a_task_that_takes_long_in_another_process_is_no_stall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent's session may take an hour, and whoever has nothing to do meanwhile waits for it."""
    asked: list[bool] = []
    others_are_at_work = StallWatch._others_are_at_work

    def ask(self: StallWatch, since: float) -> bool:
        asked.append(others_are_at_work(self, since))
        return asked[-1]

    monkeypatch.setattr(StallWatch, "_others_are_at_work", ask)
    work = Work()
    async with engine_over(tmp_path, work, tasks=1) as busy, running(busy) as first:
        await until(lambda: work.begun == ["t0"])
        async with engine_over(tmp_path, work, stall_timeout_s=0.1) as idle, running(idle) as second:
            await until(lambda: len(asked) >= 2)
            assert not second.done()
            assert not idle.housekeeping.stall.is_stalling
            work.let_go()
            assert await asyncio.wait_for(second, 20) is End.FINISHED
        assert await asyncio.wait_for(first, 20) is End.FINISHED
    assert any(asked)


async def test_a_task_of_a_process_that_does_not_answer_any_more_is_a_stall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    async with engine_over(tmp_path, work, tasks=1) as busy, running(busy) as first:
        await until(lambda: work.begun == ["t0"])
        monkeypatch.setattr("agentdash.engine.stall.live_processes", lambda *_: [])
        async with engine_over(tmp_path, work, stall_timeout_s=0.1) as idle, running(idle) as second:
            assert await asyncio.wait_for(second, 20) is End.STALLED
            assert "1 task runs in another process" in (idle.stall_reason or "")
        work.let_go()
        assert await asyncio.wait_for(first, 20) is End.FINISHED


async def test_the_time_before_the_workers_begin_is_no_stall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short patience and a busy machine: a tick that comes right behind the start must not count what was before."""
    work = Work()
    async with engine_over(tmp_path, work, tasks=1, stall_timeout_s=30) as engine:
        watched: list[bool] = []
        look = StallWatch.look

        def watch(self: StallWatch, finished: int) -> None:
            look(self, finished)
            watched.append(engine.pool.is_running)

        async def load_slowly() -> None:
            await until(lambda: bool(watched))
            engine.housekeeping.stall._moved_at -= 60

        monkeypatch.setattr(StallWatch, "look", watch)
        monkeypatch.setattr(engine, "_load_sdk", load_slowly)
        async with running(engine) as run:
            await until(lambda: any(watched))
            work.let_go()
            assert await asyncio.wait_for(run, 20) is End.FINISHED


async def test_what_runs_when_a_duty_fails_may_end_and_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    async with engine_over(tmp_path, work, tasks=5) as engine:
        run = asyncio.create_task(engine.run())
        await until(lambda: len(work.begun) == 3)
        monkeypatch.setattr(engine.results, "sync", _disk_is_full)
        await until(lambda: engine.is_stopping)
        work.let_go()
        with pytest.raises(StoreWriteError, match="disk is full"):
            await asyncio.wait_for(run, 20)
        assert engine.store.counts() == Counts(pending=2, succeeded=3)


async def test_what_runs_when_a_duty_fails_has_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    async with engine_over(tmp_path, work, tasks=5, drain_timeout_s=0.1) as engine:
        run = asyncio.create_task(engine.run())
        await until(lambda: len(work.begun) == 3)
        monkeypatch.setattr(engine.results, "sync", _disk_is_full)
        with pytest.raises(StoreWriteError, match="disk is full"):
            await asyncio.wait_for(run, 20)
        assert engine.store.counts() == Counts(pending=5)


async def test_a_project_that_goes_after_a_duty_has_failed_is_missed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a run waited for its tasks to end although nothing could keep their results."""
    work = Work()
    async with engine_over(tmp_path, work, tasks=3) as engine:
        run = asyncio.create_task(engine.run())
        await until(lambda: len(work.begun) == 3)
        monkeypatch.setattr(engine.results, "sync", _disk_is_full)
        await until(lambda: engine.is_stopping)
        (tmp_path / ".agentdash" / "state.db").rename(tmp_path / "moved.db")
        with pytest.raises(StoreWriteError):
            await asyncio.wait_for(run, 20)
