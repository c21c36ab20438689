"""One run from the command line: signals, adding, progress, the end and its exit code.

The exit code tells how the project stands: 3 if any of its tasks has failed, also in an earlier session. Cancelled
tasks are what somebody wanted and count as fine. With `--limit` the same holds for what has finished so far.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from agentdash.cli.output import count, say_json, tell
from agentdash.cli.progress import Progress
from agentdash.cli.stdin import interruptible_stdin
from agentdash.engine.facade import End, Engine
from agentdash.errors import ExitCode, InterruptedRunError, UsageError
from agentdash.text import clean

_FORCE_AFTER_S = 2.0


async def run_session(
    engine: Engine,
    sources: Sequence[str],
    *,
    skip_bad: bool = False,
    as_json: bool = False,
    resume: str | None = "agentdash run",
) -> int:
    """Add the tasks, run the project to its end, tell on stderr; returns the exit code.

    `resume` is the command that goes on after an interruption; None for a project that is not kept.
    """
    with _Signals() as signals:
        async with engine:
            signals.attach(engine)
            for note in engine.notes:
                tell(f"Warning: {clean(note)}")
            await _add(engine, sources, skip_bad=skip_bad)
            async with Progress(engine) as progress:
                signals.tell = progress.print
                end = await engine.run(stop_when_stalled=True)
            signals.tell = tell
            status = engine.status()
            code = _exit_code(end, status, interrupted=signals.received > 0)
            progress.summary(status, code, engine.stall_reason)
            if resume is not None:
                progress.next_steps(status, resume)
    if as_json:
        say_json(status)
    return int(code)


async def _add(engine: Engine, sources: Sequence[str], *, skip_bad: bool) -> None:
    if sources:
        stdin = interruptible_stdin(lambda: engine.is_stopping) if "-" in sources else None
        seen = engine.events.seq
        report = await engine.add(sources, stdin=stdin, skip_bad=skip_bad)
        skipped = [event for event in engine.events_since(seq=seen) if event.kind == "skipped"]
        for event in skipped:
            tell(f"Skipped: {clean(event.text)}")
        known = f", {report.known:,} known already" if report.known else ""
        tell(f"{count(report.added, 'task')} added{known}.")
    if engine.store.counts().total == 0:
        raise no_tasks_error()


def no_tasks_error() -> UsageError:
    """Neither files nor a project with tasks."""
    return UsageError(
        "There are no tasks: no file was given, and the project holds none.",
        hint="Name a task file, as in `agentdash run tasks.jsonl`, or `-` for standard input.",
    )


def _exit_code(end: End, status: dict[str, Any], *, interrupted: bool) -> ExitCode:
    if end is End.STALLED:
        return ExitCode.STALLED
    if end is End.DRAINED and interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED_TASKS if status["failed"] else ExitCode.OK


class _Signals:
    """SIGINT, SIGTERM and SIGHUP drain; a second SIGINT stops at once; a third, when that does not help, leaves."""

    def __init__(self) -> None:
        self.received = 0
        self.tell = tell
        self._engine: Engine | None = None
        self._aborted_at: float | None = None
        self._restore: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) is signal.SIG_IGN:  # nohup: the user wants it ignored
                continue
            try:
                loop.add_signal_handler(number, self._receive, number)
            except NotImplementedError:  # Windows
                before = signal.signal(number, lambda n, _: loop.call_soon_threadsafe(self._receive, n))
                self._restore.append(partial(signal.signal, number, before))
            else:
                self._restore.append(partial(loop.remove_signal_handler, number))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for restore in self._restore:
            restore()

    def attach(self, engine: Engine) -> None:
        """The engine is open. Raises `InterruptedRunError` if a signal came before."""
        self._engine = engine
        if self.received:
            raise InterruptedRunError("Stopped before anything was done.")

    def _receive(self, number: int) -> None:
        self.received += 1
        if self._engine is None:
            return
        if self.received == 1:
            self.tell("Stopping: running tasks may finish. Press Ctrl+C again to stop at once.")
            self._engine.drain()
        elif number != signal.SIGINT:
            return
        elif self._aborted_at is None:
            self.tell("Stopping at once: running tasks go back to pending.")
            self._aborted_at = time.monotonic()
            self._engine.abort()
        elif time.monotonic() - self._aborted_at > _FORCE_AFTER_S:
            # A function in a thread cannot be stopped. Its task's lock ends with us, and the next run takes it back.
            self.tell("Leaving.")
            sys.stdout.flush()
            os._exit(int(ExitCode.INTERRUPTED))
