"""What a running process does beside its tasks, about once a second: each duty small, all of them supervised."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.allowance import Allowance
from agentdash.engine.events import EventLog
from agentdash.engine.limits import LimitPool
from agentdash.engine.locks import TaskLock
from agentdash.engine.manager import TaskStateManager
from agentdash.engine.pool import ParallelSessionManager
from agentdash.engine.rates import RateMeter
from agentdash.engine.reaper import Reaper
from agentdash.engine.resources import resource_of
from agentdash.engine.rotation import APIRotationState
from agentdash.engine.runner import TaskRunner
from agentdash.engine.stall import StallWatch
from agentdash.engine.status import live_processes
from agentdash.engine.store import ProcessRecord, SqliteTaskStore
from agentdash.engine.store.results_file import ResultsFile
from agentdash.errors import AgentdashError
from agentdash.model import Totals

_TICK_S = 0.5
_CLOCK_BACK_S = 1.0
"""From so much on the wall clock was put back, and not just slowed down."""


class Housekeeping:
    """Heartbeats, lost tasks, cancellations, shared credential state, the results file, and the look at `stall`.

    When a duty fails `on_fault` is called, which drains the pool, and `stop` raises the error.
    """

    def __init__(
        self,
        *,
        store: SqliteTaskStore,
        manager: TaskStateManager,
        lock: TaskLock,
        reaper: Reaper,
        results: ResultsFile,
        rotation: APIRotationState | None,
        pool: ParallelSessionManager,
        runner: TaskRunner,
        events: EventLog,
        allowance: Allowance,
        report: Callable[[], Mapping[str, Any]],
        rate: RateMeter,
        stall: StallWatch,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.on_fault: Callable[[], None] = pool.drain
        self._store = store
        self._manager = manager
        self._lock = lock
        self._reaper = reaper
        self._results = results
        self._rotation = rotation
        self._pool = pool
        self._runner = runner
        self._events = events
        self._allowance = allowance
        self._report = report
        self._rate = rate
        self.stall = stall
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._fault: Exception | None = None
        self._started_at = clock.now()
        self._ticked_at = clock.monotonic()
        self._version = -1
        self._saved_totals = (0, 0, 0)
        self._others = 0
        self._telling: set[asyncio.Task[None]] = set()
        self._heard = -1
        self._clock_ahead = 0.0
        if rotation is not None:
            rotation.on_limited = self._tell
            rotation.hear = self._hear

    async def start(self, *, stop_when_stalled: bool) -> None:
        """Join the project: take over what the store knows, bring lost tasks back, then tick until stopped."""
        self._fault = None
        self.stall.start(ends_the_run=stop_when_stalled)
        self._allowance.begin(drains=stop_when_stalled)
        self._ticked_at = self._clock.monotonic()
        self._clock_ahead = self._clock.now() - self._clock.monotonic()
        learned = (LimitPool.learned_at(record.learned) for record in self._store.credentials())
        await self._clock_went_back(max(0.0, max(learned, default=0.0) - self._clock.now()))
        self._absorb(first=True)
        await asyncio.to_thread(self._lock.clean_all_stale_locks, 0)
        found = await self._reaper.sweep(self._manager.running)
        if found:
            self._events.emit("reclaimed", f"{found} tasks of a process that died are pending again")
        await self._save_process()
        self._rate.restart()
        self.measure()
        self._task = asyncio.create_task(self._tick_until_stopped(), name="agentdash-housekeeping")

    @property
    def is_at_work(self) -> bool:
        """Whether its duties are done: between `start` and `stop`, until one of them fails."""
        return self._task is not None and self._fault is None

    def measure(self) -> int:
        """Take a sample of how fast the run is; returns how many tasks are finished."""
        counts = self._store.counts()
        finished = counts.finished
        if self._rotation is not None:
            is_paced = self._runner.paced_until() is not None
            self._rate.pace(self._rotation.seconds_for(counts.pending - counts.held), is_paced=is_paced)
        now, wall = self._clock.monotonic(), self._clock.now()
        self._rate.update(now, finished, wall=wall, held=not self._manager.running and self._is_held())
        return finished

    async def stop(self) -> None:
        """Leave the project in order: credentials saved, results file complete. Raises what a duty raised."""
        self._allowance.end()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            await asyncio.gather(*self._telling, return_exceptions=True)
            self.measure()  # the last seconds, or all of a short run
            await self._save(leaving=True)
            await asyncio.to_thread(self._lock.clean_all_stale_locks, 0)
            await asyncio.to_thread(self._results.sync)
            await asyncio.to_thread(self._lock.clean_all_stale_locks, 0)  # what processes that died here left
            if self._fault is not None:
                raise self._fault

    def stop_cancelled(self) -> None:
        """Stop the running tasks of this process whose cancellation was asked for."""
        for row in self._store.running():
            if row.cancel_requested and row.owner == self._manager.owner:
                self._manager.request_stop(row.seq, "cancel")

    async def _tick_until_stopped(self) -> None:
        try:
            while True:
                await self._clock.sleep(_TICK_S)
                await self._tick()
        except Exception as fault:  # noqa: BLE001 - whatever it is: without sweeps the run must not go on
            self._fault = fault
            self.on_fault()
            await self._watch_to_the_end()

    async def _watch_to_the_end(self) -> None:
        """What runs may end and be settled, as long as its lock and the database are there to settle it."""
        try:
            while True:
                await self._clock.sleep(_TICK_S)
                for task_id in self._lock.heartbeat_all():
                    self._compromised(task_id)
                self._store.check_place()
        except (AgentdashError, OSError):
            self._pool.abort()

    async def _tick(self) -> None:
        for task_id in self._lock.heartbeat_all():
            self._compromised(task_id)
        self._allowance.look()
        ahead = self._clock.now() - self._clock.monotonic()
        back, self._clock_ahead = self._clock_ahead - ahead, ahead
        if back > _CLOCK_BACK_S:
            await self._clock_went_back(back)
        version = self._store.version()
        if version != self._version:
            self._version = version
            self._absorb(first=False)
            self._manager.notify()
        self.stop_cancelled()
        found = await self._reaper.sweep(self._manager.running)
        if found:
            self._events.emit("reclaimed", f"{found} tasks of a process that died are pending again")
            self._manager.notify()
        await self._save(leaving=False)
        await asyncio.to_thread(self._results.sync)
        self.stall.look(self.measure())

    async def _clock_went_back(self, seconds: float) -> None:
        """The wall clock was put back: what waits for a date that an earlier clock gave would wait for hours."""
        if self._rotation is not None:
            self._rotation.pools.clock_went_back(seconds)
        longest = self._clock.now() + self._pool.policy.max_retry_delay_s
        await self._store.clock_went_back(seconds, longest)
        if self._rotation is not None:
            self._rotation.on_change()
        self._manager.notify()

    def _compromised(self, task_id: str) -> None:
        """A lock that was taken from under us: the task that held it is stopped and not settled."""
        for seq, running in list(self._manager.running.items()):
            task = running.claim.task
            if task_id == task.id or resource_of(task_id) in task.locks:
                self._events.emit(
                    "compromised", f"the lock of {task_id} was removed from outside; {task.id} is stopped"
                )
                self._manager.request_stop(seq, "compromised")

    def _absorb(self, *, first: bool) -> None:
        live = live_processes(self._store, self._clock.now())
        self._others = sum(process.owner != self._manager.owner for process in live)
        if self._rotation is not None:
            self._take_over(self._rotation, first=first)
            self._rotation.pools.set_share(1 / (1 + self._others))

    def _take_over(self, rotation: APIRotationState, *, first: bool = False) -> None:
        """What the store knows of the keys; an active key that was moved elsewhere is told of."""
        before = rotation.get_current()
        rotation.absorb(self._store.credentials(), self._store.active_credential(), trust_marks=bool(self._others))
        now = rotation.get_current()
        if not first and before is not now and before is not None and now is not None:
            self._events.emit("rotated", f"active key {before.name} → {now.name}, from outside this process")

    async def _save(self, *, leaving: bool) -> None:
        now = self._clock.monotonic()
        elapsed, self._ticked_at = now - self._ticked_at, now
        recoveries = sum(health.total_recoveries for health in self._pool.health_states.values())
        rotations = self._rotation.rotations if self._rotation is not None else 0
        before, self._saved_totals = self._saved_totals, (recoveries, rotations, self._runner.abandoned)
        totals = Totals(
            requests=self._runner.abandoned - before[2],
            recoveries=recoveries - before[0],
            rotations=rotations - before[1],
            elapsed_s=elapsed if self._is_first_process() else 0.0,
        )
        await self._save_credentials()
        await self._store.add_totals(totals)
        if leaving:
            await self._store.drop_process(self._manager.owner)
            await self._drop_dead_processes()
        else:
            await self._save_process()

    async def _save_credentials(self) -> None:
        changes = self._rotation.take_changes() if self._rotation is not None else None
        if changes is not None:
            await self._store.save_credentials(*changes)

    def _tell(self) -> None:
        """A limit was met: where others are at work, they are told at once and not with the next tick."""
        if self._others and not self._telling:
            telling = asyncio.create_task(self._save_credentials(), name="agentdash-cooldown")
            self._telling.add(telling)
            telling.add_done_callback(self._told)

    def _told(self, telling: asyncio.Task[None]) -> None:
        self._telling.discard(telling)
        if not telling.cancelled():
            telling.exception()  # a store that fails is met by the next tick as well, which ends the run for it

    def _hear(self) -> None:
        """Before a request: what others at work have found out since."""
        if self._others and self._rotation is not None and (version := self._store.version()) != self._heard:
            self._heard = version
            self._take_over(self._rotation)

    async def _drop_dead_processes(self) -> None:
        """Forget those that were killed; one that only slept writes itself down again."""
        live = {process.owner for process in live_processes(self._store, self._clock.now())}
        for process in self._store.processes():
            if process.owner not in live:
                await self._store.drop_process(process.owner)

    async def _save_process(self) -> None:
        record = ProcessRecord(
            self._manager.owner,
            os.getpid(),
            socket.gethostname(),
            self._started_at,
            self._clock.now(),
            json.dumps(self._report()),
        )
        await self._store.save_process(record)

    def _is_first_process(self) -> bool:
        """Of several processes one counts the project's time."""
        live = live_processes(self._store, self._clock.now())
        return not live or live[0].owner == self._manager.owner

    def _is_held(self) -> bool:
        """Whether nothing may be begun: by the user's wish, or as every key cools until a moment that is known."""
        if self._pool.is_paused:
            return True
        readiness = self._rotation.readiness() if self._rotation is not None else None
        return readiness is not None and not readiness.ready and readiness.at is not None
