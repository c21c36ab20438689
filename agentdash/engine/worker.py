"""A worker's loop: one task's way from claim to settle, on one page. Every run, in every form, goes through here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from agentdash.engine.manager import TaskStateManager
from agentdash.engine.policy import NOTHING_SPENT
from agentdash.engine.processors.function import FunctionProcessor, TaskFunction
from agentdash.engine.resources import Lock, release_all, take_all
from agentdash.engine.runner import AttemptStoppedError, TaskRunner
from agentdash.engine.store import Claim, Settlement

Gate = Callable[[], Awaitable[bool]]
"""Waited for before each task: pause, backoff, recovery. False ends the worker."""


class AttemptRunner(Protocol):
    """Does one attempt at a task and says how it ends; raises only what stops the worker."""

    @property
    def lock_timeout_s(self) -> float:
        """The task's time budget, written into its lock."""
        ...

    async def attempt(self, claim: Claim) -> Settlement:
        """Run the task once."""
        ...


async def work_stealing_loop(
    worker_id: str,
    task_manager: TaskStateManager,
    task_lock: Lock,
    processor: AttemptRunner | TaskFunction,
    *,
    gate: Gate | None = None,
) -> None:
    """Take the next task nobody holds, by priority, then age, until nothing is pending or running anywhere.

    `processor` is the engine's runner or a plain function `f(task, worker_id)`. A task that is locked elsewhere, or
    needs a resource that is, is passed over. Raises `LockError` and `StoreError` when locking or writing fails: then
    nothing more may be claimed.
    """
    runner = TaskRunner(FunctionProcessor(processor)) if callable(processor) else processor
    if gate is None and isinstance(runner, TaskRunner):  # by itself, without a pool: a server that is down is spared
        gate = partial(runner.wait_for_service, worker_id)
    while gate is None or await gate():
        task = task_manager.get_next_pending_task()
        if task is None:
            if not await task_manager.wait_for_work():
                return
            continue
        # The lock comes first: a row that says running while its lock is free has lost its owner.
        try:
            busy = take_all(task_lock, task, worker_id, runner.lock_timeout_s)
        except BaseException:
            task_manager.hand_back(task)  # for this worker begun again, or the next run
            raise
        if busy is not None:
            task_manager.skip(task, busy)
            continue
        try:
            claim = await task_manager.claim(task, worker_id)
            if claim is not None:
                await _run_claimed(task_manager, runner, claim)
        finally:
            release_all(task_lock, task, worker_id)
            task_manager.released(task)


async def _run_claimed(task_manager: TaskStateManager, runner: AttemptRunner, claim: Claim) -> None:
    running = task_manager.running[claim.task.seq]
    running.runner = this = asyncio.current_task()
    stopped_worker = False
    try:
        settlement = await runner.attempt(claim)
    except asyncio.CancelledError as error:
        # Either this task shall stop (`running.stop` says why) or the whole worker.
        stopped_worker = running.stop is None
        if running.stop is not None and this is not None:
            this.uncancel()
        if running.stop == "compromised":
            task_manager.forget(claim)
            return
        spent = error.spent if isinstance(error, AttemptStoppedError) else NOTHING_SPENT
        settlement = task_manager.settlement_for_stop(claim, running.stop, spent)
    except Exception:
        # A fault of ours ends the worker, never its task: a row that says running would be waited for without end.
        await task_manager.settle(claim, task_manager.settlement_for_stop(claim, "crashed"))
        raise
    else:
        if running.stop is not None and this is not None and this.cancelling():
            this.uncancel()  # the processor would not be stopped
    finally:
        running.runner = None
    # Being cancelled while this is written does not lose the answer that was paid for.
    if await task_manager.settle(claim, settlement):
        if running.stop is None:
            stopped_worker = True
        elif this is not None:
            this.uncancel()  # it was meant for the task, which had ended by then
    if stopped_worker:
        raise asyncio.CancelledError
