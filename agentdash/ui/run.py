"""What the dashboard asks of a run: the engine's verbs as plain data, so that a test or a remote run can stand in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from agentdash.clock import Clock
from agentdash.model import (
    ErrorGroup,
    Event,
    LockView,
    OutputPart,
    Snapshot,
    TaskDetail,
    TaskQuery,
    TaskWindow,
)


class Run(Protocol):
    """A run in progress. Reads that are not `async` are answered from memory; the others are made off the loop.

    Any of them may raise `AgentdashError`, which the dashboard shows.
    """

    @property
    def clock(self) -> Clock: ...
    @property
    def project_path(self) -> Path:
        """The project's folder: where exports and saved answers go."""
        ...

    @property
    def log_path(self) -> Path: ...

    # -- reads -------------------------------------------------------------------------------------------------------
    def snapshot(self) -> Snapshot: ...
    def events_since(self, seq: int) -> list[Event]: ...
    def output_since(self, task_id: str, position: int) -> OutputPart | None:
        """What a task that runs in this process has written since; None if it does not run here."""
        ...

    async def list_tasks(self, query: TaskQuery, start: int, count: int) -> TaskWindow:
        """The rows `start` … `start + count` of the answer. A search goes on in the background: ask again while
        `searched` is below 1."""
        ...

    async def task_detail(self, task_id: str) -> TaskDetail | None: ...
    async def error_groups(self) -> tuple[ErrorGroup, ...]:
        """The failed tasks by kind of error, the largest group first."""
        ...

    async def list_locks(self) -> tuple[LockView, ...]:
        """Every lock file of the project: this process's, other processes', and stale ones."""
        ...

    # -- verbs -------------------------------------------------------------------------------------------------------
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def interrupt(self) -> int:
        """Pause, and give the running tasks back to pending; returns how many were asked to stop."""
        ...

    def resize(self, workers: int) -> None: ...
    def revive(self, worker_id: str | None = None) -> int:
        """Let parked workers (one, or all) try again now."""
        ...

    def rotate(self, name: str | None = None) -> tuple[str, str] | None:
        """Make another key (the named one, or the next) active for new leases: (old, new), None if there is none."""
        ...

    def drain(self) -> None: ...
    def undrain(self) -> bool:
        """Take a drain back; False if the run has ended meanwhile."""
        ...

    def abort(self) -> None: ...
    async def requeue(self, ids: Sequence[str] | None = None) -> int:
        """failed or cancelled → pending; all failed ones if no ids are given. Can be undone for ten seconds."""
        ...

    async def requeue_group(self, group: ErrorGroup) -> int: ...
    async def cancel(self, ids: Sequence[str]) -> tuple[int, int]:
        """(cancelled at once, running ones that were asked to stop). Can be undone for ten seconds."""
        ...

    async def prioritize(self, ids: Sequence[str], *, by: int) -> int:
        """Let pending tasks have so much more priority; how many were pending. Can be undone for ten seconds."""
        ...

    async def undo(self) -> tuple[int, int]:
        """Take the last bulk action back: (tasks put back as they were, tasks that had gone on meanwhile)."""
        ...

    async def clean_locks(self) -> int:
        """Remove the lock files that nobody holds."""
        ...

    async def export_group(self, group: ErrorGroup, path: Path) -> int:
        """Write the results lines of a group's tasks to a new file; returns how many."""
        ...
