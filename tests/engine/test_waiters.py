"""Workers that wait: what one was told before it was cancelled is told to another."""

from __future__ import annotations

import asyncio

import pytest

from agentdash.engine.waiters import Waiters


@pytest.mark.parametrize("is_work", [True, False])
async def test_what_a_cancelled_one_was_told_is_told_to_another(is_work: bool) -> None:
    waiters = Waiters()
    tasks = [asyncio.create_task(waiters.wait(None)) for _ in range(2)]
    await asyncio.sleep(0)
    waiters.wake_one(is_work=is_work)
    tasks[1].cancel()  # the last that came is told first
    told = await asyncio.gather(*tasks, return_exceptions=True)
    assert told[0] is is_work
    assert isinstance(told[1], asyncio.CancelledError)
    assert not waiters


async def test_who_is_not_told_in_time_goes_on_by_itself() -> None:
    waiters = Waiters()
    assert await waiters.wait(0) is None
    assert not waiters
