"""Tasks, claims and settlements in one line each, for tests of what stands on the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from agentdash.engine.results import failed_line, succeeded_line
from agentdash.engine.store import Claim, MemoryTaskStore, RunningTask, Settlement, SqliteTaskStore, claimed
from agentdash.model import (
    FINISHED_STATES,
    Answer,
    Attempt,
    Counts,
    Failure,
    FailureClass,
    Task,
    TaskSpec,
    TaskState,
    Totals,
)

NOW = 1_700_000_000.0
Store = SqliteTaskStore | MemoryTaskStore


def spec(task_id: str, prompt: str = "", *, priority: int = 0, auto_id: bool = False, source: str = "") -> TaskSpec:
    """A task as intake makes it."""
    body = json.dumps({"prompt": prompt or f"prompt of {task_id}"}, ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.blake2b(body.encode(), digest_size=16).digest()
    return TaskSpec(task_id, body, digest, priority, source or f"tasks.jsonl:{task_id}", auto_id)


def specs(number: int, prefix: str = "t") -> Iterator[TaskSpec]:
    """So many tasks, streamed."""
    return (spec(f"{prefix}{n}") for n in range(1, number + 1))


def task_of(store: Store, task_id: str) -> Task:
    """The task as it is now."""
    record = store.find(task_id)
    assert record is not None
    task = store.load(record.seq)
    assert task is not None
    return task


async def claim(store: Store, task_id: str, *, owner: str = "me", worker: str = "w1", now: float = NOW) -> Claim:
    """Claim a task that can be claimed."""
    task = task_of(store, task_id)
    assert await store.claim(task, owner, worker, now)
    return claimed(task, owner, worker, now)


def end(
    of: Claim | RunningTask,
    state: TaskState,
    *,
    attempts: int = 1,
    available_at: float = 0.0,
    error: str | None = None,
    error_type: str = "Boom",
    output: str = "fine",
    now: float = NOW + 1,
    **changes: Any,
) -> Settlement:
    """How a claim (or a dead owner's task) ends, with its results line if it is finished."""
    task_id, fence = (of.task.id, of.task.fence) if isinstance(of, Claim) else (of.id, of.fence)
    started = of.claimed_at
    failure = Failure(FailureClass.TASK, error_type, error) if error is not None else None
    if state is TaskState.FAILED and failure is None:
        failure = Failure(FailureClass.TASK, error_type, "it broke")
    attempt = Attempt(
        fence,
        of.worker,
        "key-1",
        "org",
        started,
        now,
        state.value,
        failure.error_type if failure else None,
        failure.message if failure else None,
    )
    line = None
    if state in FINISHED_STATES:
        line = (
            failed_line(task_id, attempts, attempt, failure)
            if failure
            else succeeded_line(task_id, attempts, attempt, Answer(output))
        )
    settlement: dict[str, Any] = {
        "service_failures": 0,
        "crashes": 0,
        "available_at": available_at,
        "failure": failure,
        "result": line,
        "totals": Totals(requests=1),
    }
    return Settlement(state, attempt, attempts, **(settlement | changes))


async def run(store: Store, task_id: str, state: TaskState = TaskState.SUCCEEDED, **changes: Any) -> Claim:
    """Claim a task and settle it."""
    held = await claim(store, task_id)
    assert await store.settle(held, end(held, state, **changes))
    return held


def recount(store: Store) -> Counts:
    """The counts as the tasks themselves say them."""
    numbers = {f.name: 0 for f in fields(Counts)}
    for record in store.tasks():
        numbers[record.state.value] += 1
    return Counts(**numbers)


def check(store: Store) -> None:
    """What holds at any moment: the kept counts are the counted ones, and a result there is for finished tasks only."""
    assert store.counts() == recount(store)
    for record in store.tasks():
        line = store.result(record.id)
        assert (line is not None) == (record.state in FINISHED_STATES), record
        if line is not None:
            assert json.loads(line)["custom_id"] == record.id
    assert {r.id for r in store.running()} == {r.id for r in store.tasks([TaskState.RUNNING])}
