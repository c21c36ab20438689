"""What the queue hands out, in one line each."""

from __future__ import annotations

import asyncio

from agentdash.engine.manager import TaskStateManager
from agentdash.engine.store import Claim
from agentdash.model import Task


def next_ids(manager: TaskStateManager, most: int = 1000) -> list[str]:
    """All that is handed out now."""
    found: list[str] = []
    while len(found) < most and (task := manager.get_next_pending_task()) is not None:
        found.append(task.id)
    return found


def next_task(manager: TaskStateManager) -> Task:
    task = manager.get_next_pending_task()
    assert task is not None
    return task


async def claim_next(manager: TaskStateManager) -> Claim:
    claim = await manager.claim(next_task(manager), "w1")
    assert claim is not None
    return claim


async def turns(number: int = 20) -> None:
    """Let everything that is ready run."""
    for _ in range(number):
        await asyncio.sleep(0)
