"""What passes between a task store and its users: tasks as it hands them out, claims and how they end, what it keeps of
credentials and processes."""

from __future__ import annotations

from dataclasses import dataclass

from agentdash.model import Answer, Attempt, Failure, Task, TaskState, Totals

NOTHING_SPENT = Totals()


@dataclass(frozen=True, slots=True)
class Ready:
    """A pending task that may be claimed now. The fence is the one a claim has to find unchanged; `locks` are the
    resources that it needs for itself."""

    seq: int
    id: str
    priority: int
    fence: int
    locks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one task: `task.fence` is the new fence that `settle` must still find."""

    task: Task
    owner: str
    worker: str
    claimed_at: float


def claimed(task: Task, owner: str, worker: str, now: float) -> Claim:
    """The claim that a won compare-and-set means."""
    running = Task(
        task.seq, task.id, task.payload, TaskState.RUNNING, task.priority, task.fence + 1, task.attempts,
        task.service_failures, task.crashes, task.cost_usd, task.locks,
    )  # fmt: skip
    return Claim(running, owner, worker, now)


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a claim ends. Counters are the task's new values; `totals` what the attempt used up: it is added to the
    project's sums, its cost to the task's as well.

    `state` PENDING gives the task back, not before `available_at` (seconds since the epoch). `result` is the line of
    the results file for a finished task. `answer` stays in memory only (the library's return value).
    """

    state: TaskState
    attempt: Attempt
    attempts: int
    service_failures: int
    crashes: int
    available_at: float = 0.0
    failure: Failure | None = None
    result: str | None = None
    totals: Totals = NOTHING_SPENT
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A row that says running, as the reaper and the housekeeping need it."""

    seq: int
    id: str
    owner: str
    worker: str
    fence: int
    claimed_at: float
    crashes: int
    cancel_requested: bool


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One task as `tasks` and `show` print it. Times are seconds since the epoch.

    `waits_for` is how many of the tasks it waits for have not succeeded; `held_by` the id of one that failed or was
    cancelled and holds it, itself or through others; `after` the ids of all it was told to wait for.
    """

    seq: int
    id: str
    state: TaskState
    priority: int
    attempts: int
    service_failures: int
    crashes: int
    worker: str | None
    claimed_at: float | None
    finished_at: float | None
    available_at: float
    error_type: str | None
    error_message: str | None
    waits_for: int = 0
    held_by: str | None = None
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AddReport:
    """What `add` did: `added` are new, `known` were there already with the same content, `conflicts` were left out."""

    added: int
    known: int
    conflicts: int = 0
    conflict_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """What is remembered of a credential between processes and restarts, by fingerprint, never by key.

    Read, `requests` and `rate_limited` are sums over all processes; saved, they are added to those. Of two cooldowns
    the later one stays. `state`, `exhausted_until` and `last_error` are a mark, set at `updated_at`: a mark that is
    older than the one known changes nothing of it, so a process that has not looked yet takes back nothing that was put
    right by hand; 0 is the word of one that knows of no mark, and counts. `learned` is a JSON object of what its pool's
    limits were found to be, "" if nothing; "" leaves what is known, anything else replaces it.
    """

    fingerprint: str
    name: str
    organization: str | None = None
    pool: str | None = None
    cooldown_until: float = 0.0
    state: str = "ready"
    exhausted_until: float = 0.0
    last_error: str | None = None
    requests: int = 0
    rate_limited: int = 0
    updated_at: float = 0.0
    learned: str = ""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process at work on the project, refreshed about once a second; `report` is its JSON for `status`."""

    owner: str
    pid: int
    host: str
    started_at: float
    seen_at: float
    report: str
