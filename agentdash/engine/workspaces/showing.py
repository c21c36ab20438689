"""A task's work as git shows it: against the commit that it began from, with what is in no commit yet."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from agentdash.engine.workspaces.changes import index_of_files
from agentdash.engine.workspaces.git import GIT, GitError, git, shown_environment
from agentdash.engine.workspaces.names import HEADS
from agentdash.engine.workspaces.workspaces import Workspaces
from agentdash.errors import UsageError


@dataclass(frozen=True, slots=True)
class Shown:
    """A command that shows something to the user, on their terminal and with their settings."""

    arguments: list[str]
    cwd: Path
    environment: dict[str, str]


async def diff_command(workspaces: Workspaces, task_id: str, folder: Path, *, stat: bool = False) -> Shown:
    """The command that shows a task's diff; of a worktree that is gone, the diff of its branch.

    `folder` is an empty one that is there until the command has ended. Raises `UsageError`.
    """
    record = workspaces.records.read(task_id)
    if record is None:
        raise UsageError(
            f"There is no worktree of {task_id!r}.", hint="Tasks have one once they were run with --worktree."
        )
    arguments = [GIT, "-c", "core.fsmonitor=false", "diff", *(["--stat"] if stat else []), record.base]
    environment = shown_environment(os.environ) | {"GIT_OPTIONAL_LOCKS": "0"}
    tree = workspaces.worktree(task_id)
    try:
        if tree is not None:
            index = await index_of_files(tree, folder)
            return Shown([*arguments, "--"], tree.place, {**environment, **tree.variables, **index})
        common = Path(record.repository)
        variables = {"GIT_DIR": str(common)}
        branch = f"{HEADS}{record.branch}"
        await git("rev-parse", "--verify", "--quiet", f"{branch}^{{commit}}", cwd=common, variables=variables)
    except GitError as error:
        raise UsageError(
            f"The diff of {task_id!r} cannot be made: {error}.",
            hint=f"Its worktree was at {workspaces.place(task_id)}, its branch is {record.branch}.",
        ) from None
    return Shown([*arguments, branch, "--"], common, {**environment, **variables})
