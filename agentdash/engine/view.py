"""What is shown of a run: the frozen snapshot of a moment, and the words for why workers wait."""

from __future__ import annotations

from collections.abc import Sequence

from agentdash.clock import Clock
from agentdash.engine.allowance import Allowance
from agentdash.engine.events import EventLog
from agentdash.engine.housekeeping import Housekeeping
from agentdash.engine.lastaction import LastAction
from agentdash.engine.locks import TaskLock
from agentdash.engine.manager import TaskStateManager
from agentdash.engine.pool import ParallelSessionManager
from agentdash.engine.rates import RateMeter
from agentdash.engine.rotation import APIRotationState
from agentdash.engine.runner import TaskRunner
from agentdash.engine.stopping import End, Stopping
from agentdash.engine.store import SqliteTaskStore
from agentdash.model import Counts, Snapshot
from agentdash.text import clean, shorten

_LOCKS_SHOWN = 1000
_RECOVERING = frozenset({"backoff", "parked"})
_NOTHING: tuple[str, None] = ("", None)
_WORTH_SAYING_S = 2.0
_HOLDERS_SHOWN = 3
"""So many tasks that hold others are named."""
_ID_CHARS = 40


class RunView:
    """Looks at the parts of one run; changes none of them.

    The run tells it `is_loading`, while the SDK is imported, `is_closing`, while the last is written down, and `ended`,
    how it ended, once it has.
    """

    def __init__(
        self,
        *,
        project: str,
        store: SqliteTaskStore,
        pool: ParallelSessionManager,
        manager: TaskStateManager,
        lock: TaskLock,
        runner: TaskRunner,
        rotation: APIRotationState | None,
        events: EventLog,
        rate: RateMeter,
        housekeeping: Housekeeping,
        allowance: Allowance,
        stopping: Stopping,
        last: LastAction,
        clock: Clock,
    ) -> None:
        self.is_loading = False
        self.is_closing = False
        self.ended: End | None = None
        self._project = project
        self._store = store
        self._pool = pool
        self._manager = manager
        self._lock = lock
        self._runner = runner
        self._rotation = rotation
        self._events = events
        self._rate = rate
        self._housekeeping = housekeeping
        self._allowance = allowance
        self._stopping = stopping
        self._last = last
        self._clock = clock
        self._started_at = clock.now()
        self._wall: tuple[float, float] = (0.0, 0.0)

    def snapshot(self) -> Snapshot:
        """The whole run at this moment. Made from memory and small reads: cheap enough for a few a second."""
        counts = self._store.counts()
        now = self._clock.now()
        held = [lock.view(now) for lock in list(self._lock.held().values())[:_LOCKS_SHOWN]]
        waiting_for, waiting_until = self.waiting(counts)
        return Snapshot(
            self._status(counts),
            self._started_at,
            counts,
            self._store.totals(),
            self._pool.is_paused,
            waiting_for,
            self._pool.views(),
            self._rotation.views() if self._rotation is not None else (),
            tuple(held),
            self._rate.per_second,
            self._events.seq,
            self._project,
            self._pool.max_workers,
            waiting_until,
            self._stopping.until,
            self._done_at(counts, waiting_until),
            self._rate.history,
            self._last.view,
            self._allowance.view(),
        )

    def waiting(self, counts: Counts) -> tuple[str, float | None]:
        """Why workers idle although there are unfinished tasks, and until when, where that is known.

        Empty if they do not. Cheap: what the queue and the pool know, and one look at an index.
        """
        if not counts.unfinished or self._stopping.is_asked:
            return _NOTHING
        if not counts.open:
            return self.held(counts), None
        if self._pool.is_paused:
            return self._allowance.reached or "paused", None
        if self.is_loading:
            return "loading the SDK", None
        if self._pool.is_running:
            here = len(self._manager.running)
            return _NOTHING if here >= self._pool.max_workers else self._idling(counts, here)
        if self.ended is not None and self._manager.limit_is_reached:
            return "the limit of this session is reached", None
        return _NOTHING

    def held(self, counts: Counts) -> str:
        """How many tasks are held and by which, in words; empty if none is."""
        return _held_words(counts, self._store.holders(_HOLDERS_SHOWN + 1)) if counts.held else ""

    def _idling(self, counts: Counts, here: int) -> tuple[str, float | None]:
        """Why workers have no task while the pool runs; `here` of them have one."""
        if counts.pending == counts.held:
            elsewhere = "1 task runs" if counts.running == 1 else f"{counts.running:,} tasks run"
            return _NOTHING if here else (f"{elsewhere} in another process", None)
        return self._held() or self._recovering(here) or self._queue_is_empty(counts) or self._paced() or _NOTHING

    def _held(self) -> tuple[str, float | None] | None:
        """The limits and the servers' backoffs: what keeps every worker from sending."""
        if reason := self._allowance.holds():
            return reason, None
        if self._rotation is not None and not (readiness := self._rotation.readiness()).ready:
            return readiness.reason, readiness.at
        outage = self._runner.services.outage()
        return (outage[1], self._to_wall(outage[0])) if outage is not None else None

    def _paced(self) -> tuple[str, float | None] | None:
        """The limits let no more through than is sent already."""
        until = self._runner.paced_until()
        if until is None or self._rotation is None:
            return None
        rate = self._rotation.rate()
        text = f"{rate:,.0f} a second" if rate >= 1 else f"{60 * rate:,.0f} a minute"
        wall = self._to_wall(until)
        return f"the limits allow {text}", wall if wall - self._clock.now() >= _WORTH_SAYING_S else None

    def _recovering(self, here: int) -> tuple[str, float | None] | None:
        """The workers themselves, if none of them is fit to work."""
        workers = self._pool.views()
        if here or not workers or any(worker.state not in _RECOVERING for worker in workers):
            return None
        times = [worker.backoff_until for worker in workers if worker.backoff_until is not None]
        until = self._to_wall(min(times)) if times else None
        error = next((worker.last_error for worker in workers if worker.last_error), "failures")
        what = "is parked" if all(worker.state == "parked" for worker in workers) else "recovers"
        return f"every worker {what} after {error}", until

    def _queue_is_empty(self, counts: Counts) -> tuple[str, float | None] | None:
        """What the queue knows of pending tasks that may not be begun now."""
        if not self._manager.found_nothing:
            return None
        if self._manager.limit_is_reached:
            return "the limit of this session is reached", None
        if locked := self._manager.locked_elsewhere():
            return f"{'1 task is' if locked == 1 else f'{locked:,} tasks are'} locked by another process", None
        open_ones = counts.pending - counts.held
        available = self._store.next_available_at(self._clock.now())
        if available is None:
            return self._wait_for_running(open_ones - (self._manager.handed - len(self._manager.running)))
        kind = "pending" if counts.running else "open"
        if open_ones == 1:
            return f"the only {kind} task waits for a retry", available
        return f"all {open_ones:,} {kind} tasks wait for a retry", available

    def _wait_for_running(self, number: int) -> tuple[str, float | None] | None:
        """So many pending tasks can begin only when others have ended."""
        if number <= 0:
            return None
        what = "1 task waits" if number == 1 else f"{number:,} tasks wait"
        if self._store.has_waiting():
            return f"{what} for tasks that run", None
        busy = self._manager.busy_resources()
        return (f"{what} for {', '.join(busy[:_HOLDERS_SHOWN])}", None) if busy else None

    def _status(self, counts: Counts) -> str:
        pool = self._pool
        if pool.is_running or self.is_closing:
            if self._stopping.is_asked or pool.is_draining:
                return "draining"
            if pool.is_paused:
                return "paused"
            return "stalled" if self._housekeeping.stall.stalled or self._housekeeping.stall.is_stalling else "running"
        if counts.total and not counts.open:
            return "finished"
        if self._stopping.is_asked:
            return "draining"
        if self.ended is None or self.ended is End.FINISHED:
            return "paused" if pool.is_paused else "starting"
        if self.ended is End.STALLED:
            return "stalled"
        if self.ended is End.LIMITED:
            return "paused"
        return "finished" if self._manager.limit_is_reached else "draining"

    def _done_at(self, counts: Counts, waiting_until: float | None) -> float | None:
        """When all is expected to be done; nobody can know while it is paused or about to end."""
        if self._pool.is_paused or self._stopping.is_asked:
            return None
        return self._rate.done_at(counts.open, None if self._manager.running else waiting_until)

    def _to_wall(self, monotonic: float) -> float:
        """A moment since the epoch. The same moment gives the same number, so that equal snapshots are equal."""
        if self._wall[0] != monotonic:
            self._wall = (monotonic, self._clock.now() + monotonic - self._clock.monotonic())
        return self._wall[1]


def _held_words(counts: Counts, holders: Sequence[str]) -> str:
    """How many tasks are held, and by which: the first of these, which are one more than are named if there are."""
    what = "1 task waits" if counts.held == 1 else f"{counts.held:,} tasks wait"
    kinds = [kind for kind, number in (("failed", counts.failed), ("were cancelled", counts.cancelled)) if number]
    shown = ", ".join(shorten(clean(task_id), _ID_CHARS) for task_id in holders[:_HOLDERS_SHOWN])
    more = ", …" if len(holders) > _HOLDERS_SHOWN else ""
    return f"{what} for tasks that {' or '.join(kinds)}: {shown}{more}"
