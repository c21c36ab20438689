"""In which order a list of tasks stands, and from where SQLite best reads it."""

from __future__ import annotations

from dataclasses import dataclass

from agentdash.engine.store.codes import CODE_OF
from agentdash.model import TaskQuery, TaskSort, TaskState

TRIES = "attempts + service_failures + crashes"
RUNNING_SINCE = "1e10 - claimed_at"
"""The larger the longer it runs, and larger than any time at which a task was finished (until the year 2200)."""

RECENT = f"CASE WHEN state = 1 THEN {RUNNING_SINCE} ELSE finished_at END"
"""What runs, the longest first, then by when it was finished: so a list of what happens now keeps still as far as it
can. NULL for a task that is pending."""

_INDEX_OF = {
    TaskState.PENDING: "tasks_ready",
    TaskState.RUNNING: "tasks_running",
    TaskState.FAILED: "tasks_failed",
    TaskState.CANCELLED: "tasks_cancelled",
}
BY_SEQ = frozenset({TaskState.FAILED, TaskState.CANCELLED})
"""The states whose index is in the order of the file."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """By `key` (an SQL expression; none: by the order of the file), then by the order of the file.

    `falling`: the largest key first. `first` and `then` are what stands before and behind the key, both rising. Turned
    round as a whole, never in one part only: so a list can be read from
    either end.
    """

    key: str | None = None
    falling: bool = False
    first: str | None = None
    then: str | None = None

    def terms(self, *, turned: bool = False) -> str:
        """For ORDER BY."""
        terms = ((self.first, False), (self.key, self.falling), (self.then, False), ("seq", False))
        return ", ".join(f"{term} DESC" if falling != turned else term for term, falling in terms if term)


QUEUE = Ordering("priority", falling=True, first="waits_for > 0", then="locks IS NULL")
"""The order in which tasks are begun, which is that of the index `tasks_ready`: what may run before what waits for
others, by priority, and of one priority those first of which only one can run at a time."""


def ordering(query: TaskQuery) -> Ordering:
    """The order that a query asks for, before `descending` turns it round.

    What is most wanted stands first: what runs and then the newest, the most often tried. `ORDER` is the queue's own.
    """
    if query.sort is TaskSort.ID:
        return Ordering("id")
    if query.sort is TaskSort.TRIES:
        return Ordering(TRIES, falling=True)
    if query.sort is TaskSort.RECENT:
        return Ordering() if query.state is TaskState.PENDING else Ordering(RECENT, falling=True)
    if query.state is TaskState.PENDING:
        return QUEUE
    return Ordering("claimed_at") if query.state is TaskState.RUNNING else Ordering()


def has_own_index(query: TaskQuery) -> bool:
    """Whether an index holds just these tasks in just this order, so that any place in it is near."""
    if query.sort is TaskSort.ID:
        return query.state is None
    return query.sort is TaskSort.ORDER and (query.state in BY_SEQ or query.state in (None, TaskState.PENDING))


def source(state: TaskState | None, *, few: bool) -> str:
    """What to read, for FROM. An index of the state, if it holds few or is in the order of the file: looking up every
    task of the table through an index would take longer than reading the table."""
    if state in _INDEX_OF and (few or state in BY_SEQ):
        return f"tasks INDEXED BY {_INDEX_OF[state]}"
    return "tasks NOT INDEXED"


def condition(state: TaskState | None) -> str:
    """For WHERE. The state's code stands there as it is: only so does SQLite see that a partial index will do."""
    return "1" if state is None else f"state = {CODE_OF[state]}"
