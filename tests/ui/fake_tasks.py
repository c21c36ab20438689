"""The tasks of a run in memory: what a test may change, and how one succeeds or fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agentdash.clock import isoformat
from agentdash.model import Attempt, TaskQuery, TaskRow, TaskSort, TaskState

_NUMBERS = re.compile(r"\d+")


@dataclass(slots=True)
class FakeTask:
    """One task, which a test may change as it likes. `error` is (type, message)."""

    seq: int
    id: str
    payload: Mapping[str, Any]
    state: TaskState = TaskState.PENDING
    priority: int = 0
    attempts: int = 0
    service_failures: int = 0
    worker: str | None = None
    claimed_at: float | None = None
    finished_at: float | None = None
    available_at: float = 0.0
    error: tuple[str, str] | None = None
    history: tuple[Attempt, ...] = ()
    result: dict[str, Any] | None = None

    @property
    def prompt(self) -> str:
        return str(self.payload.get("prompt", ""))

    @property
    def since(self) -> float | None:
        return self.claimed_at if self.state is TaskState.RUNNING else self.finished_at

    def row(self) -> TaskRow:
        """The task as a list shows it."""
        shown = self.error if self.state is not TaskState.SUCCEEDED else None
        return TaskRow(
            self.seq, self.id, self.state, self.priority, self.attempts + self.service_failures, self.worker,
            self.since, self.available_at, self.prompt[:200], f"{shown[0]}: {shown[1]}" if shown else None,
        )  # fmt: skip


@dataclass(slots=True)
class FakeOutput:
    """What a running task has written. Only the last `kept` characters can be had."""

    text: str = ""
    attempt: int = 1
    kept: int = 64 * 1024


def succeed(task: FakeTask, now: float, output: str, *, message: Mapping[str, Any] | None = None) -> None:
    """The task is answered."""
    attempt = _end(task, now, "succeeded")
    usage = {"input_tokens": 40 + len(task.prompt) // 4, "output_tokens": 1 + len(output) // 4}
    task.state, task.error = TaskState.SUCCEEDED, None
    usage |= {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    told = message or {"type": "message", "stop_reason": "end_turn", "content": [{"type": "text", "text": output}]}
    task.result = _line(task, attempt, {"type": "succeeded", "message": told})
    cost = round(usage["input_tokens"] * 3e-6 + usage["output_tokens"] * 15e-6, 6)
    task.result["agentdash"] |= {"usage": usage, "cost_usd": cost, "output": output, "first_token_s": 0.412}


def fail(task: FakeTask, now: float, error_type: str, message: str) -> None:
    """The task fails for good."""
    attempt = _end(task, now, "task", (error_type, message))
    task.state, task.error = TaskState.FAILED, (error_type, message)
    task.result = _line(task, attempt, {"type": "errored", "error": {"type": error_type, "message": message}})


def cancel(task: FakeTask, now: float) -> None:
    """The task is cancelled before it ran."""
    task.state, task.finished_at, task.error = TaskState.CANCELLED, now, None
    attempt = Attempt(0, "", None, None, now, now, "cancelled")
    task.result = _line(task, attempt, {"type": "canceled"})


def tried(task: FakeTask, started: float, ended: float, outcome: str, error: tuple[str, str]) -> None:
    """An attempt ended, and the task is to be tried again."""
    task.claimed_at = started
    _end(task, ended, outcome, error)
    task.state, task.claimed_at, task.finished_at, task.error = TaskState.PENDING, None, None, error


def _end(task: FakeTask, now: float, outcome: str, error: tuple[str, str] | None = None) -> Attempt:
    number = len(task.history) + 1
    key = 1 + task.seq % 3
    kind, message = error if error is not None else (None, None)
    attempt = Attempt(
        number, task.worker or f"worker-{1 + task.seq % 64}", f"key-{key}", f"org-{'ab'[key > 2]}",
        task.claimed_at or now - 2.4, now, outcome, kind, message, f"req_{task.seq:06x}{number:02x}",
    )  # fmt: skip
    task.worker, task.finished_at = attempt.worker, now
    task.attempts += outcome in ("succeeded", "task")
    task.service_failures += outcome in ("service", "overload")
    task.history = (*task.history, attempt)
    return attempt


def _line(task: FakeTask, attempt: Attempt, result: Mapping[str, Any]) -> dict[str, Any]:
    details: dict[str, Any] = {
        "state": task.state.value,
        "attempts": task.attempts,
        "worker": attempt.worker or None,
        "credential": attempt.credential,
        "organization": attempt.organization,
        "started_at": isoformat(attempt.started_at),
        "finished_at": isoformat(attempt.finished_at),
        "duration_s": round(attempt.finished_at - attempt.started_at, 3),
        "usage": None,
        "cost_usd": None,
        "output": None,
    }
    return {"custom_id": task.id, "result": dict(result), "agentdash": details}


def pattern_of(message: str) -> str:
    return _NUMBERS.sub("…", message)


def matches(task: FakeTask, query: TaskQuery) -> bool:
    if query.state is not None and task.state is not query.state:
        return False
    error = ": ".join(task.error) if task.error else ""
    return query.text.lower() in "\n".join((task.id, task.prompt, error, task.worker or "")).lower()


def _recent(task: FakeTask) -> tuple[Any, ...]:
    if task.state is TaskState.RUNNING:
        return (0, task.claimed_at or 0.0, task.seq)
    return (1, -(task.since or 0.0), task.seq)


def sort_key(query: TaskQuery) -> Callable[[FakeTask], tuple[Any, ...]]:
    """The engine's orders: what is most wanted stands first."""
    if query.sort is TaskSort.ID:
        return lambda task: (task.id,)
    if query.sort is TaskSort.TRIES:
        return lambda task: (-task.attempts - task.service_failures, task.seq)
    if query.sort is TaskSort.RECENT and query.state is not TaskState.PENDING:
        return _recent
    if query.sort is TaskSort.ORDER and query.state is TaskState.PENDING:
        return lambda task: (-task.priority, task.seq)
    if query.sort is TaskSort.ORDER and query.state is TaskState.RUNNING:
        return lambda task: (task.claimed_at or 0.0, task.seq)
    return lambda task: (task.seq,)
