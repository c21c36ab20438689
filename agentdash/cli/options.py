"""The options that several commands share, spelled and explained once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
_MOST_WORKERS = 10_000


@dataclass(slots=True)
class Invocation:
    """What the outermost boundary has to know of the command that runs."""

    project: Path = field(default_factory=Path)


def remember_project(context: click.Context, _: click.Parameter, value: Path | None) -> Path | None:
    """A callback: tells the outermost boundary which folder's log takes what goes wrong."""
    if isinstance(context.obj, Invocation):
        context.obj.project = value or Path(os.environ.get("AGENTDASH_PROJECT") or ".")
    return value


def _workers(_: click.Context, __: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "auto":
        return value
    is_number = value.isascii() and value.isdecimal() and len(value) < 10
    if not is_number or not 1 <= int(value) <= _MOST_WORKERS:
        raise click.BadParameter(f"{value!r} is neither a whole number from 1 to {_MOST_WORKERS} nor auto.")
    return int(value)


def workers_option(**attributes: Any) -> Callable[[F], F]:
    """`--workers N|auto`."""
    return click.option("--workers", metavar="N|auto", callback=_workers, **attributes)


def _project(**attributes: Any) -> Callable[[F], F]:
    return click.option(
        "--project",
        metavar="DIR",
        type=click.Path(path_type=Path),
        callback=remember_project,
        help="The project folder (AGENTDASH_PROJECT; the current one by default).",
        **attributes,
    )


project_option = _project(envvar="AGENTDASH_PROJECT", default=".")
new_project_option = _project()
"""None if it was not given: `load_settings` knows the other places."""

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON, and nothing else, on stdout.")
config_option = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read this config file in place of the user's and the project's.",
)
