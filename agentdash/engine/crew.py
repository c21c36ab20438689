"""The workers of one pool: who they are, whose loop runs, and how they are shown. What they are to do the pool says."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from agentdash.clock import Clock
from agentdash.engine.backoff import AdaptiveBackoff
from agentdash.engine.gate import Worker
from agentdash.engine.health import WorkerHealthState
from agentdash.engine.outputs import LiveOutputs
from agentdash.engine.store import Claim
from agentdash.model import WorkerView


class Crew:
    """`workers` maps ids to workers: those whose loop runs, and those that can begin again.

    `health_states` gets the health of each new one. `backoff` is the base and the bound of their waits, in seconds.
    """

    def __init__(self, health_states: dict[str, WorkerHealthState], backoff: tuple[float, float], clock: Clock) -> None:
        self.workers: dict[str, Worker] = {}
        self._health_states = health_states
        self._backoff = backoff
        self._clock = clock
        self._ended: asyncio.Queue[tuple[Worker, asyncio.Task[None]]] = asyncio.Queue()

    def worker(self, number: int) -> Worker:
        """The worker of this number, from 0 on; a new one if there is none."""
        worker_id = f"worker-{number}"
        return self.workers.get(worker_id) or self._new(worker_id)

    # -- their loops -------------------------------------------------------------------------------------------------
    @property
    def is_at_work(self) -> bool:
        """Whether some loop runs, or has ended unseen."""
        return any(worker.task is not None for worker in self.workers.values())

    def start(self, worker: Worker, loop: Coroutine[Any, Any, None]) -> None:
        """Begin a worker's loop; its end comes to `next_ended`."""
        worker.task = asyncio.create_task(loop, name=f"agentdash-{worker.id}")
        worker.task.add_done_callback(lambda task: self._ended.put_nowait((worker, task)))

    async def next_ended(self) -> tuple[Worker, asyncio.Task[None]]:
        """Wait until a loop has ended. Its worker may have another by now."""
        return await self._ended.get()

    def cancel(self) -> None:
        """Cancel every loop."""
        for worker in self.workers.values():
            if worker.task is not None:
                worker.task.cancel()

    async def all_ended(self) -> None:
        """Wait until every loop has ended; how they ended is not told any more."""
        tasks = [worker.task for worker in self.workers.values() if worker.task is not None]
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
        for worker in self.workers.values():
            worker.task = None
        self._ended = asyncio.Queue()

    # -- their health ------------------------------------------------------------------------------------------------
    @property
    def parked(self) -> int:
        """How many have given up recovering and wait for their next probe; those that are to leave do not count."""
        return sum(worker.health.is_parked() for worker in self.workers.values() if not worker.retiring)

    def begin_anew(self) -> None:
        """Another run, another chance."""
        for worker in self.workers.values():
            worker.health.revive()
            worker.probe_at, worker.restarts = None, 0

    def revive(self, worker_id: str | None = None) -> int:
        """Let parked workers (one, or all) try again now; returns how many there were."""
        parked = [w for w in self.workers.values() if w.health.is_parked() and worker_id in (None, w.id)]
        for worker in parked:
            worker.health.revive()
            worker.wake.set()
        return len(parked)

    def probe_now(self) -> None:
        """Let the unhealthy ones probe without waiting out their own recoveries, once they are woken."""
        now = self._clock.monotonic()
        for worker in self.workers.values():
            if not worker.health.is_healthy():
                worker.health.revive()
                worker.probe_at = now

    def wake_all(self) -> None:
        """Let every waiting worker look again at what it waits for."""
        for worker in self.workers.values():
            if worker.backoff_until is not None or worker.state in ("paused", "waiting"):
                worker.wake.set()

    # -- as shown ----------------------------------------------------------------------------------------------------
    def views(self, claims: Mapping[str, Claim], outputs: LiveOutputs | None) -> tuple[WorkerView, ...]:
        """Every worker whose loop runs; `claims` are those that are worked on, by worker."""
        return tuple(
            self._view(worker, claims.get(worker.id), outputs)
            for worker in self.workers.values()
            if worker.task is not None
        )

    def _view(self, worker: Worker, claim: Claim | None, outputs: LiveOutputs | None) -> WorkerView:
        """One worker as shown, with the claim it works on."""
        health, wait = worker.health, None
        if claim is not None and outputs is not None:
            wait = outputs.wait(claim.task.id)
            wait = wait if wait is not None and wait[0] > self._clock.monotonic() else None
        return WorkerView(
            worker.id,
            worker.state if claim is None else "running",
            None if claim is None else claim.task.id,
            health.consecutive_failures,
            health.total_recoveries,
            worker.backoff_until if claim is None else wait[0] if wait else None,
            worker.since if claim is None else claim.claimed_at,
            wait[1] if wait else health.last_error_type if health.consecutive_failures else None,
        )

    def _new(self, worker_id: str) -> Worker:
        health = self._health_states.setdefault(worker_id, WorkerHealthState(worker_id))
        backoff = AdaptiveBackoff(*self._backoff, jitter_factor=0.5, clock=self._clock)
        worker = self.workers[worker_id] = Worker(worker_id, health, backoff, self._clock.now())
        return worker
