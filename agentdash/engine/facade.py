"""The engine as the command line, the dashboard and a library user see it: every verb is plain data in and out."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentdash.engine.command.attempts import last_output
from agentdash.engine.status import credential_dict, report, worker_dict
from agentdash.engine.stopping import End
from agentdash.engine.taskverbs import TaskVerbs
from agentdash.errors import NoMemoryError
from agentdash.figures import count
from agentdash.model import (
    ErrorGroup,
    Event,
    LockView,
    OutputPart,
    Snapshot,
    TaskDetail,
    TaskQuery,
    TaskState,
    TaskWindow,
)

__all__ = ["End", "Engine"]

_IDLE_TICK_S = 0.5
_LOADS_WITHIN_S = 10.0


class Engine(TaskVerbs):
    """One process's part in a project: open it with `async with`, add tasks, run.

    `processor` and `credentials` replace what the settings name. Opening raises `StoreError`, `LockError`,
    `CredentialsError` or `UsageError`; nothing has run then. It is what the dashboard asks (`agentdash.ui.run.Run`).
    """

    _has_begun = False
    _sdk_is_loaded = False

    # -- the run -----------------------------------------------------------------------------------------------------
    async def run(self, *, stop_when_stalled: bool = True) -> End:
        """Run until nothing is pending or running anywhere but what waits for tasks that failed, or until drained, or
        (if wanted) until it stalls or one of its limits is reached.

        On return every settlement is durable and the results file is complete. Raises what stops all work.
        """
        try:
            return await self._run_once(stop_when_stalled=stop_when_stalled)
        finally:
            self._stopping.reset()

    async def serve(self) -> End:
        """Run, and when all is done wait for tasks (requeued, undone, or another process's) and run again.

        Returns when a drain or an abort was asked for. Never ends because it stalls.
        """
        try:
            while True:
                end = await self._run_once(stop_when_stalled=False)
                await self._wait_for_tasks()
                if self.is_stopping:
                    return end
        finally:
            self._stopping.reset()

    async def _run_once(self, *, stop_when_stalled: bool) -> End:
        self._view.ended = None
        self._has_begun = False
        loading: asyncio.Task[None] | None = None
        try:
            if self.store.counts().open:  # its import is most of a start: beside the rest of it
                loading = asyncio.create_task(self._load_sdk(), name="agentdash-loading")
            await self.housekeeping.start(stop_when_stalled=stop_when_stalled)
            if loading is not None:
                await self._wait_for_sdk(loading)
            # A drain may have come while the SDK was loaded, or a fault of the housekeeping, which `stop` raises.
            if not self.is_stopping and self.housekeeping.is_at_work:
                self._has_begun = True
                await self._run_pool()
        finally:
            self._has_begun = self._view.is_closing = True
            try:
                if loading is not None:
                    loading.cancel()
                    await asyncio.gather(loading, return_exceptions=True)
                await self.housekeeping.stop()
            finally:
                self._view.is_closing = False
        self._view.ended = self._end()
        return self._view.ended

    def _end(self) -> End:
        if self.housekeeping.stall.stalled:
            return End.STALLED
        if self.store.counts().open == 0:
            return End.FINISHED
        return End.LIMITED if self.limit_reached and not self.is_stopping else End.DRAINED

    async def _run_pool(self) -> None:
        if self.worker_finder is None:
            await self.pool.run(self.manager, self.lock, self.runner)
            return
        async with self.worker_finder:
            await self.pool.run(self.manager, self.lock, self.runner)

    async def _load_sdk(self) -> None:
        if self._clients is None or self._sdk_is_loaded:
            return
        self._view.is_loading = True
        try:
            await self._clients.open()
            self._sdk_is_loaded = True
        finally:
            self._view.is_loading = False

    async def _wait_for_sdk(self, loading: asyncio.Task[None]) -> None:
        """Wait until it is loaded. A run that is to end meanwhile waits for a while only: an import that has no memory
        left may never end."""
        while not loading.done() and not self.is_stopping and self.housekeeping.is_at_work:
            await asyncio.wait([loading], timeout=_IDLE_TICK_S)
        if not loading.done():
            await asyncio.wait([loading], timeout=_LOADS_WITHIN_S)
        if loading.done():
            await loading

    async def _wait_for_tasks(self) -> None:
        """Wait until there is something to run, or until the run is to end. What changes meanwhile is written down."""
        version = None
        while not self.is_stopping and (self.manager.limit_is_reached or not self.store.counts().open):
            self._woken.clear()
            if (found := self.store.version()) != version:
                version = found
                await asyncio.to_thread(self.results.sync)
            self.housekeeping.measure()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_TICK_S):
                    await self._woken.wait()

    @property
    def stall_reason(self) -> str | None:
        """Why the run stalled, if it did."""
        return self.housekeeping.stall.stalled

    @property
    def limit_reached(self) -> str:
        """Which limit of this session is reached, in words; empty if none is."""
        return self.allowance.reached

    # -- steering ----------------------------------------------------------------------------------------------------
    def pause(self) -> None:
        """Take no new tasks; what runs goes on."""
        self.allowance.stand()
        self.pool.pause()

    def resume(self) -> None:
        """Take tasks again; a limit that is reached is lifted for this session."""
        self.allowance.stand()
        self.allowance.lift()
        self.pool.resume()

    def interrupt(self) -> int:
        """Pause, and give the running tasks back to pending; returns how many were asked to stop."""
        self.pause()
        number = self.manager.interrupt()
        self.events.emit("interrupted", f"paused, {count(number, 'task')} given back")
        return number

    def resize(self, workers: int) -> None:
        """Have so many workers from now on, also where their number was found by itself."""
        self.pool.resize(workers)
        if self.worker_finder is not None:
            self.worker_finder.take_over(workers)

    def revive(self, worker_id: str | None = None) -> int:
        """Let parked workers (one, or all) try again now."""
        return self.pool.revive(worker_id)

    def rotate(self, name: str | None = None) -> tuple[str, str] | None:
        """Make another key (the named one, or the next) active for new leases: (old, new), None if there is none."""
        moved = self.rotation.rotate_by_hand(name) if self.rotation is not None else None
        if moved is not None:
            old, new = moved
            what = f"active key {old} → {new}, by hand" if old != new else f"{new} stays the active key, by hand"
            self.events.emit("rotated", what)
        return moved

    def drain(self) -> None:
        """Take no new tasks; end when the running ones have ended, at the latest after the drain timeout.

        Before the run it stops `add`, and the run ends as it begins.
        """
        self._stopping.drain()

    def undrain(self) -> bool:
        """Take a drain back; False if the run has ended or was aborted, or there was none."""
        if not self._stopping.can_be_taken_back:
            return False
        if self._has_begun and not (self.housekeeping.is_at_work and self.pool.undrain()):
            return False
        self._stopping.take_back()
        self.events.emit("undrained", "the run goes on after all")
        return True

    def abort(self) -> None:
        """Stop at once; running tasks go back to pending."""
        self._stopping.abort()

    def out_of_memory(self) -> None:
        """Memory ran out somewhere: stop at once; the run raises `NoMemoryError`."""
        self.pool.fail(NoMemoryError())

    # -- what is shown -----------------------------------------------------------------------------------------------
    def snapshot(self) -> Snapshot:
        """The whole run at this moment, frozen. Made from memory and small reads: cheap enough for a few a second."""
        return self._view.snapshot()

    def events_since(self, seq: int) -> list[Event]:
        """The events after a sequence number."""
        return self.events.since(seq)

    def output_since(self, task_id: str, position: int) -> OutputPart | None:
        """What a task that runs in this process has written since; None if it does not run here."""
        return self.runner.outputs.since(task_id, position)

    def waiting_for(self) -> str:
        """Why workers wait, in a few words; empty if they do not."""
        return self._view.waiting(self.store.counts())[0]

    def held(self) -> str:
        """How many tasks are held, and by which that failed or were cancelled, in words; empty if none is."""
        return self._view.held(self.store.counts())

    def status(self) -> dict[str, Any]:
        """The object of `status --json`, of this process."""
        snapshot, now = self.snapshot(), self.clock.now()
        eta = max(0.0, snapshot.done_at - now) if snapshot.done_at is not None else None
        return report(
            snapshot.counts,
            snapshot.totals,
            paused=snapshot.paused,
            tasks_per_s=snapshot.tasks_per_s,
            eta_s=eta if snapshot.counts.open else 0.0,
            workers=[worker_dict(worker, self.clock.monotonic()) for worker in snapshot.workers],
            credentials=[credential_dict(credential, now) for credential in snapshot.credentials],
            locks=snapshot.locks,
            limits=self.allowance.report(),
            now=now,
        )

    async def list_tasks(self, query: TaskQuery, start: int, count: int) -> TaskWindow:
        """The rows `start` … of the answer; a search goes on in the background while `searched` is below 1."""
        return await self.browser.list_tasks(query, start, count)

    async def task_detail(self, task_id: str) -> TaskDetail | None:
        """Everything about one task."""
        detail = await self.browser.task_detail(task_id)
        if detail is None or not detail.history or detail.row.state is TaskState.SUCCEEDED:
            return detail
        attempts = [attempt.fence for attempt in detail.history]
        kept = await asyncio.to_thread(last_output, self.store.path.parent / "attempts", task_id, attempts)
        return replace(detail, kept=kept)

    async def error_groups(self) -> tuple[ErrorGroup, ...]:
        """The failed tasks by kind of error, the largest group first."""
        return await self.browser.error_groups()

    async def export_group(self, group: ErrorGroup, path: Path) -> int:
        """Write the results lines of a group's tasks to a new file; returns how many."""
        return await self.browser.export_group(group, path)

    async def list_locks(self) -> tuple[LockView, ...]:
        """The lock files of the project: this process's, other processes' ("foreign"), and stale ones."""
        found = await asyncio.to_thread(self.lock.views, self.clock.now())
        own = os.getpid()
        return tuple(replace(v, state="foreign") if v.state == "held" and v.pid != own else v for v in found)

    async def clean_locks(self) -> int:
        """Remove the lock files that nobody holds; returns how many."""
        number = await asyncio.to_thread(self.lock.clean_all_stale_locks, 0)
        if number:
            self.events.emit("cleaned", "1 stale lock removed" if number == 1 else f"{number:,} stale locks removed")
        return number
