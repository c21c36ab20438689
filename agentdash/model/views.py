"""What is shown: the run, its workers, keys, locks and limits at one moment, and one task as somebody looks at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agentdash.model.tasks import Attempt, Counts, TaskState, Totals


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
class KeptOutput:
    """The end of what an attempt's program has written, and the file that has all of it. `left_out`: so many bytes of
    the file stand before `text`."""

    attempt: int
    path: str
    text: str
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class TaskDetail:
    """Everything about one task: its own JSON object, its attempts, and the line of the results file if finished.

    For a running one `worker` and `claimed_at` say who has it since when; `available_at` is when a retry may begin.
    `after` is what it waits for and `needed_by` what waits for it, the first hundred of each. `kept` is there where the
    task is a program's, which has written something, and has no answer.
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
    kept: KeptOutput | None = None


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
