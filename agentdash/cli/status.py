"""`agentdash status`: where a project stands, live or not, from a few indexed reads."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from agentdash.cli.options import json_option, project_option
from agentdash.cli.output import amount, dollars, duration, local_time, say, say_json, table
from agentdash.cli.project import lock_views, open_project
from agentdash.engine.status import live_processes, project_status
from agentdash.text import clean


@click.command()
@project_option
@json_option
def status(project: Path, as_json: bool) -> None:
    """Show where the project stands."""
    now = time.time()
    with open_project(project) as store:
        report = project_status(store, lock_views(project, now), now)
        processes = len(live_processes(store, now))
    if as_json:
        say_json(report)
        return
    say(f"{clean(str(project.resolve()))}: {_activity(report, processes)}")
    for line in summary_lines(report):
        say(line)
    if report["credentials"]:
        say()
        table(("key", "organization", "state", "requests", "429s", "last error"), map(_key_row, report["credentials"]))


def summary_lines(report: dict[str, Any]) -> list[str]:
    """The figures of a status object as people read them: counts, then what they cost."""
    counts = "  ".join(
        f"{name} {report[name]:,}"
        for name in ("total", "succeeded", "failed", "cancelled", "running", "pending", "held")
        if report[name] or name in ("total", "succeeded", "failed")
    )
    used = (
        f"requests {report['requests']:,}  429s {report['rate_limited']:,}  retries {report['retries']:,}"
        f"  tokens {amount(report['input_tokens'])} in, {amount(report['output_tokens'])} out"
    )
    cost = f"  cost ${report['cost_usd']:,.2f}" if report["cost_usd"] else ""
    lines = [f"  {counts}", f"  {used}{cost}", f"  time worked {duration(report['elapsed_s'])}{_speed(report)}"]
    limits = report["limits"]
    if limits["reason"]:
        lines.append(f"  {clean(limits['reason'])}")
    elif left := _left(limits):
        lines.append(f"  limits: {', '.join(left)}")
    return lines


def _left(limits: dict[str, Any]) -> list[str]:
    """What is left of each limit."""
    left = []
    if limits["max_cost_usd"] is not None:
        left.append(f"{dollars(limits['cost_left_usd'])} left of {dollars(limits['max_cost_usd'])}")
    if limits["max_task_cost_usd"] is not None:
        left.append(f"{dollars(limits['max_task_cost_usd'])} a task")
    if limits["max_duration_s"] is not None:
        left.append(f"{duration(limits['duration_left_s'])} left of {duration(limits['max_duration_s'])}")
    if limits["stop_after"] is not None:
        left.append(f"stops after {local_time(datetime.fromisoformat(limits['stop_after']).timestamp())}")
    return left


def _speed(report: dict[str, Any]) -> str:
    eta = f"  ETA {duration(report['eta_s'])}" if report["eta_s"] is not None else ""
    return f"  {report['tasks_per_s']:,.1f} tasks/s{eta}" if report["tasks_per_s"] else ""


def _activity(report: dict[str, Any], processes: int) -> str:
    if not processes:
        return "not running" if report["pending"] + report["running"] > report["held"] else "finished"
    paused = ", paused" if report["paused"] else ""
    return f"running in {processes} processes{paused}" if processes > 1 else f"running{paused}"


def _key_row(key: dict[str, Any]) -> tuple[object, ...]:
    wait = f" {duration(key['cooldown_s'])}" if key["cooldown_s"] else ""
    mark = " (active)" if key["active"] else ""
    organization = (key["organization"] or "–")[:8]
    row = (f"{key['name']}{mark}", organization, f"{key['state']}{wait}", key["requests"], key["rate_limited"])
    return (*row, key["last_error"] or "")
