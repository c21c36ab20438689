"""`agentdash run`: add tasks and run the project until every one is finished."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from agentdash.cli.options import config_option, json_option, new_project_option, workers_option
from agentdash.config import LOG_LEVELS, Settings, load_settings
from agentdash.errors import UsageError

_HEADLESS_HELP = "No dashboard: progress as plain lines on stderr. (By itself so where stdout is no terminal.)"

_PROCESSOR_HELP = "What runs a task (default messages): an agent by name, such as claude, or your own function."


@click.command(short_help="Add tasks and run until all are finished.")
@click.argument("sources", nargs=-1, metavar="[TASKS|-]...")
@new_project_option
@click.option("--results", type=click.Path(path_type=Path), metavar="FILE", help="Default: results.jsonl in DIR.")
@workers_option(help="How many tasks run at once (default 8); auto: as many as fill the limits.")
@click.option("--model", metavar="M", help="For tasks that name none.")
@click.option("--max-tokens", type=int, metavar="N", help="For tasks that state none (default 4096).")
@click.option("--system", metavar="TEXT|@FILE", help="System prompt of tasks that have none.")
@click.option("--processor", metavar="messages|agent|command|PRESET|MODULE:FUNCTION", help=_PROCESSOR_HELP)
@click.option("--command", metavar="'PROGRAM {prompt}'", help="Run each task as this command (--processor command).")
@click.option("--args", "command_args", metavar="'ARGUMENTS'", help="Further arguments for an agent by name.")
@click.option("--shell", is_flag=True, help="The command is one for /bin/sh; placeholders are quoted.")
@click.option("--tools", multiple=True, metavar="MODULE[:NAME,NAME]",
              help="Python functions that the model may call (--processor agent).")  # fmt: skip
@click.option("--max-turns", type=int, metavar="N", help="Most requests of one agent's try (default 50).")
@click.option("--worktree", is_flag=True, help="A git worktree and branch agentdash/ID for each task's command.")
@click.option("--worktree-base", metavar="REF", help="Where the branches begin (default HEAD, as it is at first).")
@click.option("--max-attempts", type=int, metavar="N", help="Tries for a task that fails by itself (default 3).")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="Time budget of one try (default 1800).")
@click.option("--stall-timeout", "stall_timeout_s", type=float, metavar="SECONDS",
              help="Stop with exit code 4 after so long without progress (default 600).")  # fmt: skip
@click.option("--limit", type=int, metavar="N", help="Run at most N tasks in this session.")
@click.option("--max-cost", type=float, metavar="USD", help="Begin no more tasks when the project has cost so much.")
@click.option("--max-task-cost", type=float, metavar="USD", help="A task has failed when its tries have cost so much.")
@click.option("--max-duration", metavar="2h30m", help="Begin no more tasks when this session has run for so long.")
@click.option("--stop-after", metavar="07:30", help="Begin no more tasks after this time (also with date and zone).")
@click.option("--headless", is_flag=True, help=_HEADLESS_HELP)
@json_option
@config_option
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="Of agentdash.log (default info).")
@click.option("--theme", metavar="NAME", help="Colours of the dashboard, such as agentdash-light.")
@click.option("--no-stream", is_flag=True, help="Ask for whole answers, not streams.")
@click.option("--skip-bad", is_flag=True, help="Add the good tasks of a file that has bad ones.")
@click.option("--allow-network-filesystem", is_flag=True, help="Use DIR though locks may not hold there.")
def run(
    sources: tuple[str, ...],
    headless: bool,
    as_json: bool,
    config: Path | None,
    no_stream: bool,
    skip_bad: bool,
    shell: bool,
    worktree: bool,
    allow_network_filesystem: bool,
    **flags: Any,
) -> int:
    """Add TASKS (files, directories, - for standard input) and run the project until all its tasks are finished.

    Without TASKS it goes on with what the project holds. Ctrl+C lets the running tasks finish; again stops at once.
    """
    flags["stream"] = False if no_stream else None
    flags["allow_network_filesystem"] = True if allow_network_filesystem else None
    flags["shell"] = True if shell else None
    flags["worktree"] = True if worktree else None
    if flags["command"] is not None and flags["processor"] is None:
        flags["processor"] = "command"
    flags["tools"] = flags["tools"] or None
    if flags["tools"] and flags["processor"] is None:
        flags["processor"] = "agent"
    if flags["tools"] and flags["processor"] != "agent":
        raise UsageError(f"Tools are for --processor agent, not for {flags['processor']}.")
    flags["system"] = _system(flags["system"])
    settings = load_settings(flags, config=config)
    _check(settings, sources)

    from agentdash.cli.dashboard import wants_dashboard
    from agentdash.cli.session import run_session
    from agentdash.engine.facade import Engine

    headless = not wants_dashboard(headless=headless)
    return asyncio.run(run_session(Engine(settings), sources, skip_bad=skip_bad, as_json=as_json, headless=headless))


def _system(text: str | None) -> str | None:
    """The system prompt; that of a file for `@FILE`."""
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"The file {text[1:]} of --system cannot be read: {error.strerror}.") from None
    except ValueError:
        raise UsageError(f"The file {text[1:]} of --system is not UTF-8 text.") from None


def _check(settings: Settings, sources: tuple[str, ...]) -> None:
    """What can be told before anything is made: an unknown source, or nothing to do."""
    if not settings.allow_network_filesystem:
        _refuse_network_filesystem(settings.project)
    if sources:
        from agentdash.engine.intake import BadLines, read_tasks

        read_tasks(sources, bad=BadLines())  # looks at the sources; nothing is read before it is iterated
    else:
        from agentdash.engine.store.sqlite import DATABASE, STATE_DIR

        if not (settings.project / STATE_DIR / DATABASE).exists():
            from agentdash.cli.session import no_tasks_error

            raise no_tasks_error()


def _refuse_network_filesystem(project: Path) -> None:
    from agentdash.engine import locks

    kind = locks.filesystem_of(project)
    if locks.is_network_filesystem(kind):
        raise UsageError(
            f"{project.absolute()} is on a network filesystem ({kind}), where locks do not hold.",
            hint="Use a folder on a local disk; or, if one machine only works there, --allow-network-filesystem.",
        )
