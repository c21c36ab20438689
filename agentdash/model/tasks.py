"""Tasks, what becomes of them, and what is counted of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class TaskState(StrEnum):
    """Where a task is. `store` holds the one table of allowed changes."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


MAX_PRIORITY = 1_000_000
"""Priorities go from minus this to this."""

FINISHED_STATES = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED})


class FailureClass(StrEnum):
    """Who pays for a failure (the table in `engine/failures.py`)."""

    TASK = "task"
    LIMITED = "limited"
    QUOTA = "quota"
    CREDENTIAL = "credential"
    OVERLOAD = "overload"
    SERVICE = "service"
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task as its file states it, before the store knows it.

    `body` is the canonical JSON text of the task without `id` and `priority`; two specs with one id and unequal
    `body_hash` are a conflict. `source` is `file:line` for messages. `auto_id` marks an id made from the content.
    `after` are the ids of the tasks that must have succeeded before, `locks` the names of the resources it needs alone.
    """

    id: str
    body: str
    body_hash: bytes
    priority: int = 0
    source: str = ""
    auto_id: bool = False
    after: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One task as a worker sees it.

    `payload` is the task's own JSON object (`prompt`, `system`, `model`, `max_tokens`, `metadata`, or `params` for
    the Message Batches form). `fence` grows with every claim: a holder of an older fence can no longer settle.
    `attempts` counts what the task itself had to pay; `service_failures` and `crashes` have caps of their own.
    `cost_usd` is what its attempts have cost so far, those before a requeue as well. `locks` are the resources that no
    other task may hold while it runs.
    """

    seq: int
    id: str
    payload: Mapping[str, Any]
    state: TaskState = TaskState.PENDING
    priority: int = 0
    fence: int = 0
    attempts: int = 0
    service_failures: int = 0
    crashes: int = 0
    cost_usd: float = 0.0
    locks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, as the API counts them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_creation_input_tokens + other.cache_creation_input_tokens,
            self.cache_read_input_tokens + other.cache_read_input_tokens,
        )


@dataclass(frozen=True, slots=True)
class Spent:
    """What an attempt has used up; None is what is not known."""

    usage: Usage | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a processor brings back for a task that went well.

    `message` is the raw Messages API object where there is one; `value` is what a user's function returned.
    `cost_usd` is None where the model's price is unknown.
    """

    output: str = ""
    message: Mapping[str, Any] | None = None
    value: Any = None
    usage: Usage | None = None
    cost_usd: float | None = None
    request_id: str | None = None
    first_token_s: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt, classified. `message` is safe to show: it holds no secret.

    `retry_after` is in seconds from now; `until` an absolute time (seconds since the epoch) that a quota answer stated.
    `permanent` failures are not tried again. `usage` and `cost_usd` are what the attempt had used up by then, None
    where that is not known.
    """

    failure_class: FailureClass
    error_type: str
    message: str
    permanent: bool = False
    status_code: int | None = None
    retry_after: float | None = None
    until: float | None = None
    request_id: str | None = None
    usage: Usage | None = None
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One ended attempt, kept for `show`: times in seconds since the epoch."""

    fence: int
    worker: str
    credential: str | None
    organization: str | None
    started_at: float
    finished_at: float
    outcome: str
    error_type: str | None = None
    error_message: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Tasks by state. `held` are those of the pending ones that wait for a task that failed or was cancelled."""

    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    held: int = 0

    @property
    def total(self) -> int:
        return self.pending + self.running + self.succeeded + self.failed + self.cancelled

    @property
    def finished(self) -> int:
        return self.succeeded + self.failed + self.cancelled

    @property
    def unfinished(self) -> int:
        return self.pending + self.running

    @property
    def open(self) -> int:
        """Those that a run can bring to an end: the unfinished ones that are not held."""
        return self.pending + self.running - self.held


@dataclass(frozen=True, slots=True)
class Totals:
    """What a run has used so far, summed over all processes and sessions of a project."""

    requests: int = 0
    rate_limited: int = 0
    retries: int = 0
    recoveries: int = 0
    rotations: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    elapsed_s: float = 0.0
