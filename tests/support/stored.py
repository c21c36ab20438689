"""Tasks, claims and settlements in one line each, for tests of what stands on the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

from agentdash.engine.results import failed_line, succeeded_line
from agentdash.engine.store import Claim, MemoryTaskStore, RunningTask, Settlement, SqliteTaskStore, claimed
from agentdash.engine.store.reads import SqliteReads
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
Reads = SqliteReads | MemoryTaskStore


def spec(
    task_id: str,
    prompt: str = "",
    *,
    priority: int = 0,
    auto_id: bool = False,
    source: str = "",
    after: Sequence[str] = (),
    locks: Sequence[str] = (),
) -> TaskSpec:
    """A task as intake makes it."""
    task: dict[str, Any] = {"prompt": prompt or f"prompt of {task_id}"}
    task |= {"after": list(after)} if after else {}
    task |= {"lock": list(locks)} if locks else {}
    body = json.dumps(task, ensure_ascii=False, separators=(",", ":"))
    digest = hashlib.blake2b(body.encode(), digest_size=16).digest()
    where = source or f"tasks.jsonl:{task_id}"
    return TaskSpec(task_id, body, digest, priority, where, auto_id, tuple(after), tuple(locks))


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


def recount(store: Reads) -> Counts:
    """The counts as the tasks themselves say them."""
    numbers = {f.name: 0 for f in fields(Counts)}
    for record in store.tasks():
        numbers[record.state.value] += 1
        numbers["held"] += record.held_by is not None
    return Counts(**numbers)


def check(store: Reads) -> None:
    """What holds at any moment: the kept counts are the counted ones, what waits waits for as much as it says, and a
    result there is for finished tasks only."""
    assert store.counts() == recount(store)
    check_links(store)
    for record in store.tasks():
        line = store.result(record.id)
        assert (line is not None) == (record.state in FINISHED_STATES), record
        if line is not None:
            assert json.loads(line)["custom_id"] == record.id
    assert {r.id for r in store.running()} == {r.id for r in store.tasks([TaskState.RUNNING])}


def check_links(store: Reads) -> None:
    """A task waits for those of its dependencies that have not succeeded, and is held if one that it waits for, itself
    or through others, failed or was cancelled: `held_by` is such a one."""
    records = {record.id: record for record in store.tasks()}
    holders: dict[str, set[str]] = {}
    for record in records.values():
        assert record.waits_for == sum(records[i].state is not TaskState.SUCCEEDED for i in record.after), record
        if record.waits_for:
            assert record.state in (TaskState.PENDING, TaskState.CANCELLED), record
        found: set[str] = set()
        seen: set[str] = set()
        ahead = set(record.after) if record.state is TaskState.PENDING else set()
        while ahead:
            needed = records[ahead.pop()]
            seen.add(needed.id)
            ahead |= set(needed.after) - seen  # there may be very many ways to one task
            if needed.state in (TaskState.FAILED, TaskState.CANCELLED):
                found.add(needed.id)
        holders[record.id] = found
        assert (record.held_by in found) if found else record.held_by is None, record
    told = store.holders(len(records))
    assert set(told) <= {holder for found in holders.values() for holder in found}
    assert bool(told) == any(holders.values())
