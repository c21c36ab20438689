"""The parts of a run: made in the order in which they need each other, closed in the opposite one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.config import Settings
from agentdash.engine.allowance import Allowance
from agentdash.engine.browse import TaskBrowser
from agentdash.engine.credentials import APICredential, load_credentials, require_credentials
from agentdash.engine.events import EventLog
from agentdash.engine.housekeeping import Housekeeping
from agentdash.engine.lastaction import LastAction
from agentdash.engine.locks import TaskLock
from agentdash.engine.log import LOG_NAME, LOGGER, close_log, open_log
from agentdash.engine.manager import TaskStateManager
from agentdash.engine.policy import RetryPolicy
from agentdash.engine.pool import ParallelSessionManager
from agentdash.engine.processors import AnthropicClients, Processor
from agentdash.engine.processors.base import BringsOwnClient, CheckingProcessor, ClosingProcessor
from agentdash.engine.processors.choose import make_processor
from agentdash.engine.rates import RateMeter
from agentdash.engine.reaper import Reaper
from agentdash.engine.rotation import APIRotationState
from agentdash.engine.runner import TaskRunner
from agentdash.engine.stall import StallWatch
from agentdash.engine.status import worker_dict
from agentdash.engine.stopping import Stopping
from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.results_file import ResultsFile
from agentdash.engine.store.sqlite import STATE_DIR
from agentdash.engine.view import RunView
from agentdash.engine.workerfinder import TimedTasks, WorkerFinder, first_workers
from agentdash.model import Event, TaskState
from agentdash.secret import know_environment

_BUSY_LIMIT_S = 600.0
_FIRST_TASKS = 100


class RunParts:
    """What a run consists of, while it is open (`async with`). `Engine` adds what can be asked of it."""

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
        self._woken = asyncio.Event()

    @property
    def project_path(self) -> Path:
        """The project's folder: where exports and saved answers go."""
        return Path(os.path.realpath(self.settings.project))

    @property
    def log_path(self) -> Path:
        """The log of the project."""
        return self.project_path / STATE_DIR / LOG_NAME

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
        rotation = self._make_rotation()
        if isinstance(self._processor, CheckingProcessor):
            await self._processor.check()
        await self._open_project()
        if isinstance(self._processor, ClosingProcessor):
            self._stack.push_async_callback(self._processor.close)
        self._make_run(rotation)
        self._make_shown()

    async def check_tasks(self) -> None:
        """Before the run: raises `UsageError` where the first of the pending tasks cannot be run."""
        if isinstance(self._processor, CheckingProcessor):
            first = self.store.tasks((TaskState.PENDING,), limit=_FIRST_TASKS)
            await self._processor.check_tasks([json.loads(self.store.payload(task.id) or "{}") for task in first])

    def _make_rotation(self) -> APIRotationState | None:
        """The credentials, where the processor needs any: checked before the folder is touched."""
        know_environment(os.environ)
        if not self._processor.needs_credentials:
            return None
        credentials = self._credentials
        if credentials is None:
            loaded = load_credentials(os.environ, self.settings.credentials)
            self.notes = loaded.notes
            credentials = require_credentials(loaded)
        return APIRotationState(credentials, clock=self.clock)

    async def _open_project(self) -> None:
        """What is on the disk: the database, the log, the locks, the results file."""
        settings = self.settings
        self.store = SqliteTaskStore(settings.project, busy_limit_s=_BUSY_LIMIT_S)
        self._stack.push_async_callback(self.store.close)
        self.log_handler = open_log(self.store.path.parent, settings.log_level)
        self._stack.callback(close_log, self.log_handler)
        self.events.listeners.append(_log_event)
        self.lock = TaskLock(
            settings.project, allow_network_filesystem=settings.allow_network_filesystem, clock=self.clock
        )
        self._stack.callback(self.lock.close)
        self.results = ResultsFile(self.store, settings.results_path)
        self._stack.callback(self.results.close)
        await asyncio.to_thread(self.results.check)
        self.browser = TaskBrowser(self.store.path, clock=self.clock)
        self._stack.push_async_callback(self.browser.close)

    def _make_run(self, rotation: APIRotationState | None) -> None:
        """What runs tasks: the queue, the pool, and the runner with its keys."""
        settings, clock = self.settings, self.clock
        is_auto = settings.workers == "auto"
        self.manager = (TimedTasks if is_auto else TaskStateManager)(self.store, clock=clock, limit=settings.limit)
        self._policy = RetryPolicy(max_attempts=settings.max_attempts)
        self.pool = ParallelSessionManager(
            self._first_workers(rotation), clock=clock, policy=self._policy, events=self.events, backoff_base_s=1.0
        )
        self._clients = None
        if rotation is not None and not isinstance(self._processor, BringsOwnClient):
            self._clients = AnthropicClients(
                max_connections=max(64, 2 * settings.most_workers),
                connect_timeout_s=settings.connect_timeout_s,
                clock=clock,
            )
            self._stack.push_async_callback(self._clients.close)
        self.rotation = rotation
        self.runner = TaskRunner(
            self._processor,
            policy=self._policy,
            clock=clock,
            rotation=rotation,
            clients=self._clients,
            health=self.pool.health_states,
            events=self.events,
            lock_timeout_s=settings.timeout_s,
            max_task_cost=settings.max_task_cost,
        )
        if rotation is not None:
            rotation.on_change = self.runner.rotation_changed
        self.allowance = Allowance(
            settings, store=self.store, manager=self.manager, pool=self.pool, events=self.events, clock=clock
        )
        self.pool.admit_by(self.allowance)
        self.runner.on_unpriced = self.allowance.unpriced
        self.worker_finder = (
            WorkerFinder(
                pool=self.pool,
                manager=self.manager,
                runner=self.runner,
                rotation=rotation,
                events=self.events,
                most=settings.most_workers,
                clock=clock,
            )
            if isinstance(self.manager, TimedTasks)
            else None
        )

    def _first_workers(self, rotation: APIRotationState | None) -> int:
        if self.settings.workers != "auto":
            return self.settings.workers
        return first_workers(self.settings.most_workers, len(rotation.credentials) if rotation is not None else 0)

    def _make_shown(self) -> None:
        """What goes on beside the tasks, and what is seen of it all."""
        settings, clock = self.settings, self.clock
        self.housekeeping = Housekeeping(
            store=self.store,
            manager=self.manager,
            lock=self.lock,
            reaper=Reaper(self.store, self.lock, self._policy, owner=self.manager.owner, clock=clock),
            results=self.results,
            rotation=self.rotation,
            pool=self.pool,
            runner=self.runner,
            events=self.events,
            allowance=self.allowance,
            report=self._process_report,
            rate=self._rate,
            stall=StallWatch(
                store=self.store,
                manager=self.manager,
                pool=self.pool,
                rotation=self.rotation,
                events=self.events,
                waiting_for=lambda: str(self._process_report()["waiting_for"]),
                timeout_s=settings.stall_timeout_s,
                clock=clock,
            ),
            clock=clock,
        )
        self._stopping = Stopping(self.pool, settings.drain_timeout_s, clock, on_change=self._woken.set)
        self.pool.on_fault = self.housekeeping.on_fault = self._stopping.drain  # not without an end
        self._last = LastAction(self.manager, self.events, clock)
        self._stack.push_async_callback(self._last.close)
        self._view = RunView(
            project=self.project_path.name,
            store=self.store,
            pool=self.pool,
            manager=self.manager,
            lock=self.lock,
            runner=self.runner,
            rotation=self.rotation,
            events=self.events,
            rate=self._rate,
            housekeeping=self.housekeeping,
            allowance=self.allowance,
            stopping=self._stopping,
            last=self._last,
            clock=clock,
        )

    def _process_report(self) -> Mapping[str, Any]:
        """What other terminals are told of this process, about once a second."""
        snapshot = self._view.snapshot()
        return {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "paused": snapshot.paused,
            "waiting_for": snapshot.waiting_for,
            "limits": self.allowance.report(),
            "tasks_per_s": round(snapshot.tasks_per_s, 3),
            "done_at": snapshot.done_at,
            "keys": [c.fingerprint for c in self.rotation.credentials] if self.rotation is not None else [],
            "workers": [worker_dict(worker, self.clock.monotonic()) for worker in snapshot.workers],
        }


def _log_event(event: Event) -> None:
    LOGGER.info("%s", event.text, extra={"action": event.kind})
