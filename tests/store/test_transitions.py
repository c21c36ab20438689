"""The changes of state that there are, and that no form of the task store makes another."""

from __future__ import annotations

import pytest

from agentdash.engine.store import TRANSITIONS
from agentdash.engine.store.transitions import REQUEUEABLE, check_transition
from agentdash.errors import TransitionError
from agentdash.model import TaskState
from tests.support.stored import Store, check, claim, end, specs, task_of

SUCCEEDED, FAILED, CANCELLED = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED
RUNNING = TaskState.RUNNING


def test_the_transition_table_is_the_one_of_the_design() -> None:
    allowed = {(a.value, b.value) for a, after in TRANSITIONS.items() for b in after}
    assert allowed == {
        ("pending", "running"),
        ("pending", "cancelled"),
        ("pending", "failed"),
        ("running", "succeeded"),
        ("running", "failed"),
        ("running", "cancelled"),
        ("running", "pending"),
        ("failed", "pending"),
        ("cancelled", "pending"),
    }
    assert set(TRANSITIONS) == set(TaskState)
    assert {FAILED, CANCELLED} == REQUEUEABLE


@pytest.mark.parametrize("before", TaskState)
@pytest.mark.parametrize("after", TaskState)
def test_only_what_the_table_holds_passes(before: TaskState, after: TaskState) -> None:
    if after in TRANSITIONS[before]:
        check_transition(before, after)
    else:
        with pytest.raises(TransitionError, match=f"{before} task cannot become {after}"):
            check_transition(before, after)


async def test_a_claim_cannot_be_settled_as_running(store: Store) -> None:
    await store.add(specs(1))
    held = await claim(store, "t1")
    with pytest.raises(TransitionError):
        await store.settle(held, end(held, RUNNING))
    assert task_of(store, "t1").fence == held.task.fence
    assert await store.settle(held, end(held, SUCCEEDED))
    check(store)
