"""What the housekeeping owes the run, and what becomes of a run without it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentdash.errors import StoreWriteError
from agentdash.model import Counts
from tests.support.engines import Work, engine_over, until


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

        def refuse() -> int:
            raise StoreWriteError("The disk is full.", hint="Make room.")

        sync = engine.results.sync
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_load_sdk", load_slowly)
            patch.setattr(engine.results, "sync", refuse)
            with pytest.raises(StoreWriteError, match="disk is full"):
                await asyncio.wait_for(engine.run(), 20)
        assert work.begun == []
        assert engine.results.sync == sync
        await asyncio.wait_for(engine.run(), 20)
        assert engine.store.counts() == Counts(succeeded=3)
