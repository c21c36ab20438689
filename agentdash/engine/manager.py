"""Hands out tasks in order: a small window over the store, shared by all workers of a process."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Container, Iterable, Mapping
from typing import Any

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.passedover import PassedOver
from agentdash.engine.policy import NOTHING_SPENT, cancelled, interrupted, settled_by_hand
from agentdash.engine.resources import resource_of
from agentdash.engine.running import Running
from agentdash.engine.sessionlimit import SessionLimit
from agentdash.engine.store import Claim, MemoryTaskStore, Settlement, SqliteTaskStore, claimed
from agentdash.engine.waiters import Waiters
from agentdash.engine.waiting import until_done
from agentdash.engine.window import MAX_AGE_S, Window
from agentdash.errors import TransitionError
from agentdash.model import FINISHED_STATES, Spent, Task, TaskState

LocalStore = SqliteTaskStore | MemoryTaskStore


class TaskStateManager:
    """The queue as workers see it: the next pending task by priority, then age; claims and settlements go through it.

    `store` is a store, a project folder, or None for one in memory. Tasks that are locked elsewhere are passed over for
    a while that grows, so nobody spins on them, and so are all that need a resource which a running task holds. A task
    that waits for others is not handed out before they have succeeded. `limit`: how many tasks to begin at all, 0 for
    no limit.
    """

    def __init__(
        self,
        store: LocalStore | str | os.PathLike[str] | None = None,
        *,
        owner: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
        limit: int = 0,
    ) -> None:
        if store is None:
            store = MemoryTaskStore()
        elif isinstance(store, str | os.PathLike):
            store = SqliteTaskStore(store)
        self.store: LocalStore = store
        self.owner = owner or f"{os.getpid()}-{secrets.token_hex(4)}"
        self.running: dict[int, Running] = {}
        self.progress = 0
        """Grows with every settlement: how the stall watch sees that something moves."""
        self._clock = clock
        self._limit = SessionLimit(limit, self.store.load)
        self._handed: set[int] = set()
        self._by_hand: dict[int, Claim] = {}
        self._passed = PassedOver()
        self._window = Window(store, self._passed, self._limit, clock)
        self._waiters = Waiters()
        self._interrupts = 0

    # -- the public pattern ------------------------------------------------------------------------------------------
    def get_next_pending_task(self) -> Task | None:
        """The next task to try, None if there is none right now. Each is handed to one worker only."""
        now, window = self._clock.now(), self._window
        while True:
            if not window.ready or not 0.0 <= now - window.filled_at <= MAX_AGE_S:
                window.fill(now, self._handed)
            if not window.ready:
                return None
            ready = window.ready.popleft()
            if self._passed.needs_busy(ready, now):
                continue
            task = self.store.load(ready.seq)
            if task is not None and task.state is TaskState.PENDING and task.fence == ready.fence:
                self._handed.add(task.seq)
                self._passed.take(task)
                return task

    def get_task(self, task_id: str) -> Task | None:
        """The task as it is now, None if there is no such task."""
        record = self.store.find(task_id)
        return None if record is None else self.store.load(record.seq)

    def update_task(
        self,
        task_id: str,
        *,
        is_started: bool | None = None,
        is_complete: bool | None = None,
        error_message: str | None = None,
        attempts: int | None = None,
    ) -> bool:
        """Change a task by hand: the plain form of claim and settle, for code without an event loop.

        `is_started=True` claims it. `is_complete=True` ends it: succeeded, or failed if there is an `error_message`.
        A claim by hand holds no lock: `TaskLock` is there for that, and a run on the same project takes a claim without
        one for a dead owner's. `is_started=False` gives it back to pending. An `error_message` alone means failed.
        Returns whether the change was made (False: somebody else holds the task). Raises `KeyError` for an unknown id
        and `TransitionError` for a change that is not possible.
        """
        task = self.get_task(task_id)
        if task is None:
            raise KeyError(task_id)
        now = self._clock.now()
        ends = bool(is_complete) or error_message is not None
        gives_back = is_started is False and not is_complete
        if is_started or (ends and task.state is TaskState.PENDING):
            if task.state in FINISHED_STATES:
                raise TransitionError(f"task {task_id!r} is {task.state}: requeue it first")
            if not self.store.claim_and_wait(task, self.owner, "worker-0", now):
                self._passed.free(task.seq)
                return False
            self._by_hand[task.seq] = claimed(task, self.owner, "worker-0", now)
            self._begin(task.seq)
            self._handed.discard(task.seq)
            task = self._by_hand[task.seq].task
        if not (ends or gives_back):
            return bool(is_started)
        if task.state is not TaskState.RUNNING:
            raise TransitionError(f"task {task_id!r} is {task.state}, not running")
        claim = self._by_hand.pop(task.seq, None)
        if claim is None and task.seq in self.running:
            claim = self.running[task.seq].claim
        if claim is None:
            return False
        settled = self.store.settle_and_wait(
            claim, settled_by_hand(claim.task, now, error_message, attempts, back=gives_back)
        )
        self._passed.free(task.seq)
        self.notify()
        return settled

    # -- for workers -------------------------------------------------------------------------------------------------
    def add_tasks(self, tasks: Iterable[Mapping[str, Any]]) -> list[Task]:
        """Add tasks given as dicts to a store in memory; those without an `id` get one by position."""
        if not isinstance(self.store, MemoryTaskStore):
            raise TypeError("a project takes its tasks from files: use Engine.add")
        added: list[Task] = []
        for task in tasks:
            position = self.store.counts().total
            name = str(task["id"]) if task.get("id") is not None else f"task-{position}"
            while self.store.find(name) is not None:
                name = f"{name}-{position}"
            added.append(self.store.add_payload(name, task, priority=int(task.get("priority") or 0)))
        self.notify()
        return added

    async def claim(self, task: Task, worker_id: str) -> Claim | None:
        """pending → running for this worker; None if the task changed in between, or all were interrupted."""
        now, interrupts = self._clock.now(), self._interrupts
        try:
            granted, was_cancelled = await until_done(self.store.claim(task, self.owner, worker_id, now))
        except BaseException:
            self.hand_back(task)
            raise
        if not granted:
            self._handed.discard(task.seq)
            claim = None
        else:
            claim = claimed(task, self.owner, worker_id, now)
            self._begin(task.seq)
            self.running[task.seq] = Running(claim)
        if claim is not None and (was_cancelled or interrupts != self._interrupts):
            was_cancelled |= await self.settle(claim, interrupted(claim, now))
            claim = None
        if was_cancelled:
            raise asyncio.CancelledError
        return claim

    async def settle(self, claim: Claim, settlement: Settlement) -> bool:
        """End a claim; returns, when that is durable, whether a cancellation came meanwhile (the caller raises it)."""
        try:
            _, was_cancelled = await until_done(self.store.settle(claim, settlement))
        finally:
            self._settled(claim, settlement)
        return was_cancelled

    def forget(self, claim: Claim) -> None:
        """Let go of a claim that has ended, or whose lock was lost: then it is not ours to settle any more. A newer one
        that another worker here has on the same task stays."""
        seq = claim.task.seq
        running = self.running.get(seq)
        if running is None or running.claim.task.fence == claim.task.fence:
            self.running.pop(seq, None)
            self._handed.discard(seq)

    def skip(self, task: Task, busy: str | None = None) -> None:
        """The task is locked by somebody: pass over it for a while that grows. If `busy` is the lock of a resource,
        pass over all that need it, for a moment."""
        self._handed.discard(task.seq)
        self._passed.free(task.seq)
        resource = resource_of(busy) if busy not in (None, task.id) else None
        self._passed.skip(task, resource, self._clock.now())

    def hand_back(self, task: Task) -> None:
        """A task that was taken from the window and not tried after all."""
        self._handed.discard(task.seq)
        self._passed.free(task.seq)
        self.notify()

    def released(self, task: Task) -> None:
        """The locks of a task that was handed out are free again: another that needs one of them may begin."""
        if self._passed.free(task.seq):
            self._window.expire()
            self._waiters.wake_one(is_work=True)

    def request_stop(self, seq: int, reason: str) -> bool:
        """Ask the worker of a running task to stop it; returns whether this process runs it."""
        running = self.running.get(seq)
        return running is not None and running.request_stop(reason)

    def interrupt(self) -> int:
        """Give the running tasks of this process back to pending, and those that are just being claimed.

        Returns how many were asked to stop.
        """
        self._interrupts += 1
        return sum(self.request_stop(seq, "interrupted") for seq in list(self.running))

    def withdraw_cancel(self, ids: Container[str]) -> None:
        """Let tasks that are just being stopped because of a cancellation go back to pending instead."""
        for running in self.running.values():
            if running.stop == "cancel" and running.claim.task.id in ids:
                running.stop = "interrupted"

    def settlement_for_stop(self, claim: Claim, reason: str | None, spent: Spent = NOTHING_SPENT) -> Settlement:
        """How a task ends that was stopped after its attempt had used up so much."""
        now = self._clock.now()
        if reason == "cancel":
            return cancelled(claim, now, spent)
        return interrupted(claim, now, reason or "interrupted", spent)

    async def wait_for_work(self) -> bool:
        """Wait until there may be something to do; False when nothing is pending or running anywhere but what waits for
        tasks that failed (or all that the limit allows has ended)."""
        while self.store.counts().open and not self._limit.is_done():
            told = await self._waiters.wait(self._window.longest_wait())
            if told is None:
                self._window.look_again()
            if told is not False:
                return True
        self._waiters.wake_all(is_work=False)  # only one is told of a task that has ended
        return False

    def locked_elsewhere(self) -> int:
        """How many tasks are passed over for now because somebody else holds their lock."""
        return self._passed.tasks(self._clock.now())

    def busy_resources(self) -> list[str]:
        """The resources that running tasks hold, of this process and, as far as was tried, of others."""
        return sorted(self._passed.busy(self._clock.now()))

    @property
    def found_nothing(self) -> bool:
        """Whether the last look at the store found nothing that may be begun now."""
        return self._window.found_nothing

    @property
    def handed(self) -> int:
        """How many tasks this process has begun, or is about to begin, and not ended."""
        return len(self._handed)

    @property
    def limit_is_reached(self) -> bool:
        """Whether as many tasks were begun as the limit allows."""
        return self._limit.is_reached

    def notify(self) -> None:
        """There may be work (requeue, new tasks, one that is given back): everybody looks again."""
        self._window.look_again()
        self._waiters.wake_all()

    def reorder(self) -> None:
        """Priorities have changed: what was read ahead is in the old order."""
        self._window.clear()
        self.notify()

    # -- inside ------------------------------------------------------------------------------------------------------
    def _begin(self, seq: int) -> None:
        """A task that was handed out is claimed: what locks are met from now on is another story."""
        self._passed.met(seq)
        self._limit.begin(seq)

    def _settled(self, claim: Claim, settlement: Settlement) -> None:
        self.forget(claim)
        self.progress += 1
        if settlement.state is TaskState.PENDING:
            self.notify()
            return
        self._limit.finish(claim.task.seq)
        is_idle = self._waiters or self._window.look_again_at > self._clock.now()
        if is_idle and self.store.has_dependents(claim.task.seq):
            self.notify()  # what waited for it may begin
        else:
            self._waiters.wake_one()
