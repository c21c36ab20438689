"""The processor of a run whose tasks are commands, as its settings say."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from agentdash.config import Settings
from agentdash.engine.command.presets import failure_rules, find_preset, for_command
from agentdash.engine.command.processor import CommandProcessor, CommandSettings
from agentdash.engine.command.recipe import Recipe
from agentdash.engine.command.template import split
from agentdash.engine.credentials import load_credentials
from agentdash.engine.store.sqlite import STATE_DIR
from agentdash.engine.workspaces import Workspaces
from agentdash.errors import UsageError

_COMMAND = "command"


def command_processor(settings: Settings) -> CommandProcessor:
    """The processor for `command`, or for a preset by its name. Raises `UsageError`."""
    recipe = _recipe(settings)
    if sys.platform == "win32":
        raise UsageError("Commands as tasks need Linux or macOS.", hint="On Windows, use the Linux subsystem (WSL).")
    state = Path(os.path.realpath(settings.project), STATE_DIR)
    return CommandProcessor(
        recipe,
        CommandSettings(
            project=settings.project,
            state=state,
            timeout_s=settings.timeout_s,
            grace_s=settings.kill_grace_s,
            model=settings.model,
            system=settings.system,
        ),
        workspaces=Workspaces(settings.project, state, settings.worktree_base) if settings.worktree else None,
    )


def _recipe(settings: Settings) -> Recipe:
    rules = failure_rules(settings.command_failures, "command_failures")
    if settings.processor == _COMMAND:
        if settings.command is None:
            raise UsageError("There is no command to run.", hint="For example: --command 'claude -p {prompt}'.")
        has_keys = bool(load_credentials(os.environ, settings.credentials).credentials)
        command = settings.command if isinstance(settings.command, str) else tuple(settings.command)
        recipe = for_command(
            command, stdin=settings.command_stdin, shell=settings.shell, rules=rules, needs_key=has_keys
        )
    else:
        preset = find_preset(settings.processor, settings.presets)
        if settings.command is not None:
            raise UsageError(
                f"A command and the processor {settings.processor!r} do not go together.",
                hint="Change the preset's command in [presets." + settings.processor + "], or use --processor command.",
            )
        more = settings.command_args
        added = () if more is None else split(more, "args") if isinstance(more, str) else tuple(more)
        recipe = replace(preset, command=(*preset.command, *added), rules=(*rules, *preset.rules))
        recipe.check("args")
    return replace(recipe, passed=(*recipe.passed, *settings.command_env))
