"""`agentdash tasks`: the tasks of a project in their order, streamed, so that a million of them need no memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import click

from agentdash.cli.options import project_option
from agentdash.cli.output import columns, local_time, say, say_json
from agentdash.cli.project import open_project
from agentdash.clock import isoformat
from agentdash.engine.store.records import TaskRecord
from agentdash.model import TaskState
from agentdash.text import cell_width, clean, shorten

_ID_CELLS = 24


@click.command()
@click.option("--state", "states", multiple=True, type=click.Choice([s.value for s in TaskState]), help="Only these.")
@click.option("--limit", type=click.IntRange(min=0), default=0, metavar="N", help="At most so many; 0 (default): all.")
@project_option
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a line.")
def tasks(states: tuple[str, ...], limit: int, project: Path, as_json: bool) -> None:
    """List the tasks."""
    with open_project(project) as store:
        found = store.tasks([TaskState(state) for state in states], limit=limit or None)
        first = next(found, None)  # before the heads: it tells whether the database can be read
        records = chain(() if first is None else (first,), found)
        if as_json:
            for record in records:
                say_json(task_dict(record))
        else:
            _print_lines(records)


def _print_lines(records: Iterable[TaskRecord]) -> None:
    room = columns(sys.stdout)
    heads = _columns("id", "state", "try", "worker", "finished", "error")
    for line in chain((heads,), map(_line, records) if room is None else (_line(r, _ID_CELLS) for r in records)):
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
        "after": list(record.after),
        "waits_for": record.waits_for,
        "held_by": record.held_by,
        "error": {"type": record.error_type, "message": record.error_message} if record.error_type else None,
    }


def _iso(timestamp: float | None) -> str | None:
    return isoformat(timestamp) if timestamp else None


def _line(record: TaskRecord, id_cells: int | None = None) -> str:
    tries = record.attempts + record.service_failures + record.crashes
    error = f"{record.error_type}: {record.error_message}" if record.error_type else _waits(record)
    task_id = clean(record.id) if id_cells is None else shorten(clean(record.id), id_cells)
    when = local_time(record.finished_at, "%m-%d %H:%M")
    return _columns(task_id, record.state, str(tries), clean(record.worker or "–"), when, clean(error))


def _waits(record: TaskRecord) -> str:
    """Why a pending task does not begin, if it is for other tasks."""
    if record.held_by is not None:
        return f"held by {record.held_by}"
    if not record.waits_for or record.state is not TaskState.PENDING:
        return ""
    only = record.after[0] if len(record.after) == 1 else f"{record.waits_for:,} tasks"
    return f"waits for {only}"


def _columns(task_id: str, state: str, tries: str, worker: str, finished: str, error: str) -> str:
    padding = " " * (_ID_CELLS - cell_width(task_id))
    return f"{task_id}{padding}  {state:9}  {tries:>3}  {worker:9}  {finished:11}  {error}".rstrip()
