"""git's own lock files, as a program that was killed leaves them in the worktree of its task."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from agentdash.engine.workspaces.names import HEADS
from agentdash.engine.workspaces.records import WorkspaceRecord

_LOOK_S: Final = 0.05
_LOOKS: Final = 20


async def remove_left_locks(entry: Path, record: WorkspaceRecord) -> None:
    """Remove the lock files of one worktree and its branch, when no program of the task runs any more."""
    for path in (entry / "index.lock", entry / "HEAD.lock", branch_lock(Path(record.repository), record.branch)):
        await remove_left_lock(path)


def branch_lock(common: Path, branch: str) -> Path:
    """Where git keeps the lock on a branch."""
    return common / f"{HEADS}{branch}.lock"


async def remove_left_lock(path: Path) -> None:
    """Remove one lock file. Somebody else's git may be at work for a moment: one that is another soon stays."""
    if (first := _identity(path)) is not None:
        for _ in range(_LOOKS):
            await asyncio.sleep(_LOOK_S)
            if _identity(path) != first:
                return
        with suppress(FileNotFoundError):
            os.unlink(path)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
