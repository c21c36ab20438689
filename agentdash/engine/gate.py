"""Where a worker stands before each task: while the pool is paused, its server is down, or it recovers itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from agentdash.clock import Clock
from agentdash.engine.backoff import AdaptiveBackoff
from agentdash.engine.health import WorkerHealthState
from agentdash.engine.runner import TaskRunner
from agentdash.engine.store import Claim, Settlement

PARKED_PROBE_S = 60.0
_LOOK_AGAIN_S = 1.0
_TURN_S = 0.01
"""Of one turn of the loop, for workers that begin."""


@dataclass(slots=True, eq=False)
class Worker:
    """One worker's place in the pool."""

    id: str
    health: WorkerHealthState
    backoff: AdaptiveBackoff
    since: float
    state: str = "idle"
    backoff_until: float | None = None
    retiring: bool = False
    restarts: int = 0
    probe_at: float | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    has_worked: bool = False
    has_begun: bool = False


@dataclass(frozen=True, slots=True)
class WorkerRunner:
    """The pool's runner as one worker sees it: notes that the worker had a task, as it is idle anew after that."""

    worker: Worker
    runner: TaskRunner
    gate: Gate

    @property
    def lock_timeout_s(self) -> float:
        """As the runner has it."""
        return self.runner.lock_timeout_s

    async def attempt(self, claim: Claim) -> Settlement:
        """As the runner does it."""
        self.worker.has_worked = True
        self.gate.has_passed(self.worker)
        settlement = await self.runner.attempt(claim)
        if self.gate.admission is not None:
            self.gate.admission.learn(claim, settlement)
        return settlement


class Admission(Protocol):
    """Says whether further tasks may begin, where what they use up is limited."""

    def may_begin(self) -> bool:
        """Whether one more task may begin now."""
        ...

    def learn(self, claim: Claim, settlement: Settlement) -> None:
        """An attempt has ended."""
        ...


class Gate:
    """The gate of one pool. `is_draining` sends workers home, `is_paused` holds them, and so does `admission`.

    A worker that waits looks again when its `wake` is set.
    """

    def __init__(self, clock: Clock) -> None:
        self.is_paused = False
        self.is_draining = False
        self.admission: Admission | None = None
        self.runner: TaskRunner | None = None
        self._clock = clock
        self._turn_until: float | None = None
        self._passing: set[str] = set()
        self._paced: dict[str, Worker] = {}
        self._waiting: dict[str, Worker] = {}

    def has_passed(self, worker: Worker) -> None:
        """The worker has a task, or has left."""
        self._passing.discard(worker.id)

    def look_again(self) -> None:
        """Those who wait for a limit or a server look whether they still have to; not those who wait for room."""
        for worker in self._waiting.values():
            if worker.id not in self._paced:
                worker.wake.set()

    def let_in(self) -> None:
        """There may be room in the line: as many of those who wait for it, first come first served."""
        if self.runner is None:
            return
        while self._paced and not self.runner.line_is_full(len(self._passing)):
            worker = self._paced.pop(next(iter(self._paced)))
            self._passing.add(worker.id)  # counted at once: it comes when the loop turns
            worker.wake.set()

    async def passes(self, worker: Worker) -> bool:
        """Hold a worker before its next task while it may not take one; False sends it home."""
        if self.runner is None:
            return False
        self._passing.discard(worker.id)
        if not worker.has_begun:
            await self._wait_to_begin(worker)
        while True:
            if self.is_draining or worker.retiring:
                return False
            if self.is_paused:
                await self._hold(worker, "paused", None)
                continue
            if self.admission is not None and not self.admission.may_begin():
                await self._hold(worker, "waiting", self._clock.monotonic() + _LOOK_AGAIN_S, shown=False)
                continue
            probing = not worker.health.is_healthy()
            if probing and not await self._recover(worker, self.runner):
                continue
            # A probe is how we learn that a server is back: it does not wait for that server's backoff.
            held = self.runner.hold_until(worker.id, probing=probing)
            if held is not None:
                await self._hold(worker, "waiting", held[0])
            elif worker.id in self._passing or not self.runner.line_is_full(len(self._passing)):
                break
            else:
                await self._wait_for_room(worker)
        self._passing.add(worker.id)
        if worker.has_worked or worker.state != "idle" or worker.backoff_until is not None:
            worker.has_worked = False
            worker.state, worker.backoff_until, worker.since = "idle", None, self._clock.now()
        return True

    async def _wait_to_begin(self, worker: Worker) -> None:
        """All workers begin at once, and a lock's file costs most the first time: of one turn of the loop only so much
        is taken."""
        while self._turn_until is not None and self._clock.monotonic() >= self._turn_until:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0)
        if self._turn_until is None:
            self._turn_until = self._clock.monotonic() + _TURN_S
            asyncio.get_running_loop().call_soon(self._end_turn)
        worker.has_begun = True

    def _end_turn(self) -> None:
        self._turn_until = None

    async def _wait_for_room(self, worker: Worker) -> None:
        """Others wait for their turn to send: no task is claimed before it can be sent soon."""
        self._paced.setdefault(worker.id, worker)
        try:
            await self._hold(worker, "waiting", self._clock.monotonic() + _LOOK_AGAIN_S, shown=False)
        finally:
            self._paced.pop(worker.id, None)

    async def _recover(self, worker: Worker, runner: TaskRunner) -> bool:
        """An unhealthy worker waits its backoff, takes a fresh client and probes with the next task.

        Returns whether it may probe now. A parked one probes once a minute, or when it is revived.
        """
        now = self._clock.monotonic()
        parked = worker.health.is_parked()
        if worker.probe_at is None:
            worker.backoff.consecutive_failures = worker.health.recovery_attempts + 1
            worker.probe_at = now + (PARKED_PROBE_S if parked else worker.backoff.get_delay())
        elif worker.probe_at > now and worker.state == "parked" and not parked:
            worker.probe_at = now  # revived by hand
        if worker.probe_at > now:
            await self._hold(worker, "parked" if parked else "backoff", worker.probe_at)
            return False
        worker.probe_at = None
        worker.state = "probing"
        if runner.clients is not None:
            await runner.clients.refresh()
        return True

    async def _hold(self, worker: Worker, state: str, until: float | None, *, shown: bool = True) -> None:
        """Wait until a moment (monotonic; None or infinity: until woken), in this state; `shown`: with a countdown."""
        if worker.state != state:
            worker.state, worker.since = state, self._clock.now()
        until = until if until != float("inf") else None
        worker.backoff_until = until if shown else None
        worker.wake.clear()
        wait = None if until is None else max(0.0, until - self._clock.monotonic())
        if state == "waiting":
            self._waiting[worker.id] = worker
        try:
            async with asyncio.timeout(wait):
                await worker.wake.wait()
        except TimeoutError:
            return
        finally:
            self._waiting.pop(worker.id, None)
