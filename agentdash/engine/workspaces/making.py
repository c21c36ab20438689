"""Makes a task's worktree, or mends it: from whatever a kill at any moment, or somebody else, has left of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final

from agentdash.engine.whole import in_thread
from agentdash.engine.workspaces.entries import drop_entries, entry_of, moved_entry, remove_tree, tie
from agentdash.engine.workspaces.git import GitError, git
from agentdash.engine.workspaces.locks import branch_lock, remove_left_lock
from agentdash.engine.workspaces.names import HEADS, PREFIX, branch_name
from agentdash.engine.workspaces.records import Records, WorkspaceRecord
from agentdash.engine.workspaces.repository import Repository
from agentdash.errors import UsageError

_ELSEWHERE: Final = ("already checked out at", "already used by worktree")
_NONE: Final = ""
"""As the old value of a branch: there must be none."""
_NEW: Final = "new~"
_LOST: Final = "lost~"
"""Names in the folder of worktrees that no task's has: those begin with `task-`."""


@dataclass(frozen=True, slots=True)
class Maker:
    """Ties one task's folder to its repository. To be used by who holds the task's lock and is alone with the
    repository; `lock` is the descriptor of that."""

    records: Records
    repository: Repository
    task: str
    place: Path
    lock: int

    async def tie(self, record: WorkspaceRecord | None, folder: str, base: str) -> WorkspaceRecord:
        """See to it that folder, entry and branch are there and belong together. Returns the record as it is then.

        If it is not `ready`, the files are not there yet. `folder` and `base` are for a task that has no record.
        Raises `GitError`, `UsageError` and OSError.
        """
        if record is None and (entry := entry_of(self.repository.common, self.place)) is not None:
            return await self._adopt(entry, folder, base)
        if record is not None and record.ready and self.place.exists():
            return await self._tie_again(record)
        if record is not None and not record.ready:  # no program has ever worked in it
            await in_thread(remove_tree, self.place)
        await in_thread(self._make_room)
        return await self._make(record, folder, base)

    async def _make(self, known: WorkspaceRecord | None, folder: str, base: str) -> WorkspaceRecord:
        """A new folder: on the branch that the task has worked on, or else on one that nobody has."""
        common = str(self.repository.common)
        number = 0
        while True:
            number += 1
            is_ours = known is not None and number == 1
            if known is not None and is_ours:
                record = replace(known, repository=common, ready=False)
            else:
                record = WorkspaceRecord(self.task, branch_name(self.task, number), base, common, folder)
            if not await self._have_branch(record, is_ours=is_ours):
                continue
            await in_thread(self.records.write, record)
            try:
                await self._add(self.place, record.branch)
            except GitError as error:
                has_work = is_ours and await self.repository.branch(record.branch) != record.base
                if has_work or not any(words in error.words for words in _ELSEWHERE):
                    raise
            else:
                return record

    async def _tie_again(self, record: WorkspaceRecord) -> WorkspaceRecord:
        """The files are there, with what is in no commit yet, but their entry is not: they get a new one."""
        if (self.place / ".git").is_dir():
            raise UsageError(
                f"{self.place} has been made a repository of its own.",
                hint="Move its .git folder away, or remove the worktree: agentdash clean --force ID.",
            )
        entry = moved_entry(self.repository.common, self.place)
        if entry is None:
            await self._have_branch(record, is_ours=True)
            await in_thread(self._drop)
            await self._add(self._new, record.branch)
            entry = entry_of(self.repository.common, self._new)
        if entry is None:
            raise GitError(("worktree", "add"), -1, f"{self._new} is no worktree though git has made it")
        await in_thread(remove_tree, self._new)
        tie(entry, self.place)
        record = replace(record, repository=str(self.repository.common))
        await in_thread(self.records.write, record)
        return record

    async def _adopt(self, entry: Path, folder: str, base: str) -> WorkspaceRecord:
        """A worktree whose record is gone is taken as it stands."""
        variables = {"GIT_DIR": str(entry), "GIT_WORK_TREE": str(self.place)}
        head = await git(
            "symbolic-ref", "--quiet", "HEAD", cwd=self.place, variables=variables, codes=frozenset({0, 1})
        )
        branch = head.removeprefix(HEADS)
        branch = branch if branch.startswith(PREFIX) else branch_name(self.task)
        record = WorkspaceRecord(self.task, branch, base, str(self.repository.common), folder, ready=True)
        await in_thread(self.records.write, record)
        return record

    async def _have_branch(self, record: WorkspaceRecord, *, is_ours: bool) -> bool:
        """Make a branch if there is none; False if there is one that may hold somebody else's work."""
        there = await self.repository.branch(record.branch)
        if there is not None:
            return is_ours or there == record.base
        await remove_left_lock(branch_lock(self.repository.common, record.branch))
        try:
            await git(
                "update-ref", "--create-reflog", "-m", "agentdash: for a task", f"{HEADS}{record.branch}", record.base,
                _NONE, cwd=self.repository.checkout, holds=self.lock,
            )  # fmt: skip
        except GitError as error:
            if error.busy:
                raise
            if await self.repository.branch(PREFIX.rstrip("/")) is not None:
                raise branch_in_the_way() from None
            if await self.repository.branch(record.branch) is None:
                raise
            return is_ours
        return True

    async def _add(self, place: Path, branch: str) -> None:
        """The folder with its entry, and no file in it yet."""
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        await git(
            "worktree", "add", "--quiet", "--no-checkout", str(place), branch, cwd=self.repository.checkout,
            holds=self.lock,
        )  # fmt: skip

    def _drop(self) -> None:
        """What is left of making this worktree, but for the folder itself."""
        remove_tree(self._new)
        drop_entries(self.repository.common, self._new, self.place)

    def _make_room(self) -> None:
        """Files of which nobody knows whose they are go aside, and are kept."""
        self._drop()
        if not self.place.is_symlink() and self.place.is_dir() and not any(self.place.iterdir()):
            self.place.rmdir()
        if os.path.lexists(self.place):
            free = (self.place.with_name(f"{_LOST}{self.place.name}~{number}") for number in count(1))
            self.place.rename(next(place for place in free if not os.path.lexists(place)))

    @property
    def _new(self) -> Path:
        return self.place.with_name(f"{_NEW}{self.place.name}")


def branch_in_the_way() -> UsageError:
    """`refs/heads/agentdash` is a file where a folder would have to be."""
    return UsageError(
        "The repository has a branch `agentdash`, so there can be none named agentdash/ID.",
        hint="Rename it: git branch -m agentdash NEW-NAME.",
    )
