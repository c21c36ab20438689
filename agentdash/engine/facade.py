"""The engine as the command line, the dashboard and a library user see it: every verb is plain data in and out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from types import TracebackType
from typing import BinaryIO, Self

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.config import Settings
from agentdash.engine.credentials import APICredential, load_credentials, require_credentials
from agentdash.engine.events import Event, EventLog
from agentdash.engine.housekeeping import Housekeeping
from agentdash.engine.intake import BadLines, read_tasks, source_stamp
from agentdash.engine.locks import TaskLock
from agentdash.engine.log import LOGGER, close_log, open_log
from agentdash.engine.manager import TaskStateManager
from agentdash.engine.policy import RetryPolicy
from agentdash.engine.pool import ParallelSessionManager
from agentdash.engine.processors import AnthropicClients, Processor, make_processor
from agentdash.engine.rates import RateMeter
from agentdash.engine.reaper import Reaper
from agentdash.engine.rotation import APIRotationState
from agentdash.engine.runner import TaskRunner
from agentdash.engine.status import credential_dict, report, worker_dict
from agentdash.engine.store import AddReport, SqliteTaskStore
from agentdash.engine.store.results_file import ResultsFile
from agentdash.errors import InterruptedRunError
from agentdash.model import Snapshot, TaskSpec

_BUSY_LIMIT_S = 600.0
_LOCKS_SHOWN = 1000


class End(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    DRAINED = "drained"
    STALLED = "stalled"


class Engine:
    """One process's part in a project: open it with `async with`, add tasks, run.

    `processor` and `credentials` replace what the settings name. Opening raises `StoreError`, `LockError`,
    `CredentialsError` or `UsageError`; nothing has run then.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        processor: Processor | None = None,
        credentials: Sequence[APICredential] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.events = EventLog(clock)
        self.notes: tuple[str, ...] = ()
        self._stack = contextlib.AsyncExitStack()
        self._processor = processor or make_processor(settings)
        self._credentials = credentials
        self._rate = RateMeter()
        self._started_at = clock.now()
        self._draining: asyncio.Task[None] | None = None
        self._is_stopping = False

    # -- opening and closing -----------------------------------------------------------------------------------------
    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _open(self) -> None:
        settings, clock = self.settings, self.clock
        rotation = self._make_rotation()
        self.store = SqliteTaskStore(settings.project, busy_limit_s=_BUSY_LIMIT_S)
        self._stack.push_async_callback(self.store.close)
        self.log_handler = open_log(self.store.path.parent, settings.log_level)
        self._stack.callback(close_log, self.log_handler)
        self.events.listeners.append(_log_event)
        self.lock = TaskLock(settings.project, allow_network_filesystem=settings.allow_network_filesystem, clock=clock)
        self._stack.callback(self.lock.close)
        self.results = ResultsFile(self.store, settings.results_path)
        self._stack.callback(self.results.close)
        await asyncio.to_thread(self.results.check)
        self.manager = TaskStateManager(self.store, clock=clock, limit=settings.limit)
        policy = RetryPolicy(max_attempts=settings.max_attempts)
        self.pool = ParallelSessionManager(
            settings.workers, clock=clock, policy=policy, events=self.events, backoff_base_s=1.0
        )
        clients = None
        if rotation is not None:
            clients = AnthropicClients(
                max_connections=max(64, 2 * settings.workers),
                connect_timeout_s=settings.connect_timeout_s,
                clock=clock,
            )
            self._stack.push_async_callback(clients.close)
        self.rotation = rotation
        self.runner = TaskRunner(
            self._processor,
            policy=policy,
            clock=clock,
            rotation=rotation,
            clients=clients,
            health=self.pool.health_states,
            events=self.events,
            lock_timeout_s=settings.timeout_s,
        )
        if rotation is not None:
            rotation.on_change = self.runner.rotation_changed
        self._clients = clients
        self.housekeeping = Housekeeping(
            store=self.store,
            manager=self.manager,
            lock=self.lock,
            reaper=Reaper(self.store, self.lock, policy, owner=self.manager.owner, clock=clock),
            results=self.results,
            rotation=rotation,
            pool=self.pool,
            runner=self.runner,
            events=self.events,
            report=self._process_report,
            rate=self._rate,
            stall_timeout_s=settings.stall_timeout_s,
            clock=clock,
        )

    def _make_rotation(self) -> APIRotationState | None:
        """The credentials, where the processor needs any: checked before the folder is touched."""
        if not self._processor.needs_credentials:
            return None
        credentials = self._credentials
        if credentials is None:
            loaded = load_credentials(os.environ, self.settings.credentials)
            self.notes = loaded.notes
            credentials = require_credentials(loaded)
        return APIRotationState(credentials, clock=self.clock)

    # -- tasks -------------------------------------------------------------------------------------------------------
    async def add(self, sources: Sequence[str], *, stdin: BinaryIO | None = None, skip_bad: bool = False) -> AddReport:
        """Add the tasks of files (`-` is standard input): all or nothing, unless the bad ones are to be skipped.

        A file that was added whole before and has not changed since is not read again. Raises `BadInputError`.
        """
        stamps = {source: stamp for source in sources if (stamp := source_stamp(source)) is not None}
        fresh = [s for s in sources if s not in stamps or self.store.source(_source_key(s)) != stamps[s]]
        if not fresh:
            return AddReport(0, 0)
        bad = BadLines()
        specs = read_tasks(fresh, stdin=stdin or sys.stdin.buffer if "-" in fresh else None, bad=bad)
        remembered = {_source_key(s): stamps[s] for s in fresh if s in stamps and not skip_bad}
        added = await self.store.add(self._all_or_nothing(specs, bad, skip_bad), remembered, skip_conflicts=skip_bad)
        for line in (*(str(line) for line in bad.first), *added.conflict_lines):
            self.events.emit("skipped", line)
        self.manager.notify()
        return added

    def _all_or_nothing(self, specs: Iterator[TaskSpec], bad: BadLines, skip_bad: bool) -> Iterator[TaskSpec]:
        """Pass the tasks on; at the end raise if there were bad lines, so that the store takes everything back."""
        for spec in specs:
            if self._is_stopping:
                raise InterruptedRunError("Stopped while the tasks were read; none was added.")
            yield spec
        if bad.count and not skip_bad:
            raise bad.error()

    @property
    def is_stopping(self) -> bool:
        """Whether a drain or an abort was asked for."""
        return self._is_stopping

    async def requeue(self, ids: Sequence[str] | None = None, *, error_contains: str | None = None) -> int:
        """failed or cancelled → pending; all failed ones if no ids are given. Returns how many."""
        number = await self.store.requeue(ids, error_contains=error_contains)
        self.manager.notify()
        if number:
            self.events.emit("requeued", f"{number} requeued")
        return number

    async def cancel(self, ids: Sequence[str]) -> tuple[int, int]:
        """Cancel tasks: (cancelled at once, running ones that were asked to stop)."""
        done = await self.store.cancel(ids, self.clock.now())
        self.housekeeping.stop_cancelled()
        self.manager.notify()
        return done

    # -- the run -----------------------------------------------------------------------------------------------------
    async def run(self, *, stop_when_stalled: bool = True) -> End:
        """Run until nothing is pending or running anywhere, or until drained or (if wanted) stalled.

        On return every settlement is durable and the results file is complete. Raises what stops all work.
        """
        try:
            opening = [self.housekeeping.start(stop_when_stalled=stop_when_stalled)]
            if self._clients is not None and self.store.counts().unfinished:
                opening.append(self._clients.open())  # the SDK's import is most of a start: beside the rest of it
            await asyncio.gather(*opening)
            if not self._is_stopping:  # a drain that came while the SDK was loaded
                await self.pool.run(self.manager, self.lock, self.runner)
        finally:
            self._is_stopping = False
            await self.housekeeping.stop()
            if self._draining is not None:
                self._draining.cancel()
                await asyncio.gather(self._draining, return_exceptions=True)
        if self.housekeeping.stalled:
            return End.STALLED
        return End.FINISHED if self.store.counts().unfinished == 0 else End.DRAINED

    @property
    def stall_reason(self) -> str | None:
        """Why the run stalled, if it did."""
        return self.housekeeping.stalled

    def pause(self) -> None:
        """Take no new tasks; what runs goes on."""
        self.pool.pause()

    def resume(self) -> None:
        """Take tasks again."""
        self.pool.resume()

    def resize(self, workers: int) -> None:
        """Have so many workers from now on."""
        self.pool.resize(workers)

    def revive(self, worker_id: str | None = None) -> int:
        """Let parked workers (one, or all) try again now."""
        return self.pool.revive(worker_id)

    def rotate(self, name: str | None = None) -> tuple[str, str] | None:
        """Make another key (the named one, or the next) active for new leases: (old, new), None if there is none."""
        moved = self.rotation.rotate_by_hand(name) if self.rotation is not None else None
        if moved is not None:
            self.events.emit("rotated", f"active key {moved[0]} → {moved[1]}, by hand")
        return moved

    def drain(self) -> None:
        """Take no new tasks; end when the running ones have ended, at the latest after the drain timeout.

        Before the run it stops `add`, and the run ends as it begins.
        """
        self._is_stopping = True
        self.pool.drain()
        if self._draining is None:
            self._draining = asyncio.create_task(self._abort_after_drain(), name="agentdash-drain")

    def abort(self) -> None:
        """Stop at once; running tasks go back to pending."""
        self._is_stopping = True
        self.pool.abort()

    async def _abort_after_drain(self) -> None:
        await self.clock.sleep(self.settings.drain_timeout_s)
        self.pool.abort()

    # -- what is shown -----------------------------------------------------------------------------------------------
    def snapshot(self) -> Snapshot:
        """The whole run at this moment, frozen. Made from memory and small reads: cheap enough for a few a second."""
        counts = self.store.counts()
        pool = self.pool
        status = "stalled" if self.housekeeping.stalled or self.housekeeping.is_stalling else "running"
        status = "paused" if pool.is_paused else status
        status = "draining" if pool.is_draining else status
        now = self.clock.now()
        held = [lock.view(now) for lock in list(self.lock.held().values())[:_LOCKS_SHOWN]]
        return Snapshot(
            status,
            self._started_at,
            counts,
            self.store.totals(),
            pool.is_paused,
            self.waiting_for(),
            pool.views(),
            self.rotation.views() if self.rotation is not None else (),
            tuple(held),
            self._rate.per_second,
            self.events.seq,
        )

    def events_since(self, seq: int) -> list[Event]:
        """The events after a sequence number."""
        return self.events.since(seq)

    def waiting_for(self) -> str:
        """Why workers wait, in a few words; empty if they do not."""
        if self.pool.is_paused:
            return "paused"
        held = self.runner.hold_until("(shown)")
        return held[1] if held is not None else ""

    def status(self) -> dict[str, object]:
        """The object of `status --json`, of this process."""
        snapshot = self.snapshot()
        return report(
            snapshot.counts,
            snapshot.totals,
            paused=snapshot.paused,
            tasks_per_s=snapshot.tasks_per_s,
            eta_s=self._rate.eta_s(snapshot.counts.unfinished),
            workers=[worker_dict(worker, self.clock.monotonic()) for worker in snapshot.workers],
            credentials=[credential_dict(credential, self.clock.now()) for credential in snapshot.credentials],
            locks=snapshot.locks,
            now=self.clock.now(),
        )

    def _process_report(self) -> dict[str, object]:
        return {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "paused": self.pool.is_paused,
            "waiting_for": self.waiting_for(),
            "tasks_per_s": round(self._rate.per_second, 3),
            "workers": [worker_dict(worker, self.clock.monotonic()) for worker in self.pool.views()],
        }


def _source_key(source: str) -> str:
    return os.path.abspath(source)


def _log_event(event: Event) -> None:
    LOGGER.info("%s", event.text, extra={"action": event.kind})
