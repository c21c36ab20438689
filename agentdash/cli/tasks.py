"""`agentdash tasks`: the tasks of a project in their order, streamed, so that a million of them need no memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from agentdash.cli.options import project_option
from agentdash.cli.output import columns, local_time, say, say_json
from agentdash.cli.project import open_project
from agentdash.clock import isoformat
from agentdash.engine.store.base import TaskRecord
from agentdash.model import TaskState
from agentdash.text import cell_width, clean, shorten

_ID_CELLS = 28


@click.command()
@click.option("--state", "states", multiple=True, type=click.Choice([s.value for s in TaskState]), help="Only these.")
@click.option("--limit", type=click.IntRange(min=0), default=0, metavar="N", help="At most so many; 0 (default): all.")
@project_option
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line.")
def tasks(states: tuple[str, ...], limit: int, project: Path, as_json: bool) -> None:
    """List the tasks."""
    with open_project(project) as store:
        room = columns(sys.stdout)
        if not as_json:
            say(f"{'id':{_ID_CELLS}}  {'state':9}  try  {'worker':10}  {'finished':19}  error")
        for record in store.tasks([TaskState(state) for state in states], limit=limit or None):
            if as_json:
                say_json(task_dict(record))
            else:
                line = _line(record)
                say(line if room is None else shorten(line, room))


def task_dict(record: TaskRecord) -> dict[str, Any]:
    """One task as JSON."""
    return {
        "id": record.id,
        "state": record.state.value,
        "priority": record.priority,
        "attempts": record.attempts,
        "service_failures": record.service_failures,
        "crashes": record.crashes,
        "worker": record.worker,
        "claimed_at": _iso(record.claimed_at),
        "finished_at": _iso(record.finished_at),
        "available_at": _iso(record.available_at),
        "error": {"type": record.error_type, "message": record.error_message} if record.error_type else None,
    }


def _iso(timestamp: float | None) -> str | None:
    return isoformat(timestamp) if timestamp else None


def _line(record: TaskRecord) -> str:
    task_id = shorten(clean(record.id), _ID_CELLS) if sys.stdout.isatty() else clean(record.id)
    task_id += " " * (_ID_CELLS - cell_width(task_id))
    tries = record.attempts + record.service_failures + record.crashes
    error = f"{record.error_type}: {record.error_message}" if record.error_type else ""
    line = f"{task_id}  {record.state:9}  {tries:3}  {clean(record.worker or '–'):10}  "
    return (line + f"{local_time(record.finished_at):19}  {clean(error)}").rstrip()
