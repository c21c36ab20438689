"""`agentdash diff`: what a task has changed in its worktree, as git shows it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import tempfile
from pathlib import Path

import click

from agentdash.cli.options import project_option
from agentdash.cli.project import check_ids, open_project, open_workspaces
from agentdash.errors import ExitCode, UsageError
from agentdash.text import clean


@click.command(short_help="Show what a task has changed in its worktree.")
@click.argument("task_id", metavar="ID")
@click.option("--stat", is_flag=True, help="A summary: a line for each file.")
@project_option
def diff(task_id: str, stat: bool, project: Path) -> int:
    """Show what a task has changed in its worktree since it began: its commits, changes in no commit, and new files."""
    from agentdash.engine.workspaces.showing import diff_command

    with open_project(project) as store:
        check_ids(store, (task_id,))
    with tempfile.TemporaryDirectory(prefix="agentdash-") as folder:
        shown = asyncio.run(diff_command(open_workspaces(project), task_id, Path(folder), stat=stat))
        # Ctrl+C is for the pager; a handler, other than being ignored, is not handed down to it.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            done = subprocess.run(shown.arguments, cwd=shown.cwd, env=shown.environment, check=False)
        finally:
            signal.signal(signal.SIGINT, before)
    if done.returncode not in (0, -signal.SIGPIPE, -signal.SIGINT):
        raise UsageError(f"git could not show the diff of {clean(task_id)}.", hint="It has said why above.")
    return int(ExitCode.OK)
