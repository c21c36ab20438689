"""A pool over a store in memory in virtual time, put together as the engine does it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from agentdash import ParallelSessionManager, TaskStateManager
from agentdash.engine.processors import FunctionProcessor
from agentdash.engine.runner import TaskRunner
from agentdash.engine.store import MemoryTaskStore
from tests.support.virtual_loop import LoopClock

CLOCK = LoopClock()
Body = Callable[[dict[str, Any], str], Awaitable[Any]]


class FreeLock:
    """A lock that counts, and refuses the tasks it is told to."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()
        self.held: set[str] = set()
        self.refused: set[str] = set()

    def acquire(self, task_id: str, holder_id: str = "", timeout: float = 0) -> bool:
        self.tries[task_id] += 1
        if task_id in self.refused or task_id in self.held:
            return False
        self.held.add(task_id)
        return True

    def release(self, task_id: str, holder_id: str | None = None) -> bool:
        self.held.remove(task_id)
        return True


class Bench:
    """A pool over a store in memory, as the engine puts them together."""

    def __init__(self, tasks: int, body: Body, *, workers: int = 3, **options: Any) -> None:
        self.store = MemoryTaskStore()
        self.manager = TaskStateManager(self.store, clock=CLOCK)
        self.manager.add_tasks([{"id": f"t{n}"} for n in range(tasks)])
        self.lock = FreeLock()
        self.calls: list[tuple[float, str, str]] = []
        self.body = body
        self.pool = ParallelSessionManager(workers, clock=CLOCK, **options)
        self.runner = TaskRunner(
            FunctionProcessor(self._call),
            clock=CLOCK,
            policy=self.pool.policy,
            health=self.pool.health_states,
            events=self.pool.events,
        )

    async def _call(self, task: dict[str, Any], worker_id: str) -> Any:
        self.calls.append((CLOCK.monotonic() - 1000, task["id"], worker_id))
        return await self.body(task, worker_id)

    async def run(self) -> None:
        await self.pool.run(self.manager, self.lock, self.runner)

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.run())

    def states(self) -> Counter[str]:
        return Counter(record.state.value for record in self.store.tasks())

    def events(self, kind: str) -> list[str]:
        return [event.text for event in self.pool.events.since(0) if event.kind == kind]

    def alive(self) -> int:
        return len(self.pool.views())


async def a_second(task: dict[str, Any], worker_id: str) -> str:
    await asyncio.sleep(1)
    return "done"
