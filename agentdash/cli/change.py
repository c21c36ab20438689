"""`agentdash requeue` and `agentdash cancel`: changes that hold at once, and that a running process notices.

Both refuse as a whole when an id is not known. Cancelling what has finished meanwhile is no error: nobody can avoid
that race.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import closing
from pathlib import Path

import click

from agentdash.cli.options import project_option
from agentdash.cli.output import count, say, tell
from agentdash.cli.project import change_project, check_ids
from agentdash.engine.locks import TaskLock
from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.transitions import REQUEUEABLE
from agentdash.errors import UsageError
from agentdash.model import FINISHED_STATES, TaskState
from agentdash.text import clean

_WAIT_S = 10.0


@click.command(short_help="Put failed or cancelled tasks back into the queue.")
@click.argument("ids", nargs=-1, metavar="[IDS]...")
@click.option("--failed", is_flag=True, help="All failed tasks.")
@click.option("--all-failed-with", "text", metavar="TEXT", help="All failed tasks whose error holds TEXT.")
@project_option
def requeue(ids: tuple[str, ...], failed: bool, text: str | None, project: Path) -> None:
    """Put failed or cancelled tasks back into the queue, with fresh attempts."""
    if bool(ids) + failed + (text is not None) != 1 or text == "":
        raise UsageError("Say which tasks: IDS, --failed, or --all-failed-with TEXT; one of them.")

    async def change(store: SqliteTaskStore) -> int:
        if ids:
            check_ids(store, ids)
            _check_requeueable(store, ids)
        return await store.requeue(ids or None, error_contains=text)

    moved = change_project(project, change)
    say(f"{count(moved, 'task')} requeued." if moved else "No failed task matches; nothing was changed.")


@click.command(short_help="Cancel tasks.")
@click.argument("ids", nargs=-1, required=True, metavar="IDS...")
@project_option
def cancel(ids: tuple[str, ...], project: Path) -> None:
    """Cancel tasks: pending ones at once, running ones as soon as their process notices."""

    async def change(store: SqliteTaskStore) -> tuple[int, int]:
        check_ids(store, ids)
        finished = [i for i in ids if (record := store.find(i)) is not None and record.state in FINISHED_STATES]
        for task_id in finished:
            tell(f"{clean(task_id)} has finished already.")
        if any(record is not None and record.state is TaskState.RUNNING for record in map(store.find, ids)):
            await _bring_back_lost(store, project)
        return await store.cancel(ids, time.time())

    cancelled, asked = change_project(project, change)
    say(
        f"{count(cancelled, 'task')} cancelled."
        + (f" {count(asked, 'running task')} will be stopped." if asked else "")
    )


def _check_requeueable(store: SqliteTaskStore, ids: tuple[str, ...]) -> None:
    for task_id in ids:
        record = store.find(task_id)
        if record is None or record.state in REQUEUEABLE:
            continue
        why = "has succeeded and is not run again" if record.state is TaskState.SUCCEEDED else f"is {record.state}"
        raise UsageError(
            f"{clean(task_id)} {why}; nothing was changed.", hint="Failed and cancelled tasks can be requeued."
        )


async def _bring_back_lost(store: SqliteTaskStore, project: Path) -> None:
    """A task whose process died still says running, and nobody would ever stop it: make it pending first."""
    from agentdash.engine.policy import RetryPolicy
    from agentdash.engine.reaper import Reaper

    with closing(TaskLock(project, allow_network_filesystem=True)) as lock:
        reaper = Reaper(store, lock, RetryPolicy(), owner=f"{os.getpid()}-cancel")
        async with asyncio.timeout(_WAIT_S):
            await reaper.sweep(())
