"""The commands by name, each loaded when it is called, and the one boundary where every error becomes an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from agentdash._version import __version__
from agentdash.cli.faults import report_crash, report_error, report_usage
from agentdash.cli.options import Invocation
from agentdash.cli.output import give_up_stdout, use_tolerant_streams
from agentdash.errors import AgentdashError, ExitCode
from agentdash.secret import know_environment

_COMMANDS = {
    "demo": "demo:demo",
    "run": "run:run",
    "status": "status:status",
    "tasks": "tasks:tasks",
    "show": "show:show",
    "requeue": "change:requeue",
    "cancel": "change:cancel",
    "prioritize": "prioritize:prioritize",
    "rotate": "rotate:rotate",
    "locks": "locks:locks",
    "keys": "keys:keys",
    "export": "export:export",
    "diff": "diff:diff",
    "clean": "clean:clean",
    "doctor": "doctor:doctor",
    "config": "settings:config",
    "completions": "completions:completions",
}


class _Commands(click.Group):
    """A group whose commands are imported one by one, when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"agentdash.cli.{module}"), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:  # before click sees it: whoever reads us has seen enough, and that is no error
            give_up_stdout()
            return int(ExitCode.OK)
        return code


@click.group(cls=_Commands, name="agentdash", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Run a file of tasks against the Anthropic Messages API with a pool of workers; lose none, run none twice.

    \b
    Exit codes: 0 every task succeeded · 1 internal error · 2 bad usage or input
    3 finished, but tasks failed · 4 stalled, nothing lost · 130 interrupted, nothing lost
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. No error leaves it as a traceback."""
    use_tolerant_streams()
    know_environment(os.environ)
    invocation = Invocation()
    try:
        given = None if arguments is None else list(arguments)
        code = cli.main(given, prog_name="agentdash", standalone_mode=False, obj=invocation)
        return int(code or 0)
    except AgentdashError as error:
        return report_error(error)
    except click.Abort:
        return int(ExitCode.INTERRUPTED)
    except click.ClickException as error:
        return report_usage(error)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except BaseExceptionGroup as group:
        return report_crash(group.exceptions[0], invocation.project)
    except Exception as error:  # noqa: BLE001 - the boundary of the program: recorded, and told in one line
        return report_crash(error, invocation.project)
