"""`agentdash demo`: a whole run against the built-in server, with rate limits and failures. No key, no network."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import click

from agentdash.cli.options import json_option, remember_project, workers_option
from agentdash.cli.output import tell
from agentdash.config import Settings
from agentdash.errors import StoreError, UsageError

_TASKS = "demo-tasks.jsonl"
_MODEL = "claude-haiku-4-5"
_STALL_S = 120.0


@click.command(short_help="A run with made-up tasks, keys and server.")
@click.option("--tasks", "number", type=click.IntRange(1, 1_000_000), default=60, show_default=True, metavar="N")
@workers_option(default="16", show_default=True)
@click.option("--headless", is_flag=True, help="No dashboard: progress as plain lines on stderr.")
@json_option
@click.option("--project", type=click.Path(path_type=Path), metavar="DIR", callback=remember_project,
              help="Keep the project here.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the tasks and their failures.")
def demo(
    number: int, workers: int | Literal["auto"], headless: bool, as_json: bool, project: Path | None, seed: int
) -> int:
    """Try it: tasks, three keys of two organisations and a server are made up. Needs no key and no network.

    A few of the tasks fail, as tasks do; so the exit code is 3.
    """
    with ExitStack() as stack:
        is_kept = project is not None
        if project is None:
            project = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agentdash-")), "demo")
        else:
            _check_project(project)
        settings = Settings(project=project, workers=workers, model=_MODEL, stall_timeout_s=_STALL_S)
        return asyncio.run(_demo(settings, number, seed, is_kept=is_kept, as_json=as_json, headless=headless))


async def _demo(settings: Settings, number: int, seed: int, *, is_kept: bool, as_json: bool, headless: bool) -> int:
    from agentdash.cli.dashboard import wants_dashboard
    from agentdash.cli.demo_server import demo_config, demo_credentials
    from agentdash.cli.session import run_session
    from agentdash.cli.workload import write_tasks
    from agentdash.engine.facade import Engine
    from agentdash.simulator import Simulator

    config = demo_config(seed)
    tasks = settings.project / _TASKS
    try:
        settings.project.mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(write_tasks, tasks, number, seed)
    except OSError as error:
        raise StoreError(f"The folder {settings.project} cannot be written: {error.strerror}.") from None
    async with Simulator(config) as simulator:
        tell(f"A simulated API with three keys of two organisations at {simulator.base_url}.")
        engine = Engine(settings, credentials=demo_credentials(config, simulator.base_url))
        again = f"agentdash demo --tasks {number} --seed {seed}" if is_kept else None
        headless = not wants_dashboard(headless=headless)
        code = await run_session(engine, [str(tasks)], resume=again, as_json=as_json, headless=headless)
    if not is_kept:
        tell("That was a demo: its folder is gone. Keep one, and look at it, with `agentdash demo --project DIR`.")
    return code


def _check_project(project: Path) -> None:
    """Refuse a folder with work of the user's own: its tasks would be run, and answered with nonsense."""
    if (project / ".agentdash").exists() and not (project / _TASKS).exists():
        raise UsageError(f"{project} holds a project that is no demo.", hint="Name another folder, or none at all.")
