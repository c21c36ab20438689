"""A browser over a store of tasks that were made for it, and a plain model of what it has to answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from json.encoder import encode_basestring

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.browse import TaskBrowser
from agentdash.engine.preview import preview
from agentdash.engine.store import SqliteTaskStore, TaskRecord
from agentdash.engine.store.browse import FEW
from agentdash.model import TaskQuery, TaskRow, TaskSort, TaskSpec, TaskState, TaskWindow
from tests.support.stored import NOW, claim, end, spec

PIECES = "aAbB%_\\\"\n'éÉ1-: {}"
FAR = NOW + 10**6


@dataclass(frozen=True)
class Made:
    """A task as a test wants it."""

    prompt: str
    state: TaskState
    priority: int
    tries: tuple[int, int, int]
    claimed: float
    finished: float
    worker: int
    error: str | None
    batch: bool


@asynccontextmanager
async def browsing(
    store: SqliteTaskStore, *, clock: Clock = SYSTEM_CLOCK, few: int = FEW
) -> AsyncIterator[TaskBrowser]:
    browser = TaskBrowser(store.path, clock=clock, few=few)
    try:
        yield browser
    finally:
        await browser.close()


async def finished(browser: TaskBrowser, query: TaskQuery, start: int, count: int) -> TaskWindow:
    """The answer when nothing goes on any more."""
    async with asyncio.timeout(20):
        window = await browser.list_tasks(query, start, count)
        while window.searched < 1:
            window = await browser.list_tasks(query, start, count)
    return window


async def make(store: SqliteTaskStore, tasks: list[Made]) -> None:
    """Add tasks and bring each into its state."""
    lines = []
    for number, task in enumerate(tasks):
        plain = spec(f"T{number % 3}-{number}", task.prompt, priority=task.priority)
        params = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": task.prompt}]}
        body = json.dumps({"params": params}, ensure_ascii=False, separators=(",", ":"))
        lines.append(TaskSpec(plain.id, body, plain.body_hash, plain.priority) if task.batch else plain)
    await store.add(lines)
    for line, task in zip(lines, tasks, strict=True):
        if task.state is TaskState.PENDING and task.error is None:
            continue
        held = await claim(store, line.id, worker=f"worker-{task.worker}", now=NOW + task.claimed)
        if task.state is not TaskState.RUNNING:
            attempts, service, crashes = task.tries
            await store.settle(
                held,
                end(held, task.state, attempts=attempts, service_failures=service, crashes=crashes, error=task.error,
                    available_at=FAR if task.state is TaskState.PENDING else 0.0, now=NOW + task.finished),
            )  # fmt: skip


# -- the model ---------------------------------------------------------------------------------------------------------
def lower(text: str) -> str:
    """As LIKE compares: ASCII letters only."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)


def matches(store: SqliteTaskStore, record: TaskRecord, text: str) -> bool:
    if not text:
        return True
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        return False
    body = (store.payload(record.id) or "").removeprefix('{"prompt":"')
    fields = [record.id]
    if record.error_type is not None and record.state is not TaskState.RUNNING:
        fields.append(f"{record.error_type}: {record.error_message}")
    if record.worker is not None and record.state is not TaskState.PENDING:
        fields.append(record.worker)
    needle = lower(text)
    return any(needle in lower(field) for field in fields) or lower(encode_basestring(text)[1:-1]) in lower(body)


def since(record: TaskRecord) -> float | None:
    if record.state is TaskState.PENDING:
        return None
    return record.claimed_at if record.state is TaskState.RUNNING else record.finished_at


def tries(record: TaskRecord) -> int:
    return record.attempts + record.service_failures + record.crashes


def recent(record: TaskRecord) -> tuple[int, float, int]:
    """What runs, the longest first, then what was finished, the last first, then what has no time."""
    if record.state is TaskState.RUNNING:
        return (0, record.claimed_at or 0, record.seq)
    return (1, -record.finished_at, record.seq) if record.finished_at is not None else (2, 0, record.seq)


def listed(store: SqliteTaskStore, query: TaskQuery) -> list[TaskRecord]:
    found = [r for r in store.tasks([query.state] if query.state else []) if matches(store, r, query.text)]
    if query.sort is TaskSort.ID:
        found.sort(key=lambda r: r.id)
    elif query.sort is TaskSort.TRIES:
        found.sort(key=lambda r: (-tries(r), r.seq))
    elif query.sort is TaskSort.RECENT:
        found.sort(key=recent)
    elif query.state is TaskState.PENDING:
        found.sort(key=lambda r: (-r.priority, r.seq))
    elif query.state is TaskState.RUNNING:
        found.sort(key=lambda r: (r.claimed_at or 0, r.seq))
    return found[::-1] if query.descending else found


def row_of(store: SqliteTaskStore, r: TaskRecord) -> TaskRow:
    shows = r.state in (TaskState.PENDING, TaskState.FAILED, TaskState.CANCELLED) and r.error_type is not None
    return TaskRow(
        r.seq, r.id, r.state, r.priority, tries(r), None if r.state is TaskState.PENDING else r.worker, since(r),
        r.available_at, preview(store.payload(r.id) or ""), f"{r.error_type}: {r.error_message}" if shows else None,
    )  # fmt: skip
