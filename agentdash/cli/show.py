"""`agentdash show`: everything known of one task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from agentdash.cli.options import json_option, project_option
from agentdash.cli.output import local_time, say, say_json
from agentdash.cli.project import check_ids, open_project
from agentdash.cli.tasks import task_dict
from agentdash.clock import isoformat
from agentdash.engine.command.attempts import log_path
from agentdash.figures import work
from agentdash.model import Attempt, LinkedTask
from agentdash.text import clean, clean_lines

_LINKED = 100
"""So many of the tasks that it waits for, and that wait for it, are listed."""


@click.command(short_help="Show one task with its attempts and answer.")
@click.argument("task_id", metavar="ID")
@project_option
@json_option
def show(task_id: str, project: Path, as_json: bool) -> None:
    """Show one task: its prompt and parameters, every attempt, and the answer."""
    with open_project(project) as store:
        check_ids(store, (task_id,))
        record = store.find(task_id)
        attempts = store.attempts(task_id)
        body = json.loads(store.payload(task_id) or "{}")
        result = json.loads(store.result(task_id) or "null")
        after, needed_by = store.linked(task_id, _LINKED)
    if record is None:
        return
    if as_json:
        history = [_attempt_dict(attempt) for attempt in attempts]
        links = {"waits_on": _link_dicts(after), "needed_by": _link_dicts(needed_by)}
        say_json(task_dict(record) | links | {"task": body, "history": history, "result": result})
        return
    _fields(task_dict(record))
    _links("waits for", after)
    _links("needed by", needed_by)
    _task(body)
    if attempts:
        _heading("attempts")
    for attempt in attempts:
        _attempt(attempt, log_path(store.path.parent / "attempts", task_id, attempt.fence))
    if result:
        _result(result)


def _fields(task: Mapping[str, Any]) -> None:
    say(f"{clean(task['id'])}: {task['state']}")
    tried = f"attempts {task['attempts']}"
    tried += f", service failures {task['service_failures']}" if task["service_failures"] else ""
    tried += f", crashes {task['crashes']}" if task["crashes"] else ""
    say(f"  {tried}, priority {task['priority']}" if task["priority"] else f"  {tried}")
    if task["held_by"] is not None:
        say(f"  held by {clean(task['held_by'])}")
    if task["error"]:
        say(f"  error {clean(str(task['error']['type']))}: {clean(str(task['error']['message']))}")


def _links(head: str, links: Sequence[LinkedTask]) -> None:
    """The tasks that this one waits for, or that wait for it, with their states."""
    if links:
        _heading(head)
    for link in links:
        say(f"  {clean(link.id)}: {link.state}{', held' if link.held else ''}")
    if len(links) == _LINKED:
        say("  …")


def _link_dicts(links: Sequence[LinkedTask]) -> list[dict[str, Any]]:
    return [{"id": link.id, "state": link.state.value, "held": link.held} for link in links]


def _task(body: Mapping[str, Any]) -> None:
    prompt = body.get("prompt")
    parameters = {name: value for name, value in body.items() if name != "prompt"}
    if parameters:
        _heading("parameters")
        for name, value in parameters.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
            first, *rest = clean_lines(text).split("\n")
            say(f"  {clean(name)}: {first}")
            for line in rest:
                say(f"    {line}")
    if isinstance(prompt, str):
        _heading("prompt")
        _block(prompt)


def _attempt(attempt: Attempt, log: Path) -> None:
    took = max(0.0, attempt.finished_at - attempt.started_at)
    who = " ".join(part for part in (attempt.worker, attempt.credential) if part)
    say(clean(f"  {attempt.fence}. {local_time(attempt.started_at)}  {took:.2f} s  {who}  {attempt.outcome}"))
    if attempt.error_type:
        say(clean(f"     {attempt.error_type}: {attempt.error_message}"))
    if attempt.request_id:
        say(clean(f"     request {attempt.request_id}"))
    if log.exists():
        say(clean(f"     output {log}"))


def _result(result: Mapping[str, Any]) -> None:
    details = result.get("agentdash") or {}
    usage = details.get("usage")
    if usage:
        cost = details.get("cost_usd")
        _heading("usage")
        shown = ", ".join(f"{clean(name)} {number:,}" for name, number in usage.items() if number)
        say(f"  {shown}" + (f", cost ${cost:.6f}" if cost is not None else ""))
    value = details.get("value")
    worktree = value.get("worktree") if isinstance(value, Mapping) else None
    if isinstance(worktree, Mapping):
        _heading("worktree")
        say(f"  {clean(work(worktree))}")
    if details.get("output"):
        _heading("output")
        _block(str(details["output"]))


def _heading(text: str) -> None:
    say(f"\n{text}")


def _block(text: str) -> None:
    for line in clean_lines(text).split("\n"):
        say(f"  {line}")


def _attempt_dict(attempt: Attempt) -> dict[str, Any]:
    error = {"type": attempt.error_type, "message": attempt.error_message} if attempt.error_type else None
    return {
        "attempt": attempt.fence,
        "worker": attempt.worker,
        "credential": attempt.credential,
        "organization": attempt.organization,
        "started_at": isoformat(attempt.started_at),
        "finished_at": isoformat(attempt.finished_at),
        "duration_s": round(attempt.finished_at - attempt.started_at, 3),
        "outcome": attempt.outcome,
        "error": error,
        "request_id": attempt.request_id,
    }
