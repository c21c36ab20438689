"""The worker pool: spawns, resizes, supervises, pauses, drains; and the library's plain way to run a list of tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.crew import Crew
from agentdash.engine.events import EventLog
from agentdash.engine.gate import Admission, Gate, Worker, WorkerRunner
from agentdash.engine.health import WorkerHealthState
from agentdash.engine.library import NoOtherProcess, task_result
from agentdash.engine.manager import TaskStateManager
from agentdash.engine.policy import RetryPolicy
from agentdash.engine.processors.function import FunctionProcessor, TaskFunction
from agentdash.engine.resources import Lock
from agentdash.engine.runner import TaskRunner
from agentdash.engine.store import MemoryTaskStore
from agentdash.engine.worker import work_stealing_loop
from agentdash.errors import AgentdashError, NoMemoryError, means_no_memory
from agentdash.model import WorkerView

_MAX_RESTARTS = 5


class ParallelSessionManager:
    """A pool of workers over one queue of tasks.

    `max_workers` is at least 1 (`ValueError` otherwise). `health_states` maps worker ids to their health.
    """

    def __init__(
        self,
        max_workers: int = 3,
        *,
        clock: Clock = SYSTEM_CLOCK,
        policy: RetryPolicy | None = None,
        events: EventLog | None = None,
        backoff_base_s: float = 0.5,
        backoff_max_s: float = 60.0,
    ) -> None:
        if max_workers < 1:
            raise ValueError("max_workers must be at least 1")
        self.max_workers = max_workers
        self.health_states: dict[str, WorkerHealthState] = {}
        self.events = events or EventLog(clock)
        self.is_running = False
        self.policy = policy or RetryPolicy()
        self.on_fault: Callable[[], None] = self.drain
        """Called when a fault stops all work: what runs may end."""
        self._clock = clock
        self._gate = Gate(clock)
        self._backoff = (backoff_base_s, backoff_max_s)
        self._crew = Crew(self.health_states, self._backoff, clock)
        self._manager: TaskStateManager | None = None
        self._lock: Lock | None = None
        self._runner: TaskRunner | None = None
        self._fault: BaseException | None = None
        self._is_over = False

    # -- the library's way -------------------------------------------------------------------------------------------
    async def run_parallel_agents(
        self, tasks: Sequence[dict[str, Any]], task_processor: TaskFunction
    ) -> list[dict[str, Any]]:
        """Run every task through `task_processor(task, worker_id)`; returns one dict a task, in the order given.

        `{"task", "result", "success": True}` or `{"task", "error", "success": False}`; with `"exhausted_recovery":
        True` where the service behind the processor kept failing and nobody was left to try.
        """
        store = MemoryTaskStore()
        manager = TaskStateManager(store, clock=self._clock)
        added = manager.add_tasks(tasks)
        base, most = self._backoff
        runner = TaskRunner(
            FunctionProcessor(task_processor),
            policy=self.policy,
            clock=self._clock,
            health=self.health_states,
            events=self.events,
            backoff_base_s=base,
            backoff_max_s=most,
        )
        running = asyncio.create_task(self.run(manager, NoOtherProcess(), runner), name="agentdash-pool")
        parked = asyncio.create_task(self._stop_when_exhausted(running), name="agentdash-exhausted-watch")
        try:
            await running
        finally:
            parked.cancel()
            running.cancel()
            await asyncio.gather(running, parked, return_exceptions=True)
        return [task_result(dict_, task, store, runner) for dict_, task in zip(tasks, added, strict=True)]

    # -- the engine's way --------------------------------------------------------------------------------------------
    async def run(self, task_manager: TaskStateManager, task_lock: Lock, runner: TaskRunner) -> None:
        """Run until nothing is pending or running anywhere, or until drained.

        Raises what stops all work: `StoreError`, `LockError`, or a fault of our own that keeps coming back.
        """
        if self.is_running:
            raise RuntimeError("the pool is running already")
        self.is_running, self._is_over = True, False
        self._manager, self._lock, self._runner = task_manager, task_lock, runner
        self._gate.runner = runner
        runner.on_change = self._keys_changed
        runner.on_room = self._gate.let_in
        runner.reactions.on_service_back = self._service_is_back
        self._fault = None
        self._gate.is_draining = False
        self._crew.begin_anew()
        try:
            self.resize(self.max_workers)
            while self._crew.is_at_work:
                self._reap(*await self._crew.next_ended())
        finally:
            self._is_over = True
            self.abort()
            await self._crew.all_ended()
            self.is_running = self._gate.is_draining = False
        if self._fault is not None:
            raise self._fault

    def resize(self, workers: int) -> None:
        """Have so many workers (at least 1): new ones begin at once, surplus ones leave after their task."""
        if workers < 1:
            raise ValueError("a pool has at least one worker")
        self.max_workers = workers
        wanted = [self._crew.worker(number) for number in range(workers)]
        for worker in wanted:
            worker.retiring = False
            has_ended = worker.task is None or worker.task.done()
            if has_ended and self.is_running and not self.is_draining:
                worker.has_begun = False
                self._start(worker)
        for worker in self._crew.workers.values():
            if worker not in wanted:
                worker.retiring = True
                worker.wake.set()
        if self._manager is not None:
            self._manager.notify()

    def admit_by(self, admission: Admission) -> None:
        """Let this one say whether further tasks may begin."""
        self._gate.admission = admission

    def pause(self) -> None:
        """Take no new tasks and send no more requests; what runs goes on."""
        self._gate.is_paused = True
        if self._runner is not None:
            self._runner.send_line_away()

    def resume(self) -> None:
        """Take tasks again."""
        self._gate.is_paused = False
        self.wake_all()

    def drain(self) -> None:
        """Take no new tasks and end when the running ones have ended."""
        self._gate.is_draining = True
        if self._runner is not None:
            self._runner.send_line_away()
        self.wake_all()
        if self._manager is not None:
            self._manager.notify()

    def undrain(self) -> bool:
        """Take a drain back: workers that have left begin again. False if the run has ended, or ends by a fault."""
        if not self.is_running or self._is_over or self._fault is not None:
            return False
        self._gate.is_draining = False
        self.resize(self.max_workers)
        return True

    def fail(self, fault: AgentdashError) -> None:
        """Stop at once, because of a fault of the whole process: `run` raises it when all have stopped."""
        if self._fault is None:
            self._fault = fault
            self.events.emit("fault", f"no more tasks are taken: {fault}")
        self.abort()

    def abort(self) -> None:
        """Stop at once: running tasks go back to pending."""
        self._gate.is_draining = True
        self._crew.cancel()

    def revive(self, worker_id: str | None = None) -> int:
        """Let parked workers (one, or all) try again now; returns how many there were."""
        return self._crew.revive(worker_id)

    def wake_all(self) -> None:
        """Let every waiting worker look again at what it waits for."""
        self._crew.wake_all()

    @property
    def is_paused(self) -> bool:
        """Whether no new tasks are taken for now."""
        return self._gate.is_paused

    @property
    def is_draining(self) -> bool:
        """Whether no new tasks are taken any more."""
        return self._gate.is_draining

    @property
    def parked(self) -> int:
        """How many workers have given up recovering and wait for their next probe."""
        return self._crew.parked

    def views(self) -> tuple[WorkerView, ...]:
        """Every worker as shown."""
        running = self._manager.running.values() if self._manager is not None else ()
        claims = {one.claim.worker: one.claim for one in running}
        return self._crew.views(claims, self._runner.outputs if self._runner is not None else None)

    # -- inside ------------------------------------------------------------------------------------------------------
    def _keys_changed(self) -> None:
        """A lease came back, or a key may send again: after every answer, so those who wait for room are let in one
        by one instead of all looking each time."""
        self._gate.look_again()
        self._gate.let_in()

    def _service_is_back(self) -> None:
        """One worker was answered after an outage: the others need not wait out their own recoveries."""
        self._crew.probe_now()
        self.wake_all()

    def _start(self, worker: Worker) -> None:
        if self._manager is None or self._lock is None or self._runner is None:
            raise RuntimeError("the pool has nothing to run")
        loop = work_stealing_loop(
            worker.id,
            self._manager,
            self._lock,
            WorkerRunner(worker, self._runner, self._gate),
            gate=lambda: self._gate.passes(worker),
        )
        self._crew.start(worker, loop)

    def _reap(self, worker: Worker, task: asyncio.Task[None]) -> None:
        """A worker's loop ended: as it should, or with a fault of ours, and then it is begun again, a few times."""
        if worker.task is not task:
            return  # begun again before its end was seen
        worker.task = None
        self._gate.has_passed(worker)
        self._gate.let_in()
        error = None if task.cancelled() else task.exception()
        if error is None:
            if worker.retiring:
                self._crew.workers.pop(worker.id, None)
            return
        if means_no_memory(error):
            self.fail(NoMemoryError())
            return
        if isinstance(error, AgentdashError) or worker.restarts >= _MAX_RESTARTS:
            if self._fault is None:  # the others will meet the same
                self._fault = error
                self.events.emit("fault", f"no more tasks are taken: {error}")
            self.on_fault()
            return
        worker.restarts += 1
        self.events.emit("restarted", f"{worker.id} met {type(error).__name__} and was started again")
        if not self.is_draining:
            self._start(worker)

    async def _stop_when_exhausted(self, running: asyncio.Task[None]) -> None:
        """Without a store there is nothing to come back to later.

        When a worker has given up recovering and no other was answered either, the run ends.
        """
        while not running.done():
            await self._clock.sleep(0.1)
            if self.parked and (self._runner is None or self._runner.services.is_down):
                self.abort()
                return
