"""Which actions would do something now: the keys of the others are dimmed. Pure: it asks nobody but the snapshot."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from agentdash.model import FINISHED_STATES, Snapshot, TaskState

RUN_ACTIONS: Final = frozenset({"pause", "interrupt", "workers", "requeue_failed", "groups", "rotate", "undo"})
"""The actions on the run that do not always apply."""

TASK_ACTIONS: Final = frozenset({"requeue", "cancel", "prioritize", "revive", "clean_locks"})
"""Those on the selected tasks, on workers and on locks."""


def run_actions(snapshot: Snapshot) -> frozenset[str]:
    """The `RUN_ACTIONS` that would do something now."""
    found = {"pause", "interrupt", "workers"} if snapshot.status not in ("draining", "finished") else set()
    if snapshot.counts.failed:
        found |= {"requeue_failed", "groups"}
    if len(snapshot.credentials) > 1:
        found.add("rotate")
    if snapshot.undo is not None:
        found.add("undo")
    return frozenset(found)


def task_actions(snapshot: Snapshot, states: AbstractSet[TaskState], *, has_stale_locks: bool) -> frozenset[str]:
    """The `TASK_ACTIONS` that would do something now. `states`: those of the selected tasks."""
    found: set[str] = set()
    if states & {TaskState.FAILED, TaskState.CANCELLED}:
        found.add("requeue")
    if states - FINISHED_STATES:
        found.add("cancel")
    if TaskState.PENDING in states:
        found.add("prioritize")
    if any(view.state == "parked" for view in snapshot.workers):
        found.add("revive")
    if has_stale_locks:
        found.add("clean_locks")
    return frozenset(found)
