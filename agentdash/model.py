"""The nouns that every layer shares: frozen, slotted, without I/O."""

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


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker as shown. `backoff_until` is monotonic seconds or None; `since` when it entered its state (for a
    running one: when its task was claimed), in seconds since the epoch. `last_error` is why it is unhealthy. A running
    one with a `backoff_until` works on a task whose own program waits until then, for what `last_error` says."""

    id: str
    state: str
    task: str | None = None
    consecutive_failures: int = 0
    recoveries: int = 0
    backoff_until: float | None = None
    since: float = 0.0
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class CredentialView:
    """One credential as shown: never the key, only its name and its last characters."""

    name: str
    hint: str
    organization: str | None
    pool: str
    state: str
    active: bool
    cooldown_until: float | None = None
    requests: int = 0
    rate_limited: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class LockView:
    """One lock file as found: `state` is held, overdue, stale or foreign; times in seconds since the epoch.

    `heartbeat_at` is when its holder last touched it, None where that was not looked at.
    """

    task_id: str
    holder_id: str
    pid: int
    acquired_at: float
    state: str
    heartbeat_at: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One thing worth telling. `at` in seconds since the epoch; `text` is one safe line."""

    seq: int
    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class UndoView:
    """The bulk action that can be taken back until `until` (seconds since the epoch)."""

    text: str
    until: float


@dataclass(frozen=True, slots=True)
class LimitsView:
    """The limits of this session, None for those that it does not have, and `reached`: what is reached, in words.

    Costs in US dollars; `max_cost` is the whole project's. `ends_at` is when no further task begins (seconds since the
    epoch); while the time of the session stands still, `left_s` is what will be left of it instead.
    """

    max_cost: float | None = None
    max_task_cost: float | None = None
    ends_at: float | None = None
    left_s: float | None = None
    reached: str = ""


NO_LIMITS = LimitsView()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole run at one moment. Equal moments compare equal: it holds start times, never elapsed ones.

    `status` is starting, running, paused, draining, stalled or finished. `waiting_for` says why workers idle, until
    `waiting_until` where that is known; `drain_until` when a drain becomes an abort; `done_at` when all is expected to
    be done (cooldowns counted in). Times in seconds since the epoch. `history` holds the tasks finished in each of the
    last seconds, oldest first.
    """

    status: str
    started_at: float
    counts: Counts
    totals: Totals
    paused: bool
    waiting_for: str
    workers: tuple[WorkerView, ...] = ()
    credentials: tuple[CredentialView, ...] = ()
    locks: tuple[LockView, ...] = ()
    tasks_per_s: float = 0.0
    event_seq: int = 0
    project: str = ""
    max_workers: int = 0
    waiting_until: float | None = None
    drain_until: float | None = None
    done_at: float | None = None
    history: tuple[int, ...] = ()
    undo: UndoView | None = None
    limits: LimitsView = NO_LIMITS


class TaskSort(StrEnum):
    """What a list of tasks is ordered by. `ORDER` is the queue's own: by priority, then age, where tasks are pending,
    and the order of the file elsewhere. `RECENT` is what runs, the longest first, then what was finished last;
    `TRIES` what was tried most."""

    ORDER = "order"
    RECENT = "recent"
    TRIES = "tries"
    ID = "id"


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """Which tasks a list shows and in what order. `text` matches id, prompt, error and worker, in any case."""

    state: TaskState | None = None
    text: str = ""
    sort: TaskSort = TaskSort.ORDER
    descending: bool = False


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One line of a list of tasks. `since` is when it was claimed (running) or finished; `text` the beginning of the
    prompt. Neither `text` nor `error` is safe to show as it is. A pending task `waits_for` those few, and
    `waits_for_more` others, that have not succeeded; `held_by` is one that failed or was cancelled and holds it."""

    seq: int
    id: str
    state: TaskState
    priority: int = 0
    tries: int = 0
    worker: str | None = None
    since: float | None = None
    available_at: float = 0.0
    text: str = ""
    error: str | None = None
    waits_for: tuple[str, ...] = ()
    waits_for_more: int = 0
    held_by: LinkedTask | None = None


@dataclass(frozen=True, slots=True)
class TaskWindow:
    """Rows `start` … of the answer to a query. `total` is how many there are (so far, while `searched` < 1)."""

    query: TaskQuery
    start: int
    rows: tuple[TaskRow, ...]
    total: int
    searched: float = 1.0


@dataclass(frozen=True, slots=True)
class LinkedTask:
    """A task that another one waits for, or that waits for it. `held`: a failed or cancelled task keeps it waiting."""

    id: str
    state: TaskState
    held: bool = False


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """Everything about one task: its own JSON object, its attempts, and the line of the results file if finished.

    For a running one `worker` and `claimed_at` say who has it since when; `available_at` is when a retry may begin.
    `after` is what it waits for and `needed_by` what waits for it, the first hundred of each.
    """

    row: TaskRow
    payload: Mapping[str, Any]
    attempts: int = 0
    service_failures: int = 0
    crashes: int = 0
    claimed_at: float | None = None
    history: tuple[Attempt, ...] = ()
    result: Mapping[str, Any] | None = None
    after: tuple[LinkedTask, ...] = ()
    needed_by: tuple[LinkedTask, ...] = ()


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failed tasks with one kind of error: `message` is an example of it, `pattern` what they have in common (numbers
    and ids replaced by `…`), `example` the id of one of them."""

    error_type: str
    pattern: str
    message: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class OutputPart:
    """What a running task has written since `position` (in characters since its attempt began).

    `position` is where to go on; `dropped` how many characters before `text` are no longer kept. `attempt` changes
    when the task was begun again: the position starts anew then.
    """

    text: str
    position: int
    attempt: int
    dropped: int = 0
