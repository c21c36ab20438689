"""The user's repository, as it is read: where a folder belongs, which commit a name stands for, who may add to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agentdash.engine.locks.flock import try_flock, unlock_and_close
from agentdash.engine.workspaces.git import GitError, git
from agentdash.errors import UsageError

_LOCK_LIMIT_S: Final = 120.0
_LOOK_S: Final = 0.01
_WORDS_OF_NONE: Final = ("not a git repository", "must be run in a work tree")


class NoRepositoryError(UsageError):
    """A folder that is in no checkout of a git repository."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A checkout: its top folder, and the git directory (`common`) that it shares with all worktrees."""

    checkout: Path
    common: Path
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, compare=False, repr=False)

    async def commit(self, ref: str) -> str | None:
        """The commit that a name stands for in the checkout, None if there is none."""
        try:
            return await git(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", cwd=self.checkout
            )
        except GitError as error:
            if error.code in (1, 128):
                return None
            raise

    async def branch(self, name: str) -> str | None:
        """The commit of a branch, None if there is no such branch."""
        return await self.commit(f"refs/heads/{name}")

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[int]:
        """`alone`, with the others of this process in the order in which they came."""
        async with self._turn, alone(self.common) as descriptor:
            yield descriptor


@asynccontextmanager
async def alone(common: Path) -> AsyncIterator[int]:
    """Of all who make or remove worktrees of a repository, in any process and project, only the caller does it now.

    Yields the descriptor that is to be handed to git: a git that outlives us keeps the others out. The lock is the
    kernel's, on the git directory itself, so nothing is written for it. Raises `GitError` when it lasts too long.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _LOCK_LIMIT_S
    descriptor = os.open(common, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not try_flock(descriptor):
            if loop.time() > deadline:
                raise GitError(("worktree",), -1, f"another agentdash holds {common}")
            await asyncio.sleep(_LOOK_S)
        yield descriptor
    finally:
        unlock_and_close(descriptor)


class Repositories:
    """The repositories of a run's folders, each looked for once."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Repository, str]] = {}
        self._repositories: dict[tuple[Path, Path], Repository] = {}

    async def of(self, folder: Path) -> tuple[Repository, str]:
        """The checkout that a folder is in, and where in it ("" for the top).

        Raises `NoRepositoryError` for a folder that is in none, and `GitError`.
        """
        place = str(real(folder))
        if place not in self._found:
            top, common, prefix = await _look(Path(place))
            repository = self._repositories.setdefault((top, common), Repository(top, common))
            self._found[place] = (repository, prefix)
        return self._found[place]


async def _look(folder: Path) -> tuple[Path, Path, str]:
    try:
        said = await git("rev-parse", "--show-toplevel", "--git-common-dir", "--show-prefix", cwd=folder)
    except GitError as error:
        if any(words in error.words for words in _WORDS_OF_NONE):
            raise NoRepositoryError(
                f"{folder} is in no checkout of a git repository, so there can be no worktree of it.",
                hint="Use a folder inside a repository (--project, or a task's workdir), or leave --worktree.",
            ) from None
        raise
    lines = said.split("\n")
    if len(lines) == 2:  # at the top there is no prefix
        lines.append("")
    if len(lines) != 3:
        raise GitError(("rev-parse",), -1, f"{folder}: a path with a line break in it")
    top, common, prefix = lines
    return real(Path(top)), real(folder / common), prefix.rstrip("/")


def real(path: Path) -> Path:
    """A path without links in it, as git says them."""
    return Path(os.path.realpath(path))
