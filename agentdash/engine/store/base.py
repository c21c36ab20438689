"""What a task store is: the transition table, the records it hands out, and the protocol each form keeps.

The store is the only writer of task state. Reads are answered at once from this machine (a form on a network would
keep its window ahead of them); writes are awaited and durable before they return.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agentdash.engine.waiting import Write
from agentdash.errors import TransitionError
from agentdash.model import Answer, Attempt, Counts, Failure, LinkedTask, Task, TaskSpec, TaskState, Totals

TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    # To FAILED only by `undo`, which takes a requeue back: without running, no task fails.
    TaskState.PENDING: frozenset({TaskState.RUNNING, TaskState.CANCELLED, TaskState.FAILED}),
    TaskState.RUNNING: frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.PENDING}),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset({TaskState.PENDING}),
    TaskState.CANCELLED: frozenset({TaskState.PENDING}),
}
"""Every change of state there is; each is a compare-and-set on (state, fence)."""

NOTHING_SPENT = Totals()

REQUEUEABLE = frozenset(state for state, to in TRANSITIONS.items() if TaskState.PENDING in to) - {TaskState.RUNNING}


def check_transition(before: TaskState, after: TaskState) -> None:
    """Raise `TransitionError` for a change the table does not hold."""
    if after not in TRANSITIONS[before]:
        raise TransitionError(f"a {before} task cannot become {after}")


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


class TaskStore(Protocol):
    """The one place where task state lives. All times are seconds since the epoch."""

    shared: bool
    """Whether other processes may change the same tasks."""

    # -- reads: answered at once -------------------------------------------------------------------------------------
    def counts(self) -> Counts: ...
    def totals(self) -> Totals: ...
    def version(self) -> int:
        """A number that changes when anybody has written since: another process, or this one."""
        ...

    def ready(self, limit: int, now: float, busy: Collection[str] = ()) -> list[Ready]:
        """Claimable tasks, by priority, then those that need a resource, then age; at most `limit`.

        Those that need one of the `busy` resources are left out, at no cost however many they are; where there are any,
        of those that need another resource only the first one for each need be among them.
        """
        ...

    def next_available_at(self, now: float) -> float | None:
        """When the first of the tasks that wait for a retry may be claimed."""
        ...

    def load(self, seq: int) -> Task | None:
        """The whole task, with its payload."""
        ...

    def find(self, task_id: str) -> TaskRecord | None: ...
    def payload(self, task_id: str) -> str | None:
        """The task's body as JSON text."""
        ...

    def result(self, task_id: str) -> str | None:
        """The task's results line, if it is finished."""
        ...

    def attempts(self, task_id: str) -> list[Attempt]: ...
    def tasks(
        self, states: Iterable[TaskState] = (), *, after: int = 0, limit: int | None = None
    ) -> Iterator[TaskRecord]:
        """Tasks in file order, those after sequence number `after`; all states if none is named."""
        ...

    def running(self) -> list[RunningTask]: ...
    def has_dependents(self, seq: int) -> bool:
        """Whether any task was told to wait for this one."""
        ...

    def has_waiting(self) -> bool:
        """Whether any pending task waits for another."""
        ...

    def linked(self, task_id: str, limit: int) -> tuple[list[LinkedTask], list[LinkedTask]]:
        """(what the task waits for, what waits for it), in file order, at most `limit` each."""
        ...

    def holders(self, limit: int) -> list[str]:
        """The ids of failed or cancelled tasks that hold others, in file order; of several that hold one task, one."""
        ...

    def credentials(self) -> list[CredentialRecord]: ...
    def active_credential(self) -> str | None:
        """The fingerprint of the active key, as last rotated by any process."""
        ...

    def processes(self) -> list[ProcessRecord]: ...
    def source(self, path: str) -> str | None:
        """The stamp of a task file that was added whole."""
        ...

    # -- writes: durable before they return --------------------------------------------------------------------------
    async def add(
        self, specs: Iterable[TaskSpec], sources: Mapping[str, str] | None = None, *, skip_conflicts: bool = False
    ) -> AddReport:
        """Add all or nothing, streaming. Raises `BadInputError` for duplicates and changed tasks, unless they are
        to be left out."""
        ...

    def claim(self, task: Task, owner: str, worker: str, now: float) -> Write[bool]:
        """pending → running, unless the task changed since it was loaded (False). Begins at the call, as `settle`."""
        ...

    def settle(self, claim: Claim, settlement: Settlement) -> Write[bool]:
        """End a claim; False if a successor holds the task by now, and then nothing is written.

        The write begins at the call; the future is done when it is durable. Cancelling the wait leaves the write alone.
        """
        ...

    async def reclaim(self, running: RunningTask, settlement: Settlement) -> bool:
        """Take a dead owner's task back: the same compare-and-set as `settle`."""
        ...

    async def requeue(self, ids: Sequence[str] | None, *, error_contains: str | None = None) -> int:
        """failed or cancelled → pending with fresh counters; `ids` None means all failed. Returns how many."""
        ...

    async def cancel(self, ids: Sequence[str], now: float) -> tuple[int, int]:
        """pending → cancelled at once; running ones are asked for. Returns (cancelled, asked)."""
        ...

    async def prioritize(self, ids: Sequence[str], *, to: int | None = None, by: int = 0) -> int:
        """Give pending tasks another priority: `to` this one, or `by` so much more. Returns how many were pending."""
        ...

    async def undo(self) -> tuple[int, int]:
        """Take the last such change of this process back, as far as its tasks were not changed since.

        Returns (put back, gone on). Of running tasks that were asked to stop, those that were stopped are pending
        again, the others are asked no more. One that moved no task leaves the one before it as the last.
        """
        ...

    async def drop_undo(self) -> None:
        """Forget what `undo` would need: its time is over."""
        ...

    async def add_totals(self, totals: Totals) -> None: ...
    async def save_credentials(self, records: Sequence[CredentialRecord], active: str | None) -> None: ...
    async def clock_went_back(self, seconds: float, longest: float) -> None:
        """Dates in the future were written by a clock that was ahead: cooldowns end so many seconds earlier, and so do
        waits for a retry that are longer than any can be, at `longest` (seconds since the epoch) at the latest."""
        ...

    async def save_process(self, record: ProcessRecord) -> None: ...
    async def drop_process(self, owner: str) -> None: ...
    async def close(self) -> None: ...
