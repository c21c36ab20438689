"""A claim that fails half-way: `test_pool_model.py` found what became of its task."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agentdash.errors import LockError
from tests.support.bench import Bench, a_second
from tests.support.virtual_loop import virtual


@pytest.mark.parametrize("part", ["lock", "store"])
@pytest.mark.parametrize("error", [LockError("the folder is gone"), OSError("a fault of ours")])
@virtual
async def test_a_task_whose_claim_failed_is_not_forgotten(part: str, error: Exception) -> None:
    """By the worker that is begun again, or by the next run if that was the end of this one."""
    bench = Bench(3, a_second, workers=2)
    fails = iter([True])

    def broken(*given: Any) -> Any:
        if next(fails, False):
            raise error
        return real(*given)

    owner, name = (bench.lock, "acquire") if part == "lock" else (bench.store, "claim")
    real = getattr(owner, name)
    setattr(owner, name, broken)
    if isinstance(error, LockError):
        with pytest.raises(LockError):
            await bench.run()
    await asyncio.wait_for(bench.run(), 100)
    assert bench.states() == {"succeeded": 3}
    assert not bench.lock.held
