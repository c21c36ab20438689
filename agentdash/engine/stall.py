"""Sees that a run does not get on any more: no usable key, or nothing that ends."""

from __future__ import annotations

from collections.abc import Callable

from agentdash.clock import Clock
from agentdash.engine.events import EventLog
from agentdash.engine.manager import TaskStateManager
from agentdash.engine.pool import ParallelSessionManager
from agentdash.engine.rotation import APIRotationState
from agentdash.engine.status import live_processes
from agentdash.engine.store import SqliteTaskStore

_LONG_RUNNING_S = 60.0
_STOPPED_S = 5.0
"""So long between two looks: the process was stopped (Ctrl+Z, a frozen container)."""


class StallWatch:
    """Looked at with each tick. `stalled` says why the run was ended as stalled, once it was; `is_stalling` whether it
    stalls just now, also where that does not end it.

    `waiting_for` says what the run waits for, in words. A run stalls after `timeout_s` in which no task was finished,
    anywhere, and none was at work; and at once where no key can be used within that time.
    """

    def __init__(
        self,
        *,
        store: SqliteTaskStore,
        manager: TaskStateManager,
        pool: ParallelSessionManager,
        rotation: APIRotationState | None,
        events: EventLog,
        waiting_for: Callable[[], str],
        timeout_s: float,
        clock: Clock,
    ) -> None:
        self.stalled: str | None = None
        self.is_stalling = False
        self._store = store
        self._manager = manager
        self._pool = pool
        self._rotation = rotation
        self._events = events
        self._waiting_for = waiting_for
        self._timeout_s = timeout_s
        self._clock = clock
        self._ends_the_run = True
        self._moved_at = self._looked_at = clock.monotonic()
        self._finished = -1
        self._was_open = False

    def start(self, *, ends_the_run: bool) -> None:
        """The run begins. `ends_the_run`: whether it is to end when it stalls."""
        self.stalled, self.is_stalling = None, False
        self._ends_the_run = ends_the_run
        self._moved_at = self._looked_at = self._clock.monotonic()
        self._finished, self._was_open = -1, False

    def look(self, finished: int) -> None:
        """So many tasks are finished now. A pause is no stall, nor is the time before the workers begin."""
        now = self._clock.monotonic()
        unwatched, self._looked_at = now - self._looked_at, now
        if unwatched > _STOPPED_S:  # the process was stopped meanwhile: nothing could move
            self._moved_at += unwatched
        patience = min(_LONG_RUNNING_S, self._timeout_s / 2)
        wall = self._clock.now()
        at_work = any(wall - running.claim.claimed_at > patience for running in self._manager.running.values())
        was_open, self._was_open = self._was_open, self._pool.is_running and not self._pool.is_paused
        if finished != self._finished or at_work or not (was_open and self._was_open):
            self._finished, self._moved_at, self.is_stalling = finished, now, False
            return
        if self._is_hopeless(wall) and not self._manager.running:
            self._stall("no usable key: " + "; ".join(self._key_troubles()))
        elif now - self._moved_at >= self._timeout_s and not self._others_are_at_work(wall - patience):
            why = self._waiting_for() or "tasks neither succeed nor fail"
            self._stall(f"no progress for {self._timeout_s:g} s: {why}")

    def _is_hopeless(self, wall: float) -> bool:
        """A date on which a quota ends is worth waiting for if it comes before the patience is over."""
        if self._rotation is None:
            return False
        readiness = self._rotation.readiness()
        return not readiness.usable and (readiness.at is None or readiness.at - wall > self._timeout_s)

    def _others_are_at_work(self, since: float) -> bool:
        """Whether another process that lives has had a task for so long: an agent's session may take an hour."""
        live = {process.owner for process in live_processes(self._store, self._clock.now())}
        return any(row.owner in live and row.claimed_at <= since for row in self._store.running())

    def _stall(self, reason: str) -> None:
        self.is_stalling = True
        if self._ends_the_run and not self.stalled:
            self.stalled = reason
            self._events.emit("stalled", reason)
            self._pool.abort()

    def _key_troubles(self) -> list[str]:
        if self._rotation is None:
            return []
        return [f"{view.name} {view.state}: {view.last_error or 'no reason given'}" for view in self._rotation.views()]
