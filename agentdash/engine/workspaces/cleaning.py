"""Removes worktrees that are not needed any more, and none that holds work which is nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agentdash.engine.whole import in_thread
from agentdash.engine.workspaces.changes import WorkTree, added_clones
from agentdash.engine.workspaces.entries import drop_entries, lost_entries, remove_tree
from agentdash.engine.workspaces.git import GitError, git
from agentdash.engine.workspaces.names import HEADS, PREFIX
from agentdash.engine.workspaces.records import WorkspaceRecord
from agentdash.engine.workspaces.repository import alone
from agentdash.engine.workspaces.workspaces import Workspaces


@dataclass(frozen=True, slots=True)
class Leftover:
    """What there is of a task's worktree. `uncommitted` says what only the folder holds; `unmerged` is the number of
    commits that are in no other branch or tag than those of tasks; `branch_at` the branch's commit, if there is one."""

    record: WorkspaceRecord
    place: Path
    is_there: bool
    branch_at: str | None
    unmerged: int = 0
    uncommitted: str | None = None

    def reason(self, *, keep_branch: bool) -> str | None:
        """Why it is not to be removed without force."""
        if self.uncommitted is not None:
            return self.uncommitted
        if not self.unmerged or keep_branch:
            return None
        commits = "1 commit that is" if self.unmerged == 1 else f"{self.unmerged} commits that are"
        return f"{self.record.branch} has {commits} merged nowhere"


async def look(workspaces: Workspaces, record: WorkspaceRecord) -> Leftover:
    """What there is of a task's worktree."""
    place = workspaces.place(record.task)
    try:
        return await _look(workspaces, record, place)
    except GitError as error:
        return Leftover(record, place, True, None, uncommitted=f"it cannot be told what it holds ({error})")


async def _look(workspaces: Workspaces, record: WorkspaceRecord, place: Path) -> Leftover:
    common, is_there = Path(record.repository), _is_there(place)
    if not _is_folder(common):
        return Leftover(
            record, place, is_there, None, uncommitted=f"its repository {common} is gone" if is_there else None
        )
    tree = workspaces.worktree(record.task)
    tips = [tip for tip in [await _commit(common, f"{HEADS}{record.branch}")] if tip is not None]
    branch_at = tips[0] if tips else None
    if tree is None:
        held = "its files may be the only ones: the repository does not know it" if is_there and record.ready else None
    else:
        head = await _commit(common, "HEAD", tree)
        held = await _held(tree, head, branch_at) if record.ready else None
        tips += [head] if head is not None else []
    return Leftover(record, place, is_there, branch_at, await _unmerged(common, record, tips), held)


async def remove(workspaces: Workspaces, found: Leftover, *, keep_branch: bool) -> bool:
    """Remove what was found, the branch too if it is not to be kept; returns whether the branch is gone.

    To be called by who holds the task's lock. A branch that has gone on since, or is checked out elsewhere, stays.
    Raises `GitError` and OSError.
    """
    record, common = found.record, Path(found.record.repository)
    await in_thread(remove_tree, found.place)
    is_gone = found.branch_at is None
    if _is_folder(common):
        async with alone(common) as lock:
            await in_thread(drop_entries, common, found.place)
            if not keep_branch and not is_gone:
                is_gone = await _remove_branch(common, found, lock)
    if is_gone or not _is_folder(common):
        workspaces.records.remove(record.task)
    return is_gone


async def prune(workspaces: Workspaces, repositories: Iterable[Path]) -> int:
    """Remove the entries of worktrees of the project that no task has any more; returns their number."""
    known = {workspaces.place(record.task) for record in workspaces.records.all()}
    pruned = 0
    for common in repositories:
        lost = [place for place in await in_thread(lost_entries, common, workspaces.folder) if place not in known]
        if lost:
            async with alone(common):
                await in_thread(drop_entries, common, *lost)
            pruned += len(lost)
    if not known:
        workspaces.records.forget_bases()
    return pruned


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _is_folder(path: Path) -> bool:
    return path.is_dir()


async def _held(tree: WorkTree, head: str | None, branch_at: str | None) -> str | None:
    """What is in the folder alone."""
    if head is None:
        return "its branch is gone, so that its files may be the only ones"
    if tree.is_in_between():
        return "a merge or a rebase is under way in it"
    if await tree.is_dirty():
        return "it has changes that are in no commit"
    if (tree.entry / "modules").exists() or await added_clones(tree):
        return "it holds repositories of its own"
    if head != branch_at and await tree.branch() is None and not await _is_in_branch(tree, head):
        return "it has commits that are in no branch"
    return None


async def _is_in_branch(tree: WorkTree, commit: str) -> bool:
    return bool(await tree.git("for-each-ref", "--count=1", "--contains", commit, "--format=%(refname)"))


async def _unmerged(common: Path, record: WorkspaceRecord, tips: list[str]) -> int:
    if not tips:
        return 0
    head = await _commit(common, "HEAD")
    counted = await _git(
        common, "rev-list", "--count", *tips, "--not", record.base, *([head] if head is not None else []),
        f"--exclude={PREFIX}*", "--branches", "--tags", "--remotes",
    )  # fmt: skip
    return int(counted)


async def _remove_branch(common: Path, found: Leftover, lock: int) -> bool:
    if await _commit(common, f"{HEADS}{found.record.branch}") != found.branch_at:
        return False
    try:
        await _git(common, "branch", "-D", "--quiet", found.record.branch, holds=lock)
    except GitError:
        return False
    return True


async def _commit(common: Path, ref: str, tree: WorkTree | None = None) -> str | None:
    arguments = ("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    said = await (tree.git(*arguments, codes=(0, 1, 128)) if tree else _git(common, *arguments, codes=(0, 1, 128)))
    return said or None


async def _git(common: Path, *arguments: str, holds: int | None = None, codes: tuple[int, ...] = (0,)) -> str:
    return await git(*arguments, cwd=common, variables={"GIT_DIR": str(common)}, holds=holds, codes=frozenset(codes))
