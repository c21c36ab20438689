"""A project as commands from outside see it: opened only if it is there, and left tidy after a change."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agentdash.cli.output import tell
from agentdash.engine.locks import TaskLock
from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.sqlite import STATE_DIR
from agentdash.errors import AgentdashError, UsageError
from agentdash.model import LockView
from agentdash.text import clean

if TYPE_CHECKING:
    from agentdash.engine.workspaces import Workspaces

T = TypeVar("T")


@contextmanager
def open_project(project: Path) -> Iterator[SqliteTaskStore]:
    """The store of a project that exists. Raises `StoreError` where there is none; none is made."""
    store = SqliteTaskStore(project, create=False)
    try:
        yield store
    finally:
        store.close_and_wait()


def open_workspaces(project: Path) -> Workspaces:
    """The worktrees of a project's tasks; nothing is made."""
    from agentdash.engine.workspaces import Workspaces

    return Workspaces(project, Path(os.path.realpath(project), STATE_DIR))


def lock_views(project: Path, now: float) -> list[LockView]:
    """The lock files of a project, without making anything."""
    with closing(TaskLock(project, allow_network_filesystem=True)) as lock:
        return lock.views(now)


def change_project(project: Path, change: Callable[[SqliteTaskStore], Awaitable[T]]) -> T:
    """Make one change to a project, and bring its results files up to date with it."""

    async def apply(store: SqliteTaskStore) -> T:
        return await change(store)

    with open_project(project) as store:
        done = asyncio.run(apply(store))
        _sync_results(store)
        return done


def _sync_results(store: SqliteTaskStore) -> None:
    """Those that are there. One that cannot be written keeps the change from nobody: the database has it."""
    from agentdash.engine.store.results_file import ResultsFile, results_paths

    for path in results_paths(store):
        if not path.exists():
            continue
        try:
            with closing(ResultsFile(store, path)) as results:
                results.sync()
        except AgentdashError as error:
            tell(f"Warning: {clean(error.message)} {clean(error.hint or '')}".rstrip())


def check_ids(store: SqliteTaskStore, ids: tuple[str, ...]) -> None:
    """Raise `UsageError` that names the ids this project does not have."""
    unknown = [task_id for task_id in ids if store.find(task_id) is None]
    if unknown:
        shown = ", ".join(clean(task_id) for task_id in unknown[:10]) + (", …" if len(unknown) > 10 else "")
        raise UsageError(
            f"There is no task {shown} in this project; nothing was changed.",
            hint="`agentdash tasks` lists them.",
        )
