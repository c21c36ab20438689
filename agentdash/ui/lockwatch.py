"""Which locks there are, as far as that is known: this process's own as they are now, and others' as they were read."""

from __future__ import annotations

import os

from agentdash.model import LockView, Snapshot
from agentdash.ui.run import Run
from agentdash.ui.verbs import Verbs

_EVERY_S = 2.0


class LockWatch:
    """Knows when to read the lock files again, and what they said. Times are seconds of the monotonic clock."""

    def __init__(self, run: Run, verbs: Verbs) -> None:
        self._run = run
        self._verbs = verbs
        self._found: tuple[LockView, ...] = ()
        self._last_turn_at = float("-inf")

    def take_turn(self, monotonic: float) -> bool:
        """Whether it is time to `read`; if so, the next turn comes two seconds later."""
        if monotonic - self._last_turn_at < _EVERY_S:
            return False
        self._last_turn_at = monotonic
        return True

    def outdate(self) -> None:
        """The files have changed: the next turn comes at once."""
        self._last_turn_at = float("-inf")

    async def read(self) -> None:
        """Read every lock file of the project; an error is told to the user, and what was read before stays."""
        found = await self._verbs.attempt(self._run.list_locks())
        if found is not None:
            self._found = found

    def merged(self, snapshot: Snapshot) -> tuple[LockView, ...]:
        """This process's locks as they are now, and of the others what was read last."""
        own = {lock.task_id for lock in snapshot.locks}
        pids = {os.getpid(), *(lock.pid for lock in snapshot.locks)}  # of these the snapshot knows better
        others = [
            lock for lock in self._found if lock.task_id not in own and (lock.pid not in pids or lock.state == "stale")
        ]
        return (*snapshot.locks, *others)

    @property
    def has_stale(self) -> bool:
        """Whether a file was read that nobody holds any more."""
        return any(lock.state == "stale" for lock in self._found)
