"""What is passed over for now: tasks that are locked elsewhere, and resources that running tasks hold."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from agentdash.engine.store import Ready
from agentdash.model import Task

_SKIP_S = 0.25
_MAX_SKIP_S = 5.0
_RESOURCE_SKIP_S = 0.75
"""After so long it is tried again to get a resource that another process holds: it tells nobody when it is free."""


@dataclass(slots=True)
class _Skip:
    until: float
    times: int = 1

    def lasts(self, now: float) -> bool:
        """Whether it is passed over still. No wait is that long after which the clock must have been put back."""
        return now < self.until <= now + _MAX_SKIP_S


class PassedOver:
    """Of one process. A resource that a task of this process holds is known by the task's number; it stays so from when
    the task is handed out until its locks are free."""

    def __init__(self) -> None:
        self._tasks: dict[int, _Skip] = {}
        self._elsewhere: dict[str, _Skip] = {}
        self._here: dict[str, int] = {}
        self._of_task: dict[int, tuple[str, ...]] = {}

    # -- tasks -------------------------------------------------------------------------------------------------------
    def skip(self, task: Task, resource: str | None, now: float) -> None:
        """Pass over a task for a while that grows, or over all that need a resource for a moment."""
        if resource is not None:
            self._elsewhere[resource] = _Skip(now + _RESOURCE_SKIP_S)
            return
        old = self._tasks.get(task.seq)
        times = old.times + 1 if old else 1
        self._tasks[task.seq] = _Skip(now + min(_SKIP_S * 2 ** min(times - 1, 10), _MAX_SKIP_S), times)

    def met(self, seq: int) -> None:
        """The task's lock was had: what is met from now on is another story."""
        self._tasks.pop(seq, None)

    def seqs(self, now: float) -> set[int]:
        """The tasks that are passed over. Those not met again for long have ended elsewhere, and are forgotten."""
        for seq in [seq for seq, skip in self._tasks.items() if skip.until + _MAX_SKIP_S <= now]:
            del self._tasks[seq]
        return {seq for seq, skip in self._tasks.items() if skip.lasts(now)}

    def tasks(self, now: float) -> int:
        """How many tasks are passed over."""
        return sum(skip.lasts(now) for skip in self._tasks.values())

    def ends(self, after: float) -> list[float]:
        """When something may be tried again, of what ends after this moment."""
        skips = (*self._tasks.values(), *self._elsewhere.values())
        return [skip.until for skip in skips if skip.until > after]

    # -- resources ---------------------------------------------------------------------------------------------------
    def take(self, task: Task) -> None:
        """The task is handed out: nobody else here need try for its resources."""
        if task.locks:
            self._of_task[task.seq] = task.locks
            self._here.update(dict.fromkeys(task.locks, task.seq))

    def free(self, seq: int) -> bool:
        """The task is not run, or no more; returns whether it had resources to itself."""
        names = self._of_task.pop(seq, ())
        for name in names:
            self._here.pop(name, None)
        return bool(names)

    def needs_busy(self, ready: Ready, now: float) -> bool:
        """Whether a task needs a resource that is held."""
        return bool(ready.locks) and not self.busy(now).isdisjoint(ready.locks)

    def busy(self, now: float) -> Set[str]:
        """The resources that are held."""
        if self._elsewhere:
            self._elsewhere = {name: skip for name, skip in self._elsewhere.items() if skip.lasts(now)}
        return self._here.keys() | self._elsewhere.keys()
