"""`--workers auto`: looks at a run at work, and has its pool do what `concurrency` decides."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable
from types import TracebackType
from typing import Self

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.concurrency import FIRST_WORKERS, Concurrency, Observation
from agentdash.engine.events import EventLog
from agentdash.engine.manager import TaskStateManager
from agentdash.engine.pool import ParallelSessionManager
from agentdash.engine.rotation import APIRotationState
from agentdash.engine.runner import TaskRunner
from agentdash.engine.store import Claim, Settlement
from agentdash.figures import count
from agentdash.model import FailureClass

LOOK_S = 0.1
"""How often the run is looked at, in seconds."""
_OUTCOMES = frozenset({"succeeded", FailureClass.TASK.value, FailureClass.SERVICE.value})
"""Attempts that kept their workers as busy as any: what a limit or an overload refuses comes back at once."""
_OTHER_FILES = 100
_FILES_A_WORKER = 2
"""Open files: a lock and a connection."""


class TimedTasks(TaskStateManager):
    """The queue, which tells `on_ended` of each attempt for how many seconds it kept its worker."""

    on_ended: Callable[[float], None] | None = None

    async def settle(self, claim: Claim, settlement: Settlement) -> bool:
        """As the queue does it."""
        was_cancelled = await super().settle(claim, settlement)
        if self.on_ended is not None and settlement.attempt.outcome in _OUTCOMES:
            self.on_ended(self._clock.now() - settlement.attempt.started_at)
        return was_cancelled


def first_workers(most: int, keys: int) -> int:
    """How many there are at the beginning: each key may be tried at once."""
    return max(1, min(most, files_allow(), max(FIRST_WORKERS, keys)))


def files_allow() -> int:
    """For how many workers this process may open files."""
    if os.name == "nt":
        return 1 << 30
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return 1 << 30
    return max(1, (limit - _OTHER_FILES) // _FILES_A_WORKER)


class WorkerFinder:
    """Finds the number of workers while the pool runs (`async with`), until somebody sets it by hand.

    Every change is an event with its reason. A fault of its own leaves the number as it is, and says so.
    """

    def __init__(
        self,
        *,
        pool: ParallelSessionManager,
        manager: TimedTasks,
        runner: TaskRunner,
        rotation: APIRotationState | None,
        events: EventLog,
        most: int,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.is_on = True
        self._pool = pool
        self._manager = manager
        self._runner = runner
        self._rotation = rotation
        self._events = events
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._concurrency = Concurrency(
            clock.monotonic(),
            most=min(most, files_allow()),
            first=pool.max_workers,
            learns_limits=rotation is not None,
        )
        manager.on_ended = lambda took: self._concurrency.ended(clock.monotonic(), took)

    async def __aenter__(self) -> Self:
        if self.is_on:
            self._task = asyncio.create_task(self._find(), name="agentdash-workers")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def take_over(self, workers: int) -> None:
        """Somebody has set the number by hand: it stays as it is from now on."""
        if self.is_on:
            self._stop()
            self._events.emit(
                "resized", f"{count(workers, 'worker')} by hand: their number is no longer found by itself"
            )

    def observe(self) -> Observation:
        """The run at this moment."""
        line, rotation = self._runner.line, self._rotation
        in_line = len(line) if line is not None else 0
        at_gate = sum(v.state == "waiting" and v.task is None and v.backoff_until is None for v in self._pool.views())
        outage = self._runner.services.outage()
        return Observation(
            self._clock.monotonic(),
            self._pool.max_workers,
            waiting=in_line + at_gate,
            pending=0 if self._manager.found_nothing else self._manager.store.counts().pending,
            rate=rotation.rate() if rotation is not None else math.inf,
            is_held=self._is_held(),
            outage=outage[1] if outage is not None else None,
        )

    def _is_held(self) -> bool:
        pool = self._pool
        if pool.is_paused or pool.is_draining or not pool.is_running:
            return True
        return self._rotation is not None and not self._rotation.readiness().ready

    async def _find(self) -> None:
        try:
            while self.is_on:
                await self._clock.sleep(LOOK_S)
                self._look()
        except Exception as error:  # noqa: BLE001 - a boundary: without this duty a run goes on as it is
            self._stop()
            self._events.emit("fault", f"{self._pool.max_workers} workers from now on: {type(error).__name__}: {error}")

    def _look(self) -> None:
        seen = self.observe()
        change = self._concurrency.decide(seen)
        if change is not None:
            self._pool.resize(change.workers)
            self._events.emit("resized", f"{seen.workers:,} → {count(change.workers, 'worker')}: {change.reason}")

    def _stop(self) -> None:
        self.is_on = False
        self._manager.on_ended = None
