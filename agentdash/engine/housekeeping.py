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
from agentdash.engine.status import live_processes
from agentdash.engine.store import ProcessRecord, SqliteTaskStore
from agentdash.engine.store.results_file import ResultsFile
from agentdash.model import Totals

_TICK_S = 0.5
_LONG_RUNNING_S = 60.0
_CLOCK_BACK_S = 1.0
"""From so much on the wall clock was put back, and not just slowed down."""
_STOPPED_S = 5.0
"""So long between two ticks: the process was stopped (Ctrl+Z, a frozen container)."""


class Housekeeping:
    """Heartbeats, lost tasks, cancellations, shared credential state, the results file, and the stall watch.

    `stalled` says why the run stalled, once it did. A duty that fails drains the pool; `stop` raises its error.
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
        stall_timeout_s: float,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.stalled: str | None = None
        self.is_stalling = False
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
        self._stall_timeout_s = stall_timeout_s
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._started_at = clock.now()
        self._stop_when_stalled = True
        self._ticked_at = clock.monotonic()
        self._moved_at = self._watched_at = clock.monotonic()
        self._finished = -1
        self._was_open = False
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
        self._stop_when_stalled = stop_when_stalled
        self.stalled, self.is_stalling, self._finished = None, False, -1
        self._allowance.begin(drains=stop_when_stalled)
        self._ticked_at = self._moved_at = self._watched_at = self._clock.monotonic()
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
        return self._task is not None and not self._task.done()

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
            outcome = (await asyncio.gather(self._task, return_exceptions=True))[0]
            self._task = None
            await asyncio.gather(*self._telling, return_exceptions=True)
            self.measure()  # the last seconds, or all of a short run
            await self._save(leaving=True)
            await asyncio.to_thread(self._lock.clean_all_stale_locks, 0)
            await asyncio.to_thread(self._results.sync)
            await asyncio.to_thread(self._lock.clean_all_stale_locks, 0)  # what processes that died here left
            if isinstance(outcome, Exception):
                raise outcome

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
        except Exception:  # whatever it is: without heartbeats and sweeps the run must not go on
            self._pool.drain()
            raise

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
        self._watch_for_stall(self.measure())

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

    def _watch_for_stall(self, finished: int) -> None:
        """Stall: for so long no task was finished, anywhere, and none is at work. A pause is no stall."""
        now = self._clock.monotonic()
        unwatched, self._watched_at = now - self._watched_at, now
        if unwatched > _STOPPED_S:  # the process was stopped meanwhile: nothing could move
            self._moved_at += unwatched
        patience = min(_LONG_RUNNING_S, self._stall_timeout_s / 2)
        wall = self._clock.now()
        at_work = any(wall - running.claim.claimed_at > patience for running in self._manager.running.values())
        was_open, self._was_open = self._was_open, self._pool.is_running and not self._pool.is_paused
        if finished != self._finished or at_work or not (was_open and self._was_open):
            self._finished, self._moved_at, self.is_stalling = finished, now, False
            return
        readiness = self._rotation.readiness() if self._rotation is not None else None
        # A date on which a quota ends is worth waiting for if it comes before the patience is over.
        hopeless = (
            readiness is not None
            and not readiness.usable
            and (readiness.at is None or readiness.at - wall > self._stall_timeout_s)
        )
        if hopeless and not self._manager.running:
            self._stall("no usable key: " + "; ".join(self._key_troubles()))
        elif now - self._moved_at >= self._stall_timeout_s and not self._others_are_at_work(wall - patience):
            self._stall(f"no progress for {self._stall_timeout_s:g} s: {self._why()}")

    def _others_are_at_work(self, since: float) -> bool:
        """Whether another process that lives has had a task for so long: an agent's session may take an hour."""
        live = {process.owner for process in live_processes(self._store, self._clock.now())}
        return any(row.owner in live and row.claimed_at <= since for row in self._store.running())

    def _stall(self, reason: str) -> None:
        self.is_stalling = True
        if self._stop_when_stalled and not self.stalled:
            self.stalled = reason
            self._events.emit("stalled", reason)
            self._pool.abort()

    def _is_held(self) -> bool:
        """Whether nothing may be begun: by the user's wish, or as every key cools until a moment that is known."""
        if self._pool.is_paused:
            return True
        readiness = self._rotation.readiness() if self._rotation is not None else None
        return readiness is not None and not readiness.ready and readiness.at is not None

    def _why(self) -> str:
        return str(self._report()["waiting_for"]) or "tasks neither succeed nor fail"

    def _key_troubles(self) -> list[str]:
        if self._rotation is None:
            return []
        return [f"{view.name} {view.state}: {view.last_error or 'no reason given'}" for view in self._rotation.views()]
