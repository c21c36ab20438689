"""One attempt at a task: lease, process, classify, react. Everything an attempt touches is reached from here."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.errorfacts import failure_of
from agentdash.engine.estimate import RequestSize
from agentdash.engine.events import EventLog
from agentdash.engine.health import WorkerHealthState
from agentdash.engine.limitheaders import NOTHING_READ, LimitReading, read_limits
from agentdash.engine.limits import Lease
from agentdash.engine.line import LeaseLine
from agentdash.engine.outputs import LiveOutput, LiveOutputs
from agentdash.engine.policy import RetryPolicy, after_failure, interrupted, refused_for_cost, success
from agentdash.engine.processors.base import LEAVING, ClientSource, Processor, SizedProcessor, TaskContext
from agentdash.engine.reactions import Reactions
from agentdash.engine.rotation import APIRotationState
from agentdash.engine.sanitising import clean_name
from agentdash.engine.services import Services
from agentdash.engine.store import Claim, Settlement
from agentdash.model import Answer, Attempt, Failure, Spent, Task, TaskState

_LOOK_AGAIN_S = 1.0
DEFAULT_LOCK_TIMEOUT_S = 3600.0


class AttemptStoppedError(asyncio.CancelledError):
    """An attempt was cancelled, after it had used up `spent`."""

    def __init__(self, spent: Spent) -> None:
        super().__init__()
        self.spent = spent


class TaskRunner:
    """Runs attempts for all workers of a pool; holds what they share.

    `rotation` and `clients` are None for a processor that needs no credentials. `health` maps worker ids to their
    states. `max_task_cost` is what all attempts at a task may cost that names no limit of its own, in US dollars.
    `outputs` has what running tasks write, as it comes. `line` is where tasks wait for their turn to be sent.
    `services` are the servers, `reactions` what becomes of key, server and worker. `on_change` is called when waiting
    workers may have something to do, `on_room` when one more of them may take a task, `on_unpriced` for an answer of
    which nobody knows what it cost.
    """

    def __init__(
        self,
        processor: Processor,
        *,
        policy: RetryPolicy | None = None,
        clock: Clock = SYSTEM_CLOCK,
        rotation: APIRotationState | None = None,
        clients: ClientSource | None = None,
        health: dict[str, WorkerHealthState] | None = None,
        events: EventLog | None = None,
        lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
        max_task_cost: float | None = None,
        backoff_base_s: float = 1.0,
        backoff_max_s: float = 60.0,
    ) -> None:
        self.processor = processor
        self._size = processor.size if isinstance(processor, SizedProcessor) else _no_size
        self.policy = policy or RetryPolicy()
        self.rotation = rotation
        self.clients = clients
        self.health = {} if health is None else health
        self.events = events or EventLog(clock)
        self.lock_timeout_s = lock_timeout_s
        self.outputs = LiveOutputs()
        self.on_change: Callable[[], None] = lambda: None
        self.on_room: Callable[[], None] = lambda: None
        self.line = LeaseLine(rotation, clock, on_room=self._room) if rotation is not None else None
        self.on_unpriced: Callable[[Answer], None] = lambda answer: None
        self.services = Services(rotation, clock, (backoff_base_s, backoff_max_s))
        self.reactions = Reactions(
            rotation=rotation, services=self.services, health=self.health, events=self.events, clock=clock
        )
        self.abandoned = 0
        """Requests that were given up on the way: their tasks were cancelled, or the run was stopped."""
        self._max_task_cost = max_task_cost
        self._clock = clock
        if rotation is not None:
            rotation.is_down = lambda server: self.services.of(server).until is not None

    async def attempt(self, claim: Claim) -> Settlement:
        """Run the claimed task once and decide how the claim ends. Raises `AttemptStoppedError` when it is cancelled
        while its processor runs."""
        most = self._most_cost(claim.task)
        if most is not None and claim.task.cost_usd >= most:
            return self._told(claim, refused_for_cost(claim, self._clock.now(), most))
        output = self.outputs.begin(claim.task.id, claim.task.fence)
        try:
            return await self._attempt(claim, output)
        finally:
            self.outputs.end(claim.task.id)

    def _most_cost(self, task: Task) -> float | None:
        """What all attempts at a task may cost: its own limit, else the run's."""
        own = task.payload.get("max_cost")
        return float(own) if isinstance(own, int | float) else self._max_task_cost

    def _told(self, claim: Claim, settlement: Settlement) -> Settlement:
        """The settlement; of a failure for good everybody is told."""
        failure = settlement.failure
        if settlement.state is TaskState.FAILED and failure is not None:
            self.events.emit("failed", f"{claim.task.id} failed: {failure.error_type}: {failure.message}")
        return settlement

    async def _attempt(self, claim: Claim, output: LiveOutput) -> Settlement:
        lease = await self._lease(claim)
        if lease is None and self.rotation is not None:
            return interrupted(claim, self._clock.now(), "not sent")
        told: list[LimitReading] = []
        credential = lease.credential if lease else None
        started = self._clock.now()
        sent_at = self._clock.monotonic()
        context = TaskContext(
            claim.worker,
            claim.task.fence,
            credential,
            progress=output.add,
            waits=partial(self._waits, output),
            observe=self._observer(lease, told),
        )
        most = self._most_cost(claim.task)
        context.max_cost = most - claim.task.cost_usd if most is not None else None
        try:
            if credential is not None and self.clients is not None:
                context.client = self.clients.client(credential)
            if lease is not None and self.rotation is not None:
                context.answered = partial(self.rotation.succeeded, lease.credential, lease)
                context.next_turn = partial(self._next_turn, self.rotation, lease)
                _leave_at_its_moment(self.rotation, lease)
            answer = await self.processor.run(claim.task, context)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_being_cancelled():
                context.cancelled.set()
                self.abandoned += 1
                raise AttemptStoppedError(context.spent) from error
            failure = failure_of(error, self._clock.now())
            if failure.usage is None and failure.cost_usd is None:
                failure = replace(failure, usage=context.spent.usage, cost_usd=context.spent.cost_usd)
            context.observe_error(error)
            self.reactions.failed(claim, lease, failure, sent_at, told[-1] if told else NOTHING_READ)
            settlement = after_failure(
                claim,
                self._ended(claim, lease, started, failure),
                failure,
                self.policy,
                is_outage=self.services.of(credential.server if credential else None).is_down_for_many,
                max_cost=most,
            )
            return self._told(claim, settlement)
        else:
            self.reactions.answered(
                claim.worker, lease, answer
            )  # before the lease is given back: it says what was used
        finally:
            if lease is not None and self.rotation is not None:
                self.rotation.release(lease)
        if answer.cost_usd is None:
            self.on_unpriced(answer)
        return success(claim, self._ended(claim, lease, started, answer), answer)

    def _waits(self, output: LiveOutput, seconds: float, reason: str) -> None:
        output.wait = self._clock.monotonic() + seconds, reason

    @staticmethod
    async def _next_turn(rotation: APIRotationState, lease: Lease, size: RequestSize) -> None:
        """Wait until the key of an attempt may send one more request."""
        await rotation.again(lease, size)
        _leave_at_its_moment(rotation, lease)

    def hold_until(self, worker: str, *, probing: bool = False) -> tuple[float, str] | None:
        """Until when (monotonic) a worker should not take a task, and why; None if it may go on.

        A probing worker is held by limits only, not by the backoff of a server that is down.
        """
        if self.rotation is not None:
            readiness = self.rotation.readiness()
            if not readiness.ready:
                wait = readiness.at - self._clock.now() if readiness.at is not None else float("inf")
                return self._clock.monotonic() + max(0.0, wait), readiness.reason
        return self.services.hold(worker, probing=probing)

    async def wait_for_service(self, worker: str) -> bool:
        """The gate of a loop without a pool: wait while its server or its keys ask for it."""
        while (held := self.hold_until(worker)) is not None:
            await self._clock.sleep(min(max(0.0, held[0] - self._clock.monotonic()), _LOOK_AGAIN_S))
        return True

    def line_is_full(self, coming: int) -> bool:
        """Whether as many tasks wait for their turn, or are about to, as can be sent soon: no more need be claimed."""
        return self.line is not None and len(self.line) + coming >= self.line.most

    def paced_until(self) -> float | None:
        """When (monotonic) the next request may go, where only the pace of the limits holds it; None if it may now."""
        if self.line is None:
            return None
        at = self.line.next_at()
        return at if self._clock.monotonic() < at < math.inf else None

    def send_line_away(self) -> None:
        """Nothing more is to be sent: tasks that wait for their turn go back to pending."""
        if self.line is not None:
            self.line.send_away()

    async def _lease(self, claim: Claim) -> Lease | None:
        """A lease, when the task's turn has come; None where no credentials are needed, and when none can be had soon.

        A server that went down meanwhile is not asked by everybody who stood in line.
        """
        if self.rotation is None or self.line is None:
            return None
        lease = await self.line.turn(self._size(claim.task))
        health = self.health.get(claim.worker)
        probing = health is not None and not health.is_healthy()
        if lease is not None and self.services.hold(claim.worker, probing=probing) is not None:
            self.rotation.release(lease, unsent=True)
            lease = None
        self.on_room()
        return lease

    def _room(self) -> None:
        self.on_room()

    def rotation_changed(self) -> None:
        """A lease came back or a key may send again: those who wait look again."""
        if self.line is not None:
            self.line.look()
        self.on_change()

    def _ended(self, claim: Claim, lease: Lease | None, started: float, end: Failure | Answer) -> Attempt:
        credential = lease.credential if lease else None
        failure = end if isinstance(end, Failure) else None
        return Attempt(
            claim.task.fence,
            claim.worker,
            credential.name if credential else None,
            credential.organization if credential else None,
            started,
            self._clock.now(),
            failure.failure_class.value if failure else "succeeded",
            failure.error_type if failure else None,
            failure.message if failure else None,
            clean_name(end.request_id),
        )

    def _observer(self, lease: Lease | None, told: list[LimitReading]) -> Callable[[Mapping[str, str]], None]:
        rotation = self.rotation
        if lease is None or rotation is None:
            return lambda headers: None

        def observe(headers: Mapping[str, str]) -> None:
            told.append(reading := read_limits(headers))
            rotation.read(lease, reading)
            for text in rotation.pools.take_news():
                self.events.emit("limits", text)

        return observe


def _leave_at_its_moment(rotation: APIRotationState, lease: Lease) -> None:
    """Have the request that is built next wait for its moment, if its lease has one."""
    LEAVING.set(partial(rotation.leave, lease) if lease.ticket.has_moment else None)


def _no_size(task: Task) -> RequestSize:
    return RequestSize()


def _is_being_cancelled() -> bool:
    """Whether somebody cancels this task. A `CancelledError` without that is the processor's own exception."""
    this = asyncio.current_task()
    return this is None or this.cancelling() > 0
