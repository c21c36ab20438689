"""The resources that a task needs for itself: locks beside its own, all of them or none, and never waited for."""

from __future__ import annotations

from typing import Final, Protocol

from agentdash.model import Task

_PREFIX: Final = "resource:"
MAX_RESOURCE_CHARS: Final = 180
"""The name of a lock has at most 200."""


class Lock(Protocol):
    """What is needed of `TaskLock`."""

    def acquire(self, task_id: str, holder_id: str = ..., timeout: float = ...) -> bool: ...
    def release(self, task_id: str, holder_id: str | None = None) -> bool: ...


def lock_id(resource: str) -> str:
    """The name of the lock of a resource."""
    return f"{_PREFIX}{resource}"


def resource_of(lock: str) -> str | None:
    """The resource whose lock has this name; None for a task's."""
    return lock.removeprefix(_PREFIX) if lock.startswith(_PREFIX) else None


def take_all(lock: Lock, task: Task, holder: str, timeout: float) -> str | None:
    """Take the task's lock and those of its resources; None if all are held now, else the name of the one that somebody
    else holds, and none is held.

    Nothing is waited for, so two that need the same in another order cannot block each other. Raises as `acquire`.
    """
    taken: list[str] = []
    busy = None
    try:
        for name in (task.id, *map(lock_id, task.locks)):
            if not lock.acquire(name, holder, timeout):
                busy = name
                break
            taken.append(name)
        else:
            taken.clear()
    finally:
        for name in reversed(taken):
            lock.release(name, holder)
    return busy


def release_all(lock: Lock, task: Task, holder: str) -> None:
    """Let go of what `take_all` took."""
    for name in (*map(lock_id, reversed(task.locks)), task.id):
        lock.release(name, holder)
