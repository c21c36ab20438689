"""Brings back the tasks of owners that died: rows that say running while their lock is free."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from itertools import groupby

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.locks import TaskLock
from agentdash.engine.policy import RetryPolicy, after_crash
from agentdash.engine.store import RunningTask, TaskStore
from agentdash.model import TaskState

_HOLDER = "reaper"


class Reaper:
    """Looks for lost tasks and gives them back. A worker takes the lock before it claims, and keeps it until its
    settlement is durable: so a free lock beside a running row means that its owner is gone."""

    def __init__(
        self, store: TaskStore, lock: TaskLock, policy: RetryPolicy, *, owner: str, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._store = store
        self._lock = lock
        self._policy = policy
        self._owner = owner
        self._clock = clock

    async def sweep(self, running_here: Container[int]) -> int:
        """Give back what lost its owner; `running_here` are this process's own tasks. Returns how many came back.

        Of each owner's tasks one is tried first: if its lock is held, the owner lives, and the others are left alone.
        """
        rows = [r for r in self._store.running() if not (r.owner == self._owner and r.seq in running_here)]
        rows.sort(key=lambda row: row.owner)
        found = 0
        for owner, group in groupby(rows, key=lambda row: row.owner):
            tasks = list(group)
            first = await self._take_back(tasks[:1])
            found += first
            if first or owner == self._owner:
                found += await self._take_back(tasks[1:])
        return found

    async def _take_back(self, rows: Sequence[RunningTask]) -> int:
        """Take back those whose lock can be had."""
        found = 0
        for row in rows:
            if not self._lock.acquire(row.id, _HOLDER, 60):
                continue
            try:
                # Read again under the lock: the owner may have settled since, and dropped the lock as it should.
                task = self._store.load(row.seq)
                if task is None or task.state is not TaskState.RUNNING or task.fence != row.fence:
                    continue
                settlement = after_crash(row, task, self._clock.now(), self._policy)
                found += await self._store.reclaim(row, settlement)
            finally:
                self._lock.release(row.id, _HOLDER)
            await asyncio.sleep(0)
        return found
