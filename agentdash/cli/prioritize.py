"""`agentdash prioritize`: which of the pending tasks come first; a running process has it within a second."""

from __future__ import annotations

from pathlib import Path

import click

from agentdash.cli.options import project_option
from agentdash.cli.output import count, say, tell
from agentdash.cli.project import change_project, check_ids
from agentdash.engine.store import SqliteTaskStore
from agentdash.model import MAX_PRIORITY, TaskState
from agentdash.text import clean


@click.command(short_help="Give pending tasks another priority.")
@click.argument("ids", nargs=-1, required=True, metavar="IDS...")
@click.option(
    "--to",
    type=click.IntRange(-MAX_PRIORITY, MAX_PRIORITY),
    required=True,
    metavar="N",
    help="The new priority; the higher it is, the earlier they begin. 0 is what tasks have that name none.",
)
@project_option
def prioritize(ids: tuple[str, ...], to: int, project: Path) -> None:
    """Give pending tasks another priority. What a task waits for comes first all the same."""

    async def change(store: SqliteTaskStore) -> int:
        check_ids(store, ids)
        for task_id in dict.fromkeys(ids):
            record = store.find(task_id)
            if record is not None and record.state is not TaskState.PENDING:
                state = "is running" if record.state is TaskState.RUNNING else "has finished already"
                tell(f"{clean(task_id)} {state}.")
        return await store.prioritize(ids, to=to)

    say(f"{count(change_project(project, change), 'task')} given priority {to:,}.")
