"""One run from the command line: signals, adding, progress, the end and its exit code.

The exit code tells how the project stands: 3 if any of its tasks has failed, also in an earlier session, or waits for
one that failed or was cancelled. Cancelled tasks are what somebody wanted and count as fine. With `--limit` the same
holds for what has finished so far.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from agentdash.cli.output import count, say_json, tell
from agentdash.cli.progress import Progress
from agentdash.cli.stdin import interruptible_stdin
from agentdash.engine.facade import End, Engine
from agentdash.errors import ExitCode, InterruptedRunError, UsageError
from agentdash.loopguard import guard_loop, quiet_libraries
from agentdash.text import clean

if TYPE_CHECKING:
    from agentdash.cli.dashboard import Dashboard

_FORCE_AFTER_S = 2.0
_STOPS_WITHIN_S = 10.0
"""A run that has to stop for want of memory, and has not after so long, never will."""


async def run_session(
    engine: Engine,
    sources: Sequence[str],
    *,
    skip_bad: bool = False,
    as_json: bool = False,
    headless: bool = True,
    resume: str | None = "agentdash run",
) -> int:
    """Add the tasks, run the project to its end in the dashboard or by plain lines; returns the exit code.

    `resume` is the command that goes on after an interruption; None for a project that is not kept.
    """
    dashboard = None if headless else _dashboard(engine)  # before anything is changed: it may refuse what it is told
    with quiet_libraries(leave_soon), _Signals() as signals:
        guard_loop(
            asyncio.get_running_loop(),
            lambda fault: signals.tell(f"Fault, see agentdash.log: {fault}"),
            on_no_memory=partial(stop_without_memory, engine),
        )
        async with engine:
            signals.attach(engine)
            for note in engine.notes:
                tell(f"Warning: {clean(note)}")
            await _add(engine, sources, skip_bad=skip_bad)
            await engine.check_tasks()
            progress = Progress(engine)
            if dashboard is None:
                collect_garbage_again()
                async with progress:
                    signals.tell = progress.print
                    end = await engine.run(stop_when_stalled=True)
                signals.tell = tell
            else:
                end = await _show(dashboard, signals)
            status = engine.status()
            code = _exit_code(end, status, interrupted=_was_interrupted(dashboard, signals))
            reason = engine.stall_reason or engine.limit_reached
            if dashboard is not None and dashboard.stall_reason is not None:
                code, reason = ExitCode.STALLED, dashboard.stall_reason
            progress.summary(status, code, reason)
            if resume is not None:
                progress.next_steps(status, resume)
    if as_json:
        say_json(status)
    return int(ExitCode.INTERNAL if dashboard is not None and dashboard.crashed else code)


def _dashboard(engine: Engine) -> Dashboard:
    from agentdash.cli.dashboard import Dashboard

    return Dashboard(engine, keymap=engine.settings.keys, theme=engine.settings.theme)


def _was_interrupted(dashboard: Dashboard | None, signals: _Signals) -> bool:
    return signals.received > 0 or (dashboard is not None and dashboard.was_interrupted)


async def _show(dashboard: Dashboard, signals: _Signals) -> End:
    """The run in the dashboard."""
    from agentdash.cli.dashboard import take_terminal_for_keys

    take_terminal_for_keys()
    signals.tell = lambda text: tell(text) if dashboard.crashed else None
    try:
        return await dashboard.run()
    finally:
        signals.tell = tell


async def _add(engine: Engine, sources: Sequence[str], *, skip_bad: bool) -> None:
    if sources:
        collect_garbage_again()
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
    if end in (End.STALLED, End.LIMITED):
        return ExitCode.STALLED
    if end is End.DRAINED and interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED_TASKS if status["failed"] or status["held"] else ExitCode.OK


def collect_garbage_again() -> None:
    """The start is over: what it has loaded stays for good, and need not be looked at again."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def stop_without_memory(engine: Engine) -> None:
    """Stop the run because memory ran out; what was lost with it may keep it from ending: then the process leaves."""
    leave_soon()
    engine.out_of_memory()


def leave_soon() -> None:
    """Leave if the process is still there in a while: by a timer of the kernel's, for which nothing has to be had."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, _STOPS_WITHIN_S)


def leave_at_once(code: ExitCode = ExitCode.INTERRUPTED) -> NoReturn:
    """End the process though something in it can't be stopped. Its locks end with it; the next run takes its tasks."""
    if (terminal := sys.modules.get("agentdash.ui.terminal")) is not None:
        terminal.restore_terminal()
    tell("Leaving.")
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(int(code))


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
        if hasattr(signal, "setitimer"):  # `leave_soon`
            before = signal.signal(signal.SIGALRM, lambda *_: leave_at_once(ExitCode.INTERNAL))
            self._restore += [
                partial(signal.setitimer, signal.ITIMER_REAL, 0),
                partial(signal.signal, signal.SIGALRM, before),
            ]
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
            # A function in a thread cannot be stopped.
            leave_at_once()
