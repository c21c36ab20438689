"""What a task has changed in its worktree: the commit that keeps it, and how it differs from where it began."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agentdash.engine.sanitising import clean_message
from agentdash.engine.whole import in_thread
from agentdash.engine.workspaces.git import GitError, git
from agentdash.engine.workspaces.names import HEADS
from agentdash.engine.workspaces.records import WorkspaceRecord

_AUTHOR: Final = {
    f"GIT_{role}_{part}": text
    for role in ("AUTHOR", "COMMITTER")
    for part, text in (("NAME", "agentdash"), ("EMAIL", "agentdash@localhost"))
}
_UNDER_WAY: Final = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply", "BISECT_LOG")
_NUMBERS: Final = {
    name: re.compile(rf"(\d+) {word}") for name, word in
    (("files", "file"), ("insertions", "insertion"), ("deletions", "deletion"))
}  # fmt: skip
_PLAIN_DIFF: Final = ("--no-ext-diff", "--no-textconv", "--no-color")
_REPOSITORY: Final = "160000"
_NOTHING: Final = "000000"


@dataclass(frozen=True, slots=True)
class WorkTree:
    """A worktree that is tied to its repository by `entry`."""

    place: Path
    entry: Path
    record: WorkspaceRecord

    @property
    def variables(self) -> Mapping[str, str]:
        """What makes git work in this worktree, whatever has become of its `.git`: never in the user's checkout."""
        return {"GIT_DIR": str(self.entry), "GIT_WORK_TREE": str(self.place)}

    async def git(self, *arguments: str, more: Mapping[str, str] | None = None, codes: tuple[int, ...] = (0,)) -> str:
        """Run git in the worktree. Raises `GitError`."""
        return await git(
            *arguments, cwd=self.place, variables={**self.variables, **(more or {})}, codes=frozenset(codes)
        )

    async def branch(self) -> str | None:
        """The branch that is checked out; None: none is."""
        head = await self.git("symbolic-ref", "--quiet", "HEAD", codes=(0, 1))
        return head.removeprefix(HEADS) or None

    def is_in_between(self) -> bool:
        """Whether a merge, a rebase or the like is under way."""
        return any((self.entry / name).exists() for name in _UNDER_WAY)

    async def is_dirty(self) -> bool:
        """Whether there is something that is in no commit and is not ignored."""
        return bool(await self.git("status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=none"))


async def keep(tree: WorkTree) -> dict[str, Any]:
    """Commit what is not committed, if the task's branch is checked out; what the worktree has brought. `GitError`."""
    is_left, error = await _commit(tree)
    commit = await tree.git("rev-parse", "--verify", "HEAD")
    numbers = await (_numbers_of_files(tree) if is_left else _numbers(tree, "HEAD"))
    found = {"commit": commit, **numbers, "uncommitted": is_left}
    branch = await tree.branch() if is_left else tree.record.branch
    found |= {"checked_out": branch} if branch != tree.record.branch else {}
    return found | ({"error": error} if error is not None else {})


async def index_of_files(tree: WorkTree, folder: Path) -> Mapping[str, str]:
    """The variables by which `git diff` sees new files as well, by an index of its own in the empty `folder`."""
    index = folder / "index"
    with suppress(FileNotFoundError):
        await in_thread(shutil.copyfile, tree.entry / "index", index)
    variables = {"GIT_INDEX_FILE": str(index)}
    await tree.git("add", "--intent-to-add", "--ignore-errors", "--", ".", more=variables, codes=(0, 1))
    return variables


async def added_clones(tree: WorkTree) -> list[str]:
    """The paths of whole repositories that the branch names a commit of: their files are in the worktree only."""
    changed = await _changes(tree, tree.record.base, "HEAD")
    return [path for path, mode in changed.items() if _is_clone(tree, path, mode)]


async def _commit(tree: WorkTree) -> tuple[bool, str | None]:
    """Whether something is left that is in no commit, and what git had against it."""
    if tree.is_in_between() or await tree.branch() != tree.record.branch:
        return await tree.is_dirty(), None
    error = None
    try:
        await tree.git("add", "--all")
    except GitError as refused:  # one file that cannot be read, or a repository in which there is no commit yet
        if refused.busy:
            raise
        error = clean_message(str(refused))
        await tree.git("add", "--all", "--ignore-errors", codes=(0, 1))
    staged = await _changes(tree, "--cached", "HEAD")
    clones = [path for path, mode in staged.items() if _is_clone(tree, path, mode)]
    if clones:  # a commit would name their commits and hold none of their files
        await tree.git("rm", "--cached", "--quiet", "--force", "--", *clones, more={"GIT_LITERAL_PATHSPECS": "1"})
    if len(staged) > len(clones):
        message = f"agentdash: {tree.record.task}"
        await tree.git("commit", "--quiet", "--no-verify", "--no-gpg-sign", "-m", message, more=_AUTHOR)
    return bool(clones) or (error is not None and await tree.is_dirty()), error


async def _changes(tree: WorkTree, *what: str) -> dict[str, str]:
    """The paths that differ, with the mode of what is new there, "" for what was there before."""
    said = await tree.git("diff", "--raw", "--no-renames", "--ignore-submodules=none", "-z", *what)
    parts = said.split("\0")
    found = {}
    for words, path in zip(parts[::2], parts[1::2], strict=False):
        before, after, *_ = words.removeprefix(":").split(" ")
        found[path] = after if before == _NOTHING else ""
    return found


def _is_clone(tree: WorkTree, path: str, mode: str) -> bool:
    return mode == _REPOSITORY and (tree.place / path / ".git").is_dir()


async def _numbers_of_files(tree: WorkTree) -> dict[str, int]:
    with tempfile.TemporaryDirectory(prefix="agentdash-") as folder:
        return await _numbers(tree, more=await index_of_files(tree, Path(folder)))


async def _numbers(tree: WorkTree, *to: str, more: Mapping[str, str] | None = None) -> dict[str, int]:
    said = await tree.git("diff", "--shortstat", *_PLAIN_DIFF, tree.record.base, *to, "--", more=more)
    return {name: int(match[1]) if (match := words.search(said)) else 0 for name, words in _NUMBERS.items()}
