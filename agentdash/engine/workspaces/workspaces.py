"""The worktrees of a project's tasks, as those who run and show tasks use them."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from agentdash.engine.command.attempts import safe_name
from agentdash.engine.failures import StatedFailureError
from agentdash.engine.log import LOGGER
from agentdash.engine.sanitising import clean_message
from agentdash.engine.whole import in_thread
from agentdash.engine.workspaces.changes import WorkTree, keep
from agentdash.engine.workspaces.entries import entry_of
from agentdash.engine.workspaces.git import GitError
from agentdash.engine.workspaces.locks import remove_left_locks
from agentdash.engine.workspaces.making import Maker, branch_in_the_way
from agentdash.engine.workspaces.names import HEADS, PREFIX
from agentdash.engine.workspaces.records import Records, WorkspaceRecord
from agentdash.engine.workspaces.repository import NoRepositoryError, Repositories, Repository
from agentdash.errors import AgentdashError, UsageError
from agentdash.model import FailureClass

_WORKTREES: Final = "worktrees"
_RECORDS: Final = "workspaces"
_HEAD: Final = "HEAD"
_IGNORED: Final = b"# Written by agentdash: its own files, and the worktrees of its tasks.\n*\n"


class Workspaces:
    """The worktrees of a project's tasks. `state` is its `.agentdash` folder.

    A task's worktree is at `.agentdash/worktrees/NAME`, on a branch of its own, and is the same in every attempt. All
    begin from one commit: what `base` (a branch, tag or commit; the checkout's HEAD) was when one was first needed.
    """

    def __init__(self, project: Path, state: Path, base: str | None = None) -> None:
        self.folder = Path(os.path.realpath(state), _WORKTREES)
        self.records = Records(state / _RECORDS)
        self._state = state
        self._project = project
        self._base = base or _HEAD
        self._repositories = Repositories()

    async def open(self) -> None:
        """Look whether there can be worktrees of the project's own repository; makes nothing. Raises `UsageError`.

        A project outside of every repository is fine here: its tasks may name theirs (`check_folder`).
        """
        with suppress(NoRepositoryError):
            await self.check_folder(_there(self._project))

    async def check_folder(self, workdir: Path) -> None:
        """Raises `UsageError` unless a folder is in a repository that worktrees can be made of."""
        try:
            repository, _ = await self._repositories.of(workdir)
            await self._begin(repository)
            if await repository.branch(PREFIX.rstrip("/")) is not None:
                raise branch_in_the_way()
        except GitError as error:
            raise UsageError(f"The git repository of {workdir} cannot be used: {error}.") from None

    def place(self, task_id: str) -> Path:
        """Where a task's worktree is, or would be."""
        return self.folder / safe_name(task_id)

    def worktree(self, task_id: str) -> WorkTree | None:
        """A task's worktree, if it is there and whole."""
        record = self.records.read(task_id)
        entry = entry_of(Path(record.repository), self.place(task_id)) if record is not None else None
        return WorkTree(self.place(task_id), entry, record) if record is not None and entry is not None else None

    async def prepare(self, task_id: str, workdir: Path) -> Path:
        """The folder in which a task works: in its own worktree what `workdir` is in the checkout.

        The worktree of an earlier attempt is returned as it stands. To be called by who holds the task's lock, when
        no program of an earlier attempt runs any more. Raises `StatedFailureError`.
        """
        try:
            repository, folder = await self._repositories.of(workdir)
            record = await self._ready(task_id, repository, folder)
            inside = self.place(task_id) / record.folder
            try:
                await in_thread(inside.mkdir, parents=True, exist_ok=True)  # it may be in no commit
            except (FileExistsError, NotADirectoryError):
                raise UsageError(f"{record.folder} is no folder in the task's worktree, {inside}") from None
            return inside
        except GitError as error:
            payer = FailureClass.SERVICE if error.busy else FailureClass.TASK
            raise StatedFailureError(payer, str(error), error_type="WorktreeFailed") from error
        except AgentdashError as error:
            raise StatedFailureError(
                FailureClass.TASK, error.message, error_type="NoWorktree", permanent=True
            ) from error
        except OSError as error:
            raise StatedFailureError(
                FailureClass.SERVICE, f"the worktree cannot be made: {error}", error_type="WorktreeFailed"
            ) from error

    async def finish(self, task_id: str) -> dict[str, Any]:
        """After a task has succeeded: commit what is not committed, and say what the branch has brought.

        {"branch", "base", "commit", "path", "files", "insertions", "deletions", "uncommitted": bool}; with an "error"
        in place of what cannot be told. The worktree keeps everything in any case. Raises nothing.
        """
        record = self.records.read(task_id)
        if record is None:
            return {"error": "nothing is known of its worktree"}
        found: dict[str, Any] = {"branch": record.branch, "base": record.base, "path": str(self.place(task_id))}
        tree = self.worktree(task_id)
        if tree is None:
            return found | {"error": "it is no worktree any more"}
        try:
            await remove_left_locks(tree.entry, record)
            return found | await keep(tree)
        except (GitError, AgentdashError, OSError) as error:
            LOGGER.warning("the work of %s is not committed: %s", task_id, error, extra={"action": "worktree"})
            return found | {"uncommitted": True, "error": clean_message(str(error))}

    async def _ready(self, task_id: str, repository: Repository, folder: str) -> WorkspaceRecord:
        place = self.place(task_id)
        record = self.records.read(task_id)
        is_made = record is not None and record.ready and entry_of(repository.common, place) is not None
        if record is None or not is_made:
            base = await self._begin(repository)
            async with repository.alone() as lock:
                self._hide()
                base = await in_thread(self.records.keep_base, *self._base_key(repository), base)
                maker = Maker(self.records, repository, task_id, place, lock)
                record = await maker.tie(record, folder, base)
        entry = entry_of(repository.common, place)
        if entry is None:
            raise GitError(("worktree", "add"), -1, f"{place} is no worktree though git has made it")
        tree = WorkTree(place, entry, record)
        if record.ready:
            await self._mend(tree)
            return record
        await tree.git("reset", "--hard", "--quiet")  # beside those of other tasks: a large one takes its time
        record = replace(record, ready=True)
        await in_thread(self.records.write, record)
        return record

    async def _mend(self, tree: WorkTree) -> None:
        """What a kill in the middle of a git command, or somebody who removed the branch, has left: no file changes."""
        await remove_left_locks(tree.entry, tree.record)
        branch, base = tree.record.branch, tree.record.base
        if not await tree.git("rev-parse", "--verify", "--quiet", "HEAD", codes=(0, 1, 128)):
            if await tree.branch() != branch:
                await tree.git("symbolic-ref", "HEAD", f"{HEADS}{branch}")
            if not await tree.git("rev-parse", "--verify", "--quiet", "HEAD", codes=(0, 1, 128)):
                await tree.git("update-ref", "--create-reflog", f"{HEADS}{branch}", base, "")
        if not (tree.entry / "index").exists():
            await tree.git("reset", "--quiet")

    async def _begin(self, repository: Repository) -> str:
        """The commit that worktrees begin from. Raises `UsageError` where there is none."""
        kept = self.records.base(*self._base_key(repository))
        if kept is not None:
            return kept
        commit = await repository.commit(self._base)
        if commit is not None:
            return commit
        if self._base == _HEAD or await repository.commit(_HEAD) is None:
            raise UsageError(
                f"The repository {repository.checkout} has no commit yet, so there can be no worktree of it.",
                hint="Make a first commit, or leave --worktree.",
            )
        raise UsageError(
            f"There is no commit {self._base!r} in the repository {repository.checkout}.",
            hint="Name a branch, a tag or a commit: --worktree-base REF.",
        )

    def _base_key(self, repository: Repository) -> tuple[str, str]:
        return str(repository.checkout), self._base

    def _hide(self) -> None:
        """Keep the project's own files out of the user's `git status`."""
        with suppress(FileExistsError):
            self._state.mkdir(mode=0o700)
        path = self._state / ".gitignore"
        if not path.exists() or not path.stat().st_size:
            path.write_bytes(_IGNORED)


def _there(folder: Path) -> Path:
    """The folder, or the one in which it will be made."""
    whole = Path(os.path.abspath(folder))
    return next(place for place in (whole, *whole.parents) if place.is_dir())
