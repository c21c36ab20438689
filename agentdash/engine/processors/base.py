"""What a processor is: the part of a task's way that does its work."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from agentdash.engine.credentials import APICredential
from agentdash.engine.estimate import RequestSize
from agentdash.model import Answer, Spent, Task, Usage

LEAVING: contextvars.ContextVar[Callable[[], Awaitable[None]] | None] = contextvars.ContextVar(
    "agentdash_leaving", default=None
)
"""What to wait for when a task's request is ready to be written, in the context of the attempt; None: for nothing."""


def ignore_progress(text: str) -> None:
    """Where nobody watches the output."""


async def no_turns(size: RequestSize) -> None:
    """Where no limits are known."""


@dataclass(slots=True)
class TaskContext:
    """What a processor is given beside the task.

    `client` is the leased credential's SDK client (`anthropic.AsyncAnthropic`), None where the run has no credentials.
    `progress(text)` shows output as it comes. `cancelled` is set when the task shall stop; a function in a thread has
    to look at it, a coroutine is cancelled as well. `observe(headers)` reports the headers of an answer as
    soon as they are there: they tell whose limits it counted against, and where those stand.

    `waits(seconds, reason)` says that the task's program waits by itself, as for a server that is overloaded.

    A processor of several requests says with `answered(usage)` what each took, and waits with `next_turn(size)` until
    its key may send the next one.

    `max_cost` is what the attempt may cost, in US dollars: what earlier ones have left of the task's limit; None for no
    limit. A processor that makes several requests says with `spend` what each has cost, so that it is counted also
    where the attempt fails or is stopped later; an answer, or a failure that states its own cost, holds the whole.
    """

    worker_id: str
    attempt: int
    credential: APICredential | None = None
    client: Any = None
    progress: Callable[[str], None] = ignore_progress
    observe: Callable[[Mapping[str, str]], None] = lambda headers: None
    waits: Callable[[float, str], None] = lambda seconds, reason: None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    answered: Callable[[Usage | None], None] = lambda usage: None
    next_turn: Callable[[RequestSize], Awaitable[None]] = no_turns
    max_cost: float | None = None
    spent: Spent = field(default_factory=Spent)

    @property
    def is_cancelled(self) -> bool:
        """Whether the task shall stop."""
        return self.cancelled.is_set()

    def spend(self, usage: Usage | None, cost_usd: float | None) -> None:
        """So much more was used up."""
        before = self.spent
        self.spent = Spent(
            before.usage if usage is None else (before.usage or Usage()) + usage,
            before.cost_usd if cost_usd is None else (before.cost_usd or 0.0) + cost_usd,
        )

    @property
    def is_over_cost(self) -> bool:
        """Whether the attempt has cost as much as it may."""
        return self.max_cost is not None and (self.spent.cost_usd or 0.0) >= self.max_cost

    def observe_error(self, error: BaseException) -> None:
        """Errors of the API tell whose limits they count against, too."""
        headers: Any = getattr(getattr(error, "response", None), "headers", None)
        if headers is not None:
            self.observe(headers)


class Processor(Protocol):
    """Does the work of one task. Raises what went wrong; `failures` decides who pays."""

    needs_credentials: bool
    """Whether tasks run under a lease on an API credential."""

    async def run(self, task: Task, context: TaskContext) -> Answer:
        """Do the task's work."""
        ...


@runtime_checkable
class SizedProcessor(Protocol):
    """A processor that can tell how large a task's request will be, so that token limits are kept to."""

    def size(self, task: Task) -> RequestSize:
        """What the request will take, before it is made."""
        ...


@runtime_checkable
class BringsOwnClient(Protocol):
    """A processor that needs the key of a lease, but not the SDK's client for it: the SDK need not be loaded."""

    brings_own_client: bool


@runtime_checkable
class ClosingProcessor(Protocol):
    """A processor that holds something which must be let go of after the last task."""

    async def close(self) -> None:
        """End what is held."""
        ...


@runtime_checkable
class CheckingProcessor(Protocol):
    """A processor that can tell beforehand that tasks cannot be run."""

    async def check(self) -> None:
        """Before anything is made. Raises `UsageError`."""
        ...

    async def check_tasks(self, payloads: Iterable[Mapping[str, Any]]) -> None:
        """Before the first of these tasks is run. Raises `UsageError`."""
        ...


class ClientSource(Protocol):
    """Gives SDK clients over one shared HTTP pool."""

    async def open(self) -> None:
        """Import the SDK (in a thread, it is large) and be ready."""
        ...

    def client(self, credential: APICredential) -> Any:
        """The client for a credential."""
        ...

    async def refresh(self) -> None:
        """Begin a new HTTP pool, for a worker that recovers; the old one ends when nobody uses it."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
