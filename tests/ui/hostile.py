"""Text that wants to do harm, and a run that has it in every place where text from outside is shown.

As a program it is the dashboard over such a run, for a terminal of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

from agentdash.errors import AgentdashError
from agentdash.model import (
    Attempt,
    Counts,
    CredentialView,
    Event,
    LockView,
    Snapshot,
    TaskState,
    Totals,
    UndoView,
    WorkerView,
)
from tests.ui.fake_run import FakeRun, FakeTask
from tests.ui.fake_tasks import cancel, fail, succeed

PAYLOADS = (
    "[@click=app.quit]a[/]b",
    "[link=http://evil.example]x[/link] [bold red]",
    "a[/]b [/nothing] [[[ ]]] [",
    "$primary [$error on red]x",
    "\x1b]52;c;UFdORUQ=\x07",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x1b[?7777h\x1b[31;7777m\x1bc\x1b[2J",
    "\x9b7777m\x9d52;c;UFdORUQ=\x9c",
    "\x00\x07\x08\x0b\x0c\x0e\x7f\x18\x1a",
    "\u202eabc\u202c\u2066x\u2069\u200f\u061c",
    "a\u200bb\u200d\ufeff\u2060c\u00ad",
    "e" + "\u0301" * 300,
    "\ufe0f\u20e3" * 40,
    "漢字かな🧑‍🚀🏳️‍🌈👍🏽",
    "\ud800x\udfff",
    "a\r\nb\nc\td\x0b\x0c\x85e\u2028f\u2029g",
    "W" * 10_000,
    "漢" * 10_000,
    "",
    " " * 500,
    "\U000e0041\U000f0000\ufffe",
)


def hostile_run(texts: Sequence[str], folder: Path) -> FakeRun:
    """A run with these texts in every field, in turn; its ids tell its tasks apart."""
    run = FakeRun(project_path=folder)
    fill(run, texts)
    return run


def fill(run: FakeRun, texts: Sequence[str]) -> None:
    """Give a run all new texts."""
    say, now = cycle(texts or ("",)), run.clock.now()
    run.tasks = {task.id: task for task in _tasks(say, now)}
    run.outputs.clear()
    for task in run.tasks.values():
        if task.state is TaskState.RUNNING:
            run.write(task.id, "\n".join(next(say) for _ in range(4)))
    run.events += [Event(len(run.events) + n, now, next(say), next(say)) for n in range(1, 7)]
    run.locks = tuple(
        LockView(next(say), next(say), 4711, now - 5, state, now)
        for state in ("held", "stale", "foreign", "overdue", next(say))
    )
    run.view = _view(run, say, now)
    _write_log(run.log_path, say)


def error_of(texts: Sequence[str]) -> AgentdashError:
    """What a verb may raise."""
    return AgentdashError("".join(texts[:2]), hint="".join(texts[2:4]))


def _tasks(say: Iterator[str], now: float) -> Iterator[FakeTask]:
    for seq, state in enumerate((*TaskState, TaskState.FAILED, TaskState.RUNNING), 1):
        payload: dict[str, Any] = {
            "prompt": next(say),
            "system": next(say),
            "model": next(say),
            "metadata": {next(say): next(say)},
        }
        payload[next(say)] = [next(say), {next(say): next(say)}]
        task = FakeTask(seq, f"{next(say)}{seq}", payload, worker=next(say), claimed_at=now - 2)
        task.history = (
            Attempt(1, next(say), next(say), next(say), now - 9, now - 8, next(say), next(say), next(say), next(say)),
        )
        if state is TaskState.SUCCEEDED:
            succeed(task, now, next(say), message={next(say): next(say), "model": next(say), "id": next(say)})
            assert task.result is not None
            task.result["agentdash"][next(say)] = next(say)
        elif state is TaskState.FAILED:
            fail(task, now, next(say), next(say))
        elif state is TaskState.CANCELLED:
            cancel(task, now)
        else:
            task.state = state
            task.error = (next(say), next(say)) if state is TaskState.PENDING else None
        yield task


def _view(run: FakeRun, say: Iterator[str], now: float) -> Snapshot:
    ids = list(run.tasks)
    states = ("running", "backoff", "parked", "probing", "idle", next(say))
    workers = tuple(
        WorkerView(f"{next(say)}{n}", state, ids[n] if n % 2 else None, n, n, now + 9, now - 3, next(say))
        for n, state in enumerate(states)
    )
    keys = tuple(
        CredentialView(
            f"{next(say)}{n}", next(say), next(say), next(say), state, n == 0, now + 60, 12, 3, next(say)
        )
        for n, state in enumerate(("ready", "ready", "cooling", "exhausted", "invalid", next(say)))
    )  # fmt: skip
    return Snapshot(
        "stalled", now - 60, Counts(), Totals(1, 1, 1, 1, 1, 1, 1, 1.0, 60), False, next(say), workers, keys,
        run.locks[:1], 1.0, len(run.events), next(say), 6, now + 30, history=(1, 2, 3),
    )  # fmt: skip


def _write_log(path: Path, say: Iterator[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"at": next(say), "level": next(say), "action": next(say), "message": next(say), "error": next(say)})
        for _ in range(6)
    ]
    raw = [next(say).encode("utf-8", "surrogatepass") for _ in range(6)]
    path.write_bytes("\n".join(lines).encode() + b"\n" + b"\n".join(raw) + b"\n\xff\xfe\x9b31m\x1b]52;c;AA\x07\n")


def with_undo(run: FakeRun, text: str) -> None:
    """Something can be taken back."""
    run.view = replace(run.view, undo=UndoView(text, run.clock.now() + 9))


async def _main() -> None:
    from agentdash.ui.app import DashboardApp

    with tempfile.TemporaryDirectory() as folder:
        run = hostile_run(PAYLOADS, Path(folder))
        run.errors["requeue"] = error_of(PAYLOADS[:4])
        app = DashboardApp(run)
        run.abort = app.exit  # type: ignore[method-assign]
        await app.run_async()
        sys.stdout.write(f"\ncrash: {app.crash!a} calls: {[name for name, _ in run.calls]}\n")


if __name__ == "__main__":
    asyncio.run(_main())
