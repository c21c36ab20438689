"""How a headless run is followed on stderr: a live line on a terminal, plain lines elsewhere, and a summary."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agentdash.cli.output import amount, count, duration, is_terminal, tell
from agentdash.cli.throttle import Throttle
from agentdash.config import Settings
from agentdash.engine.facade import Engine
from agentdash.errors import ExitCode
from agentdash.model import Event, Snapshot
from agentdash.text import clean

_LIVE_S = 0.25
_PLAIN_S = 10.0
_QUIET_KINDS = frozenset({"skipped", "stalled"})
"""Told elsewhere: while adding, and in the summary."""


class Progress:
    """Follows an open engine from now to the end of its run; a fault in showing never reaches the run."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._clock = engine.clock
        self._throttle = Throttle()
        self._task: asyncio.Task[None] | None = None
        self._live: Any = None
        self._started_at = engine.clock.monotonic()
        self._finished_before = engine.store.counts().finished
        self._worked_before_s = engine.store.totals().elapsed_s

    async def __aenter__(self) -> Self:
        engine, counts = self._engine, self._engine.store.counts()
        done = f", {counts.finished:,} finished before" if counts.finished else ""
        if counts.open:
            tell(f"{count(counts.open, 'task')} to run with {_workers(engine.settings)}{done}.")
        if is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb":
            from agentdash.cli.live import LiveLine

            self._live = LiveLine()
        engine.events.listeners.append(self._on_event)
        self._task = asyncio.create_task(self._follow(), name="agentdash-progress")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._engine.events.listeners.remove(self._on_event)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._live is not None:
            self._live.stop()
        for text in self._throttle.rest():
            tell(text)

    def summary(self, status: dict[str, Any], code: ExitCode, stall_reason: str | None) -> None:
        """The last lines: how it ended, what it cost, and what to do next."""
        # A dashboard may have stood open for hours after the end: the time in which the run was at work is meant.
        worked = status["elapsed_s"] - self._worked_before_s
        open_for = self._clock.monotonic() - self._started_at
        elapsed = max(min(open_for, worked) if worked > 0 else open_for, 1e-9)
        ran = status["total"] - status["pending"] - status["running"] - self._finished_before
        speed = f" ({ran / elapsed:,.1f} tasks/s)" if ran else ""
        head = {ExitCode.STALLED: "Stalled", ExitCode.INTERRUPTED: "Interrupted"}.get(code, "Done")
        if code is ExitCode.STALLED and status["limits"]["reached"]:
            head = "Paused"
        parts = [f"{status[state]:,} {state}" for state in ("succeeded", "failed", "cancelled") if status[state]]
        open_tasks = status["pending"] + status["running"] - status["held"]
        parts += [f"{open_tasks:,} still to run"] if open_tasks else []
        parts += [f"{status['held']:,} held"] if status["held"] else []
        tell(f"{head} after {duration(elapsed)}: {', '.join(parts)}{speed}.")
        cost = f", ${status['cost_usd']:,.4f}" if status["cost_usd"] else ""
        tell(
            f"{count(status['requests'], 'request')}, {status['rate_limited']:,} rate limited,"
            f" {count(status['retries'], 'retry').replace('retrys', 'retries')},"
            f" {amount(status['input_tokens'])} tokens in, {amount(status['output_tokens'])} out{cost}."
        )
        if held := self._engine.held():
            tell(f"{held}.")
        if stall_reason:
            tell(f"Reason: {clean(stall_reason)}.")

    def next_steps(self, status: dict[str, Any], resume: str) -> None:
        """Where the results are and which command comes next; `resume` goes on with what is left."""
        where = _project_flag(self._engine.settings.project)
        tell(f"Results: {clean(str(self._engine.settings.results_path))}")
        if status["failed"]:
            tell(f"See what failed with `agentdash tasks --state failed{where}`.")
            tell(f"`agentdash requeue --failed{where}` puts it back into the queue.")
        if status["pending"] + status["running"] > status["held"]:
            more = _more_of(status["limits"])
            tell(f"Nothing is lost: `{resume}{where}{more}` goes on.")

    async def _follow(self) -> None:
        told_at = self._clock.monotonic()
        while True:
            await self._clock.sleep(_LIVE_S)
            for text in self._throttle.due(self._clock.monotonic()):
                self.print(text)
            if self._live is not None:
                self._live.update(self._engine.snapshot())
            elif self._clock.monotonic() - told_at >= _PLAIN_S:
                told_at = self._clock.monotonic()
                tell(progress_text(self._engine.snapshot()))

    def _on_event(self, event: Event) -> None:
        if event.kind in _QUIET_KINDS:
            return
        for text in self._throttle.offer(event.kind, clean(event.text), self._clock.monotonic()):
            self.print(text)

    def print(self, text: str) -> None:
        """One cleaned line, above the live one if there is one."""
        if self._live is not None:
            self._live.print(text)
        else:
            tell(text)


def _workers(settings: Settings) -> str:
    if settings.workers == "auto":
        return f"as many workers as fill the limits (at most {settings.most_workers:,})"
    return count(settings.workers, "worker")


def _more_of(limits: Mapping[str, Any]) -> str:
    """What has to be added to go on where what the project may cost is used up."""
    return f" --max-cost {2 * limits['max_cost_usd']:g}" if limits["reached"] == "max_cost" else ""


def _project_flag(project: Path) -> str:
    """What has to be added to a command that is typed here to mean this project."""
    meant = os.environ.get("AGENTDASH_PROJECT") or "."
    return "" if project == Path(meant) else f" --project {clean(shlex.quote(str(project)))}"


def progress_text(snapshot: Snapshot) -> str:
    """One line of figures: how far, how fast, and what is in the way."""
    counts, totals = snapshot.counts, snapshot.totals
    parts = [f"{counts.finished:,}/{counts.total:,}"]
    if snapshot.tasks_per_s:
        parts.append(f"{snapshot.tasks_per_s:,.1f}/s")
        parts.append(f"ETA {duration(counts.open / snapshot.tasks_per_s)}")
    parts.append(f"running {counts.running:,}")
    if counts.failed:
        parts.append(f"failed {counts.failed:,}")
    if totals.rate_limited:
        parts.append(f"429s {totals.rate_limited:,}")
    if snapshot.waiting_for:
        parts.append(f"waiting: {clean(snapshot.waiting_for)}")
    return "  ".join(parts)
