"""Any order of events: the pool, its workers and its queue against a model of a few lines, in virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentdash import ParallelSessionManager, TaskStateManager
from agentdash.engine.policy import RetryPolicy
from agentdash.engine.processors import FunctionProcessor
from agentdash.engine.runner import TaskRunner
from agentdash.engine.store import Claim, MemoryTaskStore, Settlement
from agentdash.errors import LockError
from agentdash.model import FINISHED_STATES, TaskState
from tests.support.bench import CLOCK, FreeLock
from tests.support.virtual_loop import EPOCH, VirtualLoop

MAX_ATTEMPTS = 2
MAX_SERVICE_FAILURES = 3
MOST_TASKS = 8
MOST_CRASHES = 5
"""A worker that crashes more often ends the run: `test_pool.py` has that."""
LONGEST_SKIP_S = 6.0
LONGEST_BACKOFF_S = 200.0
_TURNS = 40
NUMBERS = st.integers(0, 99)


class Answered(Exception):  # noqa: N818 - it is what a server says
    """An answer with a status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status_code = status


class Lock(FreeLock):
    """A lock whose folder can be lost."""

    is_broken = False

    def acquire(self, task_id: str, holder_id: str = "", timeout: float = 0) -> bool:
        if self.is_broken:
            raise LockError("the folder is gone")
        return super().acquire(task_id, holder_id, timeout)


class Fragile(TaskRunner):
    """A runner with a fault of ours in it, for the tasks that are named."""

    faulty: frozenset[str] = frozenset()

    async def attempt(self, claim: Claim) -> Settlement:
        settlement = await super().attempt(claim)
        if claim.task.id in self.faulty:
            self.faulty -= {claim.task.id}
            raise RuntimeError("a fault of ours")
        return settlement


@dataclass
class Model:
    """One task as it ought to be; not begun before `not_before` (monotonic)."""

    state: TaskState = TaskState.PENDING
    attempts: int = 0
    service_failures: int = 0
    not_before: float = 0.0


class PoolMachine(RuleBasedStateMachine):
    """Between two rules the loop stands still, and everything that could happen at this moment has happened."""

    def __init__(self) -> None:
        super().__init__()
        self.aio = asyncio.Runner(loop_factory=VirtualLoop)
        self.model: dict[str, Model] = {}
        self.at_work: dict[str, tuple[str, asyncio.Future[str]]] = {}
        self.wrong: list[str] = []
        self.is_paused = self.is_draining = False
        self.crashes = 0
        self.running: asyncio.Task[None] | None = None
        self.is_over = True
        """Whether the run has ended, and how it did was looked at."""

    @initialize(workers=st.integers(1, 4), tasks=st.integers(1, 5))
    def begin(self, workers: int, tasks: int) -> None:
        self.workers = workers
        self.store = MemoryTaskStore()
        self.manager = TaskStateManager(self.store, clock=CLOCK)
        self.lock = Lock()
        policy = RetryPolicy(MAX_ATTEMPTS, MAX_SERVICE_FAILURES, rng=lambda: 1.0)
        self.pool = ParallelSessionManager(workers, clock=CLOCK, policy=policy)
        self.runner = Fragile(
            FunctionProcessor(self.body),
            clock=CLOCK,
            policy=policy,
            health=self.pool.health_states,
            events=self.pool.events,
        )
        self.add(tasks)
        self.run_again()

    def teardown(self) -> None:
        if self.running is not None and not self.running.done():
            self.pool.abort()
            self.turn()
        self.aio.close()

    async def body(self, task: dict[str, Any], worker: str) -> str:
        """What a task does: it is looked at as it begins, and then waits for the rule that ends it."""
        model, name = self.model[task["id"]], task["id"]
        for is_wrong, what in (
            (name in self.at_work, "is at work already"),
            (worker in {other for other, _ in self.at_work.values()}, "was given to a worker that has one"),
            (int(worker.removeprefix("worker-")) >= self.workers, "was taken by a worker that is to leave"),
            (model.state is not TaskState.PENDING, f"is {model.state} and was begun"),
            (self.now < model.not_before - 1e-6, "was begun before its time"),
            (self.is_paused or self.is_draining, "was begun though nothing may be"),
            (name in self.lock.refused, "was begun though another process holds its lock"),
        ):
            if is_wrong:
                self.wrong.append(f"{name} {what}")
        model.state = TaskState.RUNNING
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.at_work[name] = worker, future
        try:
            return await future
        finally:
            del self.at_work[name]

    def turn(self, seconds: float = 0.0) -> None:
        """Let so much time pass, and then everything happen that is due."""

        async def turn() -> None:
            await asyncio.sleep(seconds)
            for _ in range(_TURNS):
                await asyncio.sleep(0)

        self.aio.run(turn())

    @property
    def now(self) -> float:
        return self.aio.get_loop().time()

    def named(self, number: int, *states: TaskState) -> str | None:
        """One of the tasks in these states."""
        names = [name for name, model in self.model.items() if model.state in states]
        return names[number % len(names)] if names else None

    def unfinished(self) -> set[str]:
        return {name for name, model in self.model.items() if model.state not in FINISHED_STATES}

    def can_run(self) -> set[str]:
        """Those at work, and those that could be."""
        return {
            name
            for name in self.unfinished()
            if name in self.at_work or (name not in self.lock.refused and self.model[name].not_before <= self.now)
        }

    # -- tasks -------------------------------------------------------------------------------------------------------
    @precondition(lambda self: len(self.model) < MOST_TASKS)
    @rule(number=st.integers(1, 3))
    def add(self, number: int) -> None:
        names = [f"t{len(self.model) + n}" for n in range(number)]
        self.model |= {name: Model() for name in names}
        self.manager.add_tasks([{"id": name} for name in names])
        self.turn()

    @precondition(lambda self: self.at_work)
    @rule(number=NUMBERS, how=st.sampled_from(["well", "badly", "refused"]))
    def end(self, number: int, how: str) -> None:
        """A task ends by itself."""
        name = sorted(self.at_work)[number % len(self.at_work)]
        future, model = self.at_work[name][1], self.model[name]
        model.attempts += 1
        if how == "well":
            model.state = TaskState.SUCCEEDED
            future.set_result("done")
        else:
            is_last = how == "refused" or model.attempts >= MAX_ATTEMPTS
            model.state = TaskState.FAILED if is_last else TaskState.PENDING
            model.not_before = self.now + 0.5 * 2 ** (model.attempts - 1)
            future.set_exception(Answered(400) if how == "refused" else ValueError("bad"))
        self.turn()

    @precondition(lambda self: self.at_work and self.crashes < MOST_CRASHES)
    @rule(number=NUMBERS)
    def a_worker_crashes(self, number: int) -> None:
        """By a fault of ours, as its task is done: the task is begun again, the worker too."""
        name = sorted(self.at_work)[number % len(self.at_work)]
        self.crashes += 1
        self.runner.faulty |= {name}
        self.model[name].state = TaskState.PENDING
        self.at_work[name][1].set_result("lost")
        self.turn()

    @precondition(lambda self: self.at_work)
    @rule(number=NUMBERS, status=st.sampled_from([500, 529, 429]), all_of_them=st.booleans())
    def service_fails(self, number: int, status: int, all_of_them: bool) -> None:
        """The server fails one task, or everything that is on its way."""
        names = sorted(self.at_work)
        chosen = names if all_of_them else [names[number % len(names)]]
        for name in chosen:
            self.model[name].state = TaskState.PENDING
            self.at_work[name][1].set_exception(Answered(status))
        self.turn()
        for name in chosen:
            record, model = self.store.find(name), self.model[name]
            assert record is not None
            # Not counted against a task while the server is down for others too, so it may be either.
            assert record.service_failures in (model.service_failures, model.service_failures + (status == 500))
            model.service_failures = record.service_failures
            if model.service_failures >= MAX_SERVICE_FAILURES:
                model.state = TaskState.FAILED

    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        name = self.named(number, TaskState.PENDING, TaskState.RUNNING)
        if name is None:
            return
        was_running = self.model[name].state is TaskState.RUNNING
        self.model[name].state = TaskState.CANCELLED
        assert self.aio.run(self.store.cancel([name], EPOCH + self.now - 1000)) == (not was_running, was_running)
        for row in self.store.running():
            if row.cancel_requested:
                assert self.manager.request_stop(row.seq, "cancel")
        self.manager.notify()
        self.turn()

    @rule(number=NUMBERS)
    def requeue(self, number: int) -> None:
        name = self.named(number, TaskState.FAILED, TaskState.CANCELLED)
        if name is not None:
            self.model[name] = Model()
            assert self.aio.run(self.store.requeue([name])) == 1
            self.manager.notify()
            self.turn()

    # -- steering ----------------------------------------------------------------------------------------------------
    @rule(workers=st.integers(1, 5))
    def resize(self, workers: int) -> None:
        self.workers = workers
        self.within(lambda: self.pool.resize(workers))

    @rule(gives_back=st.booleans())
    def pause(self, gives_back: bool) -> None:
        """With or without giving back what runs."""
        self.is_paused = True
        self.pool.pause()
        if gives_back:
            for name in self.at_work:
                self.model[name].state = TaskState.PENDING
            self.within(self.manager.interrupt)
        self.turn()

    @precondition(lambda self: self.is_paused)
    @rule()
    def resume(self) -> None:
        self.is_paused = False
        self.within(self.pool.resume)

    @precondition(lambda self: not self.is_over)
    @rule()
    def drain(self) -> None:
        self.is_draining = True
        self.within(self.pool.drain)

    @precondition(lambda self: self.is_draining and not self.is_over and not self.lock.is_broken)
    @rule()
    def undrain(self) -> None:
        self.is_draining = False
        self.within(self.pool.undrain)

    @precondition(lambda self: not self.is_over)
    @rule()
    def abort(self) -> None:
        self.is_draining = True
        for name in self.at_work:
            self.model[name].state = TaskState.PENDING
        self.within(self.pool.abort)
        assert self.running is not None
        assert self.running.done()

    @precondition(lambda self: self.is_over and self.unfinished())
    @rule()
    def run_again(self) -> None:
        self.is_over = self.is_draining = self.lock.is_broken = False
        self.crashes = 0

        async def start() -> asyncio.Task[None]:
            return asyncio.create_task(self.pool.run(self.manager, self.lock, self.runner))

        self.running = self.aio.run(start())
        self.turn()

    def within(self, call: Any) -> None:
        """Call something in the loop, and let it take effect."""

        async def within() -> None:
            call()

        self.aio.run(within())
        self.turn()

    # -- the world ---------------------------------------------------------------------------------------------------
    @rule(number=NUMBERS)
    def another_process_locks(self, number: int) -> None:
        if (name := self.named(number, TaskState.PENDING)) is not None:
            self.lock.refused.add(name)

    @precondition(lambda self: self.lock.refused)
    @rule(number=NUMBERS)
    def another_process_unlocks(self, number: int) -> None:
        self.lock.refused.remove(sorted(self.lock.refused)[number % len(self.lock.refused)])

    @precondition(lambda self: not self.is_over and not self.lock.is_broken)
    @rule()
    def the_lock_folder_is_lost(self) -> None:
        """Whoever wants a lock then ends the run."""
        self.lock.is_broken = True

    @rule(seconds=st.sampled_from([0.1, 0.6, 3.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.turn(seconds)

    @precondition(lambda self: not (self.is_over or self.is_paused or self.is_draining or self.lock.is_broken))
    @rule()
    def nothing_is_held_back_for_ever(self) -> None:
        """Long after the last trouble every worker that could have a task has one; and there is always some worker."""
        self.turn(LONGEST_SKIP_S if self.is_calm() else LONGEST_BACKOFF_S)
        assert self.running is not None
        if self.running.done():
            assert not self.unfinished()
            return
        surplus = sum(int(w.removeprefix("worker-")) >= self.workers for w, _ in self.at_work.values())
        wanted = min(self.workers, len(self.can_run()) - surplus)
        if self.is_calm():
            assert len(self.at_work) - surplus == wanted
        assert bool(self.at_work) == bool(self.can_run())

    def is_calm(self) -> bool:
        """Whether nobody recovers or waits for a server."""
        services = self.runner.services.all.values()
        is_calm = all(health.is_healthy() for health in self.pool.health_states.values())

        async def look() -> bool:
            return is_calm and all(service.is_calm for service in services)

        return self.aio.run(look())

    # -- what holds at any moment ------------------------------------------------------------------------------------
    @invariant()
    def nothing_went_wrong(self) -> None:
        assert self.wrong == []

    @invariant()
    def every_task_is_as_the_model_says(self) -> None:
        if self.running is None:
            return
        for name, model in self.model.items():
            record = self.store.find(name)
            assert record is not None
            assert (record.state, record.attempts, record.crashes) == (model.state, model.attempts, 0), name
        assert self.store.counts().total == len(self.model)

    @invariant()
    def what_runs_is_locked_and_known(self) -> None:
        if self.running is None:
            return
        running = {name for name, model in self.model.items() if model.state is TaskState.RUNNING}
        assert running == set(self.at_work)
        assert running == self.lock.held
        assert running == {row.claim.task.id for row in self.manager.running.values()}

    @invariant()
    def a_run_ends_when_it_should(self) -> None:
        if self.running is None or self.is_over:
            return
        if self.running.done():
            self.is_over = True
            assert not self.at_work
            error = self.running.exception()
            assert error is None or (self.lock.is_broken and isinstance(error, LockError))
            assert error or self.is_draining or not self.unfinished(), "workers left while there was work"
        else:
            assert self.at_work or not self.is_draining, "drained, and it goes on"
            if not self.unfinished() and not self.is_paused:
                assert not self.is_calm(), "all is done, and it goes on"


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=250, stateful_step_count=50, deadline=None)
