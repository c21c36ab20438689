"""Which changes of a task's state there are: one table for every form of the store."""

from __future__ import annotations

from collections.abc import Mapping

from agentdash.errors import TransitionError
from agentdash.model import TaskState

TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    # To FAILED only by `undo`, which takes a requeue back: without running, no task fails.
    TaskState.PENDING: frozenset({TaskState.RUNNING, TaskState.CANCELLED, TaskState.FAILED}),
    TaskState.RUNNING: frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.PENDING}),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset({TaskState.PENDING}),
    TaskState.CANCELLED: frozenset({TaskState.PENDING}),
}
"""Every change of state there is; each is a compare-and-set on (state, fence)."""

REQUEUEABLE = frozenset(state for state, to in TRANSITIONS.items() if TaskState.PENDING in to) - {TaskState.RUNNING}


def check_transition(before: TaskState, after: TaskState) -> None:
    """Raise `TransitionError` for a change the table does not hold."""
    if after not in TRANSITIONS[before]:
        raise TransitionError(f"a {before} task cannot become {after}")
