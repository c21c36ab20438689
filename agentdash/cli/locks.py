"""`agentdash locks`: who holds which task, and the removal of what nobody holds."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import click

from agentdash.cli.options import json_option, project_option
from agentdash.cli.output import count, duration, say, say_json, table
from agentdash.engine.locks import TaskLock
from agentdash.engine.status import lock_dict
from agentdash.errors import StoreError


@click.command(short_help="List the locks; remove stale ones.")
@click.option("--clean", "clean_up", is_flag=True, help="Remove the lock files that nobody holds.")
@project_option
@json_option
def locks(clean_up: bool, project: Path, as_json: bool) -> None:
    """List the lock files: held, overdue (past the task's time), stale (nobody holds it) or foreign."""
    if not any((project / name).is_dir() for name in (".agentdash", ".locks")):
        raise StoreError(f"There is no agentdash project in {project}.")
    with closing(TaskLock(project, allow_network_filesystem=True)) as lock:
        removed = lock.clean_all_stale_locks(0) if clean_up else 0
        now = time.time()
        found = [lock_dict(view, now) for view in lock.views(now)]
    if as_json:
        say_json({"locks": found, "removed": removed})
        return
    if clean_up:
        say(f"{count(removed, 'stale lock')} removed.")
    if not found:
        say("No locks.")
        return
    rows = [(x["task_id"], x["holder_id"], x["pid"] or "–", duration(x["age_s"]), x["state"]) for x in found]
    table(("task", "holder", "pid", "age", "state"), rows)
