"""`agentdash config`: the settings in effect and where each comes from. No keys: those never stand in settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from agentdash.cli.keys import without_userinfo
from agentdash.cli.options import config_option, json_option, new_project_option
from agentdash.cli.output import say_json, table
from agentdash.config import explain_settings
from agentdash.engine.credentials import shown_variable
from agentdash.secret import Secret, redact


@click.command()
@new_project_option
@config_option
@json_option
def config(project: Path | None, config: Path | None, as_json: bool) -> None:
    """Show the settings in effect, and where each comes from."""
    found = [
        (name, _plain(name, value), origin)
        for name, value, origin in explain_settings({"project": project}, config=config)
    ]
    if as_json:
        say_json({name: {"value": value, "from": origin} for name, value, origin in found})
    else:
        table(("setting", "value", "from"), [(name, _text(value), origin) for name, value, origin in found])


_SHOWN = {"base_url": without_userinfo, "api_key_env": shown_variable}


def _plain(name: str, value: Any) -> Any:
    if name == "credentials":
        for entry in value:
            Secret(os.environ.get(entry.get("api_key_env", ""), ""))  # what it holds may stand here by mistake as well
        return [{field: _SHOWN.get(field, redact)(text) for field, text in entry.items()} for entry in value]
    if isinstance(value, Path):
        return str(value)
    return redact(value) if isinstance(value, str) else value


def _text(value: Any) -> str:
    if value is None or value == []:
        return "–"
    if isinstance(value, list):
        return ", ".join(f"{entry.get('name', '?')} ({entry.get('api_key_env')})" for entry in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
