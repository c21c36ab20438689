"""`agentdash clean`: removes the worktrees and the output files of tasks that have finished.

It refuses as a whole where a task that was named is not to be touched; of all tasks it leaves those out.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentdash.cli.options import project_option
from agentdash.cli.output import count, is_terminal, say, tell
from agentdash.cli.project import check_ids, open_project, open_workspaces
from agentdash.engine.locks import TaskLock
from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.sqlite import STATE_DIR
from agentdash.errors import StoreError, UsageError
from agentdash.model import FINISHED_STATES
from agentdash.text import clean as cleaned

if TYPE_CHECKING:
    from agentdash.engine.workspaces.cleaning import Leftover

_MOST_SHOWN = 20
_AT_ONCE = 4
_ATTEMPTS = "attempts"


@click.command(short_help="Remove worktrees and output files of finished tasks.")
@click.argument("ids", nargs=-1, metavar="[IDS]...")
@click.option("--worktrees", is_flag=True, help="Worktrees, and their branches.")
@click.option("--attempts", is_flag=True, help="The files with the output of each attempt.")
@click.option("--all", "both", is_flag=True, help="Both.")
@click.option("--force", is_flag=True, help="Also work that is in no commit, or merged nowhere: it is lost.")
@click.option("--keep-branches", is_flag=True, help="Worktrees only: what is committed stays on its branch.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@project_option
def clean(
    ids: tuple[str, ...],
    worktrees: bool,
    attempts: bool,
    both: bool,
    force: bool,
    keep_branches: bool,
    yes: bool,
    project: Path,
) -> None:
    """Remove worktrees and the output files of attempts: those of the tasks IDS, or else of all that have finished.

    A task that is running or pending keeps everything. Worktrees with changes that are in no commit, or on a branch
    with commits that are merged nowhere, stay too, unless --force says otherwise.
    """
    if not (ids or worktrees or attempts or both):
        raise UsageError("Say what to remove: IDS, --worktrees, --attempts, or --all for both.")
    with open_project(project) as store:
        check_ids(store, ids)
        cleaning = _Cleaning(store, project, frozenset(ids), force=force, keep_branches=keep_branches)
        cleaning.check_finished(ids)
        plan = asyncio.run(
            cleaning.plan(worktrees=worktrees or both or not attempts, attempts=attempts or both or not worktrees)
        )
        for line in plan.kept:
            tell(line)
        if not plan.lines:
            say("There is nothing to remove.")
            asyncio.run(cleaning.prune(plan))
            return
        for line in _first(plan.lines):
            say(line)
        if not yes and not _is_wanted(plan):
            say("Nothing was removed.")
            return
        with closing(TaskLock(project, allow_network_filesystem=True)) as lock:
            say(f"Removed: {asyncio.run(cleaning.remove(plan, lock))}.")


@dataclass(slots=True)
class _Plan:
    """What is removed: worktrees, and output files by task and folder."""

    worktrees: list[Leftover] = field(default_factory=list)
    attempts: list[tuple[str, Path]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    repositories: set[Path] = field(default_factory=set)


class _Cleaning:
    """One call of the command."""

    def __init__(
        self, store: SqliteTaskStore, project: Path, ids: frozenset[str], *, force: bool, keep_branches: bool
    ) -> None:
        self._store = store
        self._workspaces = open_workspaces(project)
        self._attempts = Path(os.path.realpath(project), STATE_DIR, _ATTEMPTS)
        self._ids = ids
        self._force = force
        self._keep_branches = keep_branches

    def check_finished(self, ids: Sequence[str]) -> None:
        """Raises `UsageError` for a task that may still need what it has."""
        for task_id in ids:
            record = self._store.find(task_id)
            if record is not None and record.state not in FINISHED_STATES:
                raise UsageError(
                    f"{cleaned(task_id)} is {record.state}; nothing was removed.",
                    hint="What a task has is removed when it has finished, or was cancelled.",
                )

    async def plan(self, *, worktrees: bool, attempts: bool) -> _Plan:
        """What there is to be removed, and what is not. Raises `UsageError` for a task by name that is to be kept."""
        plan = _Plan()
        if worktrees:
            await self._plan_worktrees(plan)
        if attempts:
            self._plan_attempts(plan)
        return plan

    async def remove(self, plan: _Plan, lock: TaskLock) -> str:
        """Do it, task by task under its lock; what has changed meanwhile is kept. Returns what was removed."""
        from agentdash.engine.workspaces.cleaning import remove
        from agentdash.engine.workspaces.entries import remove_tree
        from agentdash.engine.workspaces.git import GitError

        folders = branches = outputs = 0
        for found in plan.worktrees:
            with lock.lock(found.record.task, "clean") as acquired:
                if reason := await self._changed(found, acquired=acquired):
                    tell(f"{cleaned(found.record.task)} is kept: {cleaned(reason)}.")
                    continue
                try:
                    is_gone = await remove(self._workspaces, found, keep_branch=self._keep_branches)
                except (GitError, OSError) as error:
                    raise StoreError(f"{cleaned(str(found.place))} cannot be removed: {cleaned(str(error))}.") from None
                folders += found.is_there
                branches += is_gone and found.branch_at is not None
                if not is_gone and not self._keep_branches:
                    tell(f"The branch {cleaned(found.record.branch)} is kept: it is in use, or has gone on.")
        for task_id, folder in plan.attempts:
            with lock.lock(task_id, "clean") as acquired:
                if acquired and self._is_finished(task_id):
                    try:
                        await asyncio.to_thread(remove_tree, folder)
                    except OSError as error:
                        raise StoreError(f"{folder} cannot be removed: {error.strerror}.") from None
                    outputs += 1
        await self.prune(plan)
        return _told(folders, branches, outputs)

    async def prune(self, plan: _Plan) -> None:
        """What git still has of worktrees that no task has any more."""
        from agentdash.engine.workspaces.cleaning import prune

        await prune(self._workspaces, plan.repositories)

    async def _plan_worktrees(self, plan: _Plan) -> None:
        from agentdash.engine.workspaces.cleaning import look

        records = list(self._workspaces.records.all())
        plan.repositories = {Path(record.repository) for record in records}
        wanted = [r for r in records if (not self._ids or r.task in self._ids) and self._is_finished(r.task)]
        for start in range(0, len(wanted), _AT_ONCE):
            for found in await asyncio.gather(*(look(self._workspaces, r) for r in wanted[start : start + _AT_ONCE])):
                if self._keep_branches and not found.is_there:
                    continue
                name = cleaned(found.record.task)
                if reason := self._reason(found):
                    if self._ids:
                        raise UsageError(
                            f"{name}: {cleaned(reason)}; nothing was removed.",
                            hint="Look with `agentdash diff`; --force removes it all the same.",
                        )
                    plan.kept.append(f"{name} is kept: {cleaned(reason)}.")
                    continue
                plan.worktrees.append(found)
                parts = [f"worktree {found.place}"] if found.is_there else []
                parts += [f"branch {found.record.branch}"] if found.branch_at and not self._keep_branches else []
                plan.lines.append(cleaned(f"{name}: {', '.join(parts) or 'what is known of its worktree'}"))

    def _plan_attempts(self, plan: _Plan) -> None:
        from agentdash.engine.command.attempts import safe_name

        try:
            there = set(os.listdir(self._attempts))
        except OSError:
            return
        tasks = self._ids or (record.id for record in self._store.tasks(FINISHED_STATES)) if there else ()
        for task_id in sorted(tasks):
            if (name := safe_name(task_id)) in there:
                plan.attempts.append((task_id, self._attempts / name))
                plan.lines.append(f"{cleaned(task_id)}: output of its attempts")

    async def _changed(self, found: Leftover, *, acquired: bool) -> str | None:
        """Why it is not to be removed any more, now that nobody else can work on the task."""
        from agentdash.engine.workspaces.cleaning import look

        if not acquired or not self._is_finished(found.record.task):
            return "somebody works on it"
        now = await look(self._workspaces, found.record)
        if now != found:
            return self._reason(now) or "it has changed just now"
        return None

    def _reason(self, found: Leftover) -> str | None:
        return None if self._force else found.reason(keep_branch=self._keep_branches)

    def _is_finished(self, task_id: str) -> bool:
        """Also if the project does not know the task: nobody runs it then."""
        record = self._store.find(task_id)
        return record is None or record.state in FINISHED_STATES


def _is_wanted(plan: _Plan) -> bool:
    """Ask, where there is somebody to ask. Raises `UsageError` where there is nobody."""
    if not is_terminal(sys.stdin) or not is_terminal(sys.stdout):
        raise UsageError("Nothing was removed: there is nobody to ask.", hint="--yes removes it without a question.")
    return click.confirm(f"Remove {_told(len(plan.worktrees), 0, len(plan.attempts))}?", default=False)


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_SHOWN
    return lines if more <= 0 else [*lines[:_MOST_SHOWN], f"… and {more:,} more"]


def _told(worktrees: int, branches: int, outputs: int) -> str:
    parts = [
        count(worktrees, "worktree") if worktrees else "",
        f"{branches:,} branch{'' if branches == 1 else 'es'}" if branches else "",
        f"the output of {count(outputs, 'task')}" if outputs else "",
    ]
    return ", ".join(part for part in parts if part) or "nothing"
