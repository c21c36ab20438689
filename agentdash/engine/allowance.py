"""What a session may use up, `--max-cost`, `--max-duration` and `--stop-after`: until when further tasks may begin."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

from agentdash.clock import SYSTEM_CLOCK, Clock, isoformat
from agentdash.config import Settings
from agentdash.durations import parse_duration, parse_moment, written_duration
from agentdash.engine.events import EventLog
from agentdash.engine.manager import TaskStateManager
from agentdash.engine.pool import ParallelSessionManager
from agentdash.engine.store import Claim, Settlement, TaskStore
from agentdash.figures import dollars, local_time
from agentdash.model import Answer, LimitsView, TaskState

_ENDED = frozenset({TaskState.SUCCEEDED, TaskState.FAILED})
_SAME_MOMENT_S = 0.5


class Limit(StrEnum):
    """What can be reached."""

    COST = "max_cost"
    DURATION = "max_duration"
    MOMENT = "stop_after"


class Allowance:
    """Looks before each task, and now and then, whether another one may begin; pauses the pool when none may.

    **Cost.** What counts is the whole project: its costs so far, by whatever process and session, and what its running
    tasks will probably cost: as much as tasks have cost on average. A task begins while that, with half a task more, is
    below the limit; so the project ends about half a task above or below it. While no task has ended, `max_task_cost`
    is what is expected of each, and without that, nothing: then the first tasks together may cost too much.

    **Time.** `max_duration` counts the time in which this session is at work and not paused; a clock that is put right
    changes nothing of it. `stop_after` is a moment of the wall clock.

    When a limit is reached, running tasks go on, and the pool is paused, or drained where nobody could take the pause
    back. `reached` says why from then on, until `lift`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: TaskStore,
        manager: TaskStateManager,
        pool: ParallelSessionManager,
        events: EventLog,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.max_cost = settings.max_cost
        self.max_task_cost = settings.max_task_cost
        self.max_duration = parse_duration(settings.max_duration) if settings.max_duration is not None else None
        self.stop_at = parse_moment(settings.stop_after)(clock.now()) if settings.stop_after is not None else None
        self._store = store
        self._manager = manager
        self._pool = pool
        self._events = events
        self._clock = clock
        self._worked_s = 0.0
        self._counts_from: float | None = None
        """When (monotonic) the time began to run that is not in `_worked_s` yet; None while it stands still."""
        self._reached: Limit | None = None
        self._lifted: set[Limit] = set()
        self._drains = False
        self._ended = 0
        self._ended_cost = 0.0
        self._has_told_of_prices = False
        self._ends_at = 0.0

    # -- the session -------------------------------------------------------------------------------------------------
    def begin(self, *, drains: bool) -> None:
        """The session is at work from now on. `drains`: it ends when a limit is reached, as nobody can go on."""
        self._drains = drains
        if self._reached is not None:
            self._reached = None
            self._pool.resume()
        self._counts_from = self._clock.monotonic()

    def end(self) -> None:
        """The session is not at work any more."""
        self._count_time()
        self._counts_from = None

    def learn(self, claim: Claim, settlement: Settlement) -> None:
        """A task has ended here: what it has cost tells what others will."""
        if settlement.state in _ENDED and self.max_cost is not None:
            self._ended += 1
            self._ended_cost += claim.task.cost_usd + settlement.totals.cost_usd

    def unpriced(self, answer: Answer) -> None:
        """Nobody knows what this answer has cost. That is told once, where it matters."""
        if self._has_told_of_prices or (self.max_cost is None and self.max_task_cost is None):
            return
        self._has_told_of_prices = True
        model = answer.message.get("model") if answer.message is not None else None
        what = f"the price of {str(model)[:200]} is not known" if model else "what these tasks cost is not known"
        self._events.emit("allowance", f"{what}: they count as $0.00 towards the limit")

    # -- looking -----------------------------------------------------------------------------------------------------
    def may_begin(self) -> bool:
        """Whether one more task may begin now; also where there is none."""
        return self._used_up(self._running()) is None or not self._has_more()

    def look(self) -> None:
        """Pause, or drain, if no further task may begin for good: asked about twice a second."""
        self._count_time()
        if self._reached is not None or not self._has_more():
            return
        running = self._running()
        limit = self._used_up(running)
        if limit is None or (limit is Limit.COST and running and not self._is_spent()):
            return  # what runs may cost less than expected
        self._reached = limit
        self._events.emit("allowance", f"{self.reached}: no further task begins")
        self._pool.pause()
        if self._drains:
            self._pool.drain()

    def stand(self) -> None:
        """The pool is about to be paused, or to go on, by hand: the time until now counts as it did."""
        self._count_time()

    def lift(self) -> str:
        """Do without the limit that is reached, in this session; returns what it was, empty if there is none."""
        lifted = self.reached
        if self._reached is not None:
            self._lifted.add(self._reached)
            self._events.emit("allowance", f"the run goes on without its {_NAMES[self._reached]}")
            self._reached = None
        return lifted

    @property
    def reached(self) -> str:
        """Which limit is reached, in words; empty if none is."""
        if self._reached is None:
            return ""
        if self._reached is Limit.COST:
            return f"the limit of {dollars(self.max_cost or 0.0)} is reached ({dollars(self._cost())} spent)"
        if self._reached is Limit.DURATION:
            return f"the limit of {written_duration(self.max_duration or 0.0)} is reached"
        return f"the time to stop, {_written(self.stop_at, self._clock.now())}, is reached"

    def holds(self) -> str:
        """Why no task begins although none of the limits is reached yet; empty if they may."""
        if self._reached is not None or self._used_up(self._running()) is not Limit.COST:
            return ""
        return f"the running tasks may use up the limit of {dollars(self.max_cost or 0.0)}"

    # -- what is shown -----------------------------------------------------------------------------------------------
    def view(self) -> LimitsView:
        """The limits as shown. As long as nothing happens it stays the same."""
        left = self._left_s()
        stands = self._counts_from is None or self._pool.is_paused
        ends = [self.stop_at] if self.stop_at is not None and Limit.MOMENT not in self._lifted else []
        if left is not None and not stands:
            at = self._clock.now() + left
            self._ends_at = at if abs(at - self._ends_at) > _SAME_MOMENT_S else self._ends_at
            ends.append(self._ends_at)
        return LimitsView(
            self.max_cost if Limit.COST not in self._lifted else None,
            self.max_task_cost,
            min(ends, default=None),
            left if stands else None,
            self.reached,
        )

    def report(self) -> dict[str, Any]:
        """The limits as `status --json` has them, with what is left of each; a limit that was lifted is none."""
        cost = self.max_cost if Limit.COST not in self._lifted else None
        left, stop_at = self._left_s(), self.stop_at if Limit.MOMENT not in self._lifted else None
        return {
            "max_cost_usd": cost,
            "cost_left_usd": None if cost is None else round(max(0.0, cost - self._cost()), 6),
            "max_task_cost_usd": self.max_task_cost,
            "max_duration_s": None if left is None else self.max_duration,
            "duration_left_s": None if left is None else round(left, 1),
            "stop_after": None if stop_at is None else isoformat(stop_at),
            "reached": None if self._reached is None else self._reached.value,
            "reason": self.reached or None,
        }

    # -- inside ------------------------------------------------------------------------------------------------------
    def _used_up(self, running: int) -> Limit | None:
        """The limit that lets no further task begin beside so many running ones."""
        if self.stop_at is not None and Limit.MOMENT not in self._lifted and self._clock.now() >= self.stop_at:
            return Limit.MOMENT
        if (left := self._left_s()) is not None and left <= 0:
            return Limit.DURATION
        if self.max_cost is not None and Limit.COST not in self._lifted:
            known = self._task_cost()
            expected = running * (self.max_task_cost or 0.0) if known is None else (running + 0.5) * known
            if self._cost() + expected >= self.max_cost:
                return Limit.COST
        return None

    def _has_more(self) -> bool:
        """Whether there are tasks to begin, now or later."""
        counts = self._store.counts()
        return counts.pending > counts.held

    def _running(self) -> int:
        """How many tasks run, or are just being begun, in all processes."""
        if self.max_cost is None:
            return 0
        elsewhere = self._store.counts().running - len(self._manager.running)
        return self._manager.handed + max(0, elsewhere)

    def _cost(self) -> float:
        return self._store.totals().cost_usd

    def _is_spent(self) -> bool:
        return self._cost() >= (self.max_cost or math.inf)

    def _task_cost(self) -> float | None:
        """What a task costs on average: of those that have ended here, or before; None while there are none."""
        if self._ended:
            return self._ended_cost / self._ended
        counts = self._store.counts()
        before = counts.succeeded + counts.failed
        return self._cost() / before if before else None

    def _left_s(self) -> float | None:
        if self.max_duration is None or Limit.DURATION in self._lifted:
            return None
        running_s = 0.0
        if self._counts_from is not None and not self._pool.is_paused:
            running_s = self._clock.monotonic() - self._counts_from
        return max(0.0, self.max_duration - self._worked_s - running_s)

    def _count_time(self) -> None:
        if self._counts_from is None:
            return
        now = self._clock.monotonic()
        if not self._pool.is_paused:
            self._worked_s += now - self._counts_from
        self._counts_from = now


_NAMES = {
    Limit.COST: "limit of what it may cost",
    Limit.DURATION: "limit of how long it may run",
    Limit.MOMENT: "time to stop",
}


def _written(moment: float | None, now: float) -> str:
    """A moment as the user's clock shows it, with its day if that is not today's."""
    if moment is None:
        return ""
    is_today = local_time(moment, "%Y-%m-%d") == local_time(now, "%Y-%m-%d")
    form = "%H:%M:%S" if moment % 60 else "%H:%M"
    return local_time(moment, form if is_today else f"%Y-%m-%d {form}")
