"""The window over the store: the next tasks in order, read ahead for all workers of a process."""

from __future__ import annotations

from collections import deque
from collections.abc import Set

from agentdash.clock import Clock
from agentdash.engine.passedover import PassedOver
from agentdash.engine.sessionlimit import SessionLimit
from agentdash.engine.store import Ready, TaskStore

MAX_AGE_S = 1.0
"""What was read longer ago is read anew, in seconds: a task that is more urgent may have come."""
_SIZE = 256
_POLL_S = 0.25
_LONG_AGO = float("-inf")


class Window:
    """`ready` is what may be handed out, in order, as it was at `filled_at`: a task may have changed since."""

    def __init__(self, store: TaskStore, passed: PassedOver, limit: SessionLimit, clock: Clock) -> None:
        self.ready: deque[Ready] = deque()
        self.filled_at = _LONG_AGO
        """Seconds since the epoch, as all times here."""
        self.look_again_at = _LONG_AGO
        """Until then it holds that nothing was found."""
        self.found_nothing = False
        """Whether the last look at the store found nothing that may be begun."""
        self._store = store
        self._passed = passed
        self._limit = limit
        self._clock = clock

    def fill(self, now: float, handed: Set[int]) -> None:
        """Read anew, without the tasks of these numbers, which are handed out; just after a look that found nothing,
        do nothing."""
        if now < self.look_again_at and not self.ready:
            return
        barred = handed | self._passed.seqs(now)
        found = self._store.ready(_SIZE + len(barred), now, self._passed.busy(now))
        free = [ready for ready in found if ready.seq not in barred]
        self.ready = deque(self._limit.admit(free, handed))
        self.filled_at, self.found_nothing = now, not self.ready
        # An empty answer holds for a moment: sixty idle workers must not ask sixty times.
        self.look_again_at = _LONG_AGO if self.ready else now + _POLL_S

    def look_again(self) -> None:
        """There may be work: that nothing was found holds no longer."""
        self.look_again_at = _LONG_AGO

    def expire(self) -> None:
        """Others may come before what was read: the next task is looked for in the store."""
        self.filled_at = self.look_again_at = _LONG_AGO

    def clear(self) -> None:
        """Drop what was read: its order is an old one."""
        self.ready.clear()

    def longest_wait(self) -> float | None:
        """Seconds until there may be work without anybody telling; None: never."""
        # What the last look at the store has seen already is no reason to look again.
        times = self._passed.ends(self.filled_at)
        if (available := self._store.next_available_at(self.filled_at)) is not None:
            times.append(available)
        poll = _POLL_S if self._store.shared else None
        if not times:
            return poll
        until = max(0.0, min(times) - self._clock.now())
        return until if poll is None else min(until, poll)
