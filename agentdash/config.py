"""Settings: defaults, then `agentdash.toml` (the user's, then the project's), then the environment, then flags.

The result is frozen. Keys never stand in a file: `[[credentials]]` name the environment variable that holds one.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, time
from pathlib import Path
from typing import Any, Literal

from agentdash.errors import UsageError
from agentdash.settingchecks import CHECKS, LOG_LEVELS, is_text

__all__ = ["CONFIG_NAME", "LOG_LEVELS", "Settings", "explain_settings", "load_settings", "user_config_path"]

CONFIG_NAME = "agentdash.toml"
_MOST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a run is told. Times in seconds.

    `workers` "auto": as many as fill the limits, at most `max_workers`. `timeout_s` is the budget of one attempt;
    `stall_timeout_s` how long a headless run waits without any progress before it stops with exit code 4;
    `drain_timeout_s` how long running tasks may take to end when the run is asked to stop. `limit` is the number of
    tasks to run in this session, 0 for all. `theme` and `keys` (action → key) are the dashboard's.

    `command` is what the processor `command` runs, as one text or as its arguments; `command_args` are put behind those
    of a preset; `command_stdin` is what it reads,
    `command_env` the variables it is given beside the usual ones, `command_failures` what its ends mean, `shell`
    whether `/bin/sh` runs it; a program that is told to end has `kill_grace_s` for that. `presets` are more agents.
    With `worktree` each task has a git worktree and branch of its own, which begins at `worktree_base` (HEAD).

    `tools` are the Python functions that the processor `agent` gives to the model (`MODULE` or `MODULE:NAME,NAME`, one
    text or several); after `max_turns` requests without an answer the task fails.

    Limits: `max_cost` of the whole project and `max_task_cost` of a task that names none, in US dollars; `max_duration`
    of this session (`2h30m`, or seconds) and `stop_after` the moment (`07:30`) after which no further task begins.
    """

    project: Path = Path()
    results: Path | None = None
    workers: int | Literal["auto"] = 8
    max_workers: int = 256
    model: str | None = None
    max_tokens: int = 4096
    system: str | None = None
    processor: str = "messages"
    stream: bool = True
    max_attempts: int = 3
    timeout_s: float = 1800.0
    connect_timeout_s: float = 10.0
    first_token_timeout_s: float = 300.0
    idle_timeout_s: float = 300.0
    stall_timeout_s: float = 600.0
    drain_timeout_s: float = 60.0
    limit: int = 0
    command: str | tuple[str, ...] | None = None
    command_args: str | tuple[str, ...] | None = None
    command_stdin: str | None = None
    command_env: tuple[str, ...] = ()
    command_failures: tuple[Mapping[str, Any], ...] = ()
    shell: bool = False
    kill_grace_s: float = 10.0
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    worktree: bool = False
    worktree_base: str | None = None
    tools: str | tuple[str, ...] | None = None
    max_turns: int = 50
    max_cost: float | None = None
    max_task_cost: float | None = None
    max_duration: str | float | None = None
    stop_after: str | datetime | time | None = None
    log_level: str = "info"
    allow_network_filesystem: bool = False
    theme: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    credentials: tuple[Mapping[str, Any], ...] = ()

    @property
    def results_path(self) -> Path:
        """Where the results go: `results.jsonl` in the project unless said otherwise."""
        return self.results or self.project / "results.jsonl"

    @property
    def most_workers(self) -> int:
        """How many workers there may be at once, as long as nobody asks for more by hand."""
        return self.max_workers if self.workers == "auto" else self.workers


def load_settings(
    flags: Mapping[str, Any], *, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Put the settings together. `flags` holds only what was given on the command line.

    `config` replaces both config files. Raises `UsageError` for a file, variable or value that cannot be used.
    """
    layers = _layers(flags, config, os.environ if environ is None else environ)
    values: dict[str, Any] = {}
    for layer in layers:
        values |= layer.values
    return _checked(replace(Settings(), **values), {name: layer.origin for layer in layers for name in layer.values})


def explain_settings(
    flags: Mapping[str, Any], *, config: Path | None = None, environ: Mapping[str, str] | None = None
) -> list[tuple[str, Any, str]]:
    """Every setting with its value and where it comes from, as `load_settings` would take it. Raises the same."""
    settings = load_settings(flags, config=config, environ=environ)
    layers = _layers(flags, config, os.environ if environ is None else environ)
    origins = {name: layer.origin_of(name) for layer in layers for name in layer.values}
    return [(f.name, getattr(settings, f.name), origins.get(f.name, "default")) for f in fields(Settings)]


@dataclass(frozen=True, slots=True)
class _Layer:
    """The settings of one place: a file, the environment, or the command line (`--`)."""

    origin: str
    values: Mapping[str, Any]

    def origin_of(self, name: str) -> str:
        bare = name.removesuffix("_s")
        if self.origin == "--":
            return "--no-stream" if name == "stream" else f"--{bare.replace('_', '-')}"
        return f"AGENTDASH_{bare.upper()}" if self.origin == "environment" else self.origin


def _layers(flags: Mapping[str, Any], config: Path | None, environ: Mapping[str, str]) -> list[_Layer]:
    """Every place that says something, the weaker ones first."""
    given = {name: value for name, value in flags.items() if value is not None}
    named = environ.get("AGENTDASH_PROJECT")
    project = Path(given.get("project") or named or ".")
    files = [config] if config else [user_config_path(), project / CONFIG_NAME]
    layers = [_Layer(str(path), _read_file(path, required=config is not None)) for path in files]
    layers.append(_Layer("environment", _read_environment(environ) | ({"project": Path(named)} if named else {})))
    layers.append(_Layer("--", given | ({"project": project} if "project" in given else {})))
    return layers


def user_config_path() -> Path:
    """The user's own `agentdash.toml`."""
    import platformdirs

    return Path(platformdirs.user_config_dir("agentdash", appauthor=False)) / CONFIG_NAME


_PATHS = ("results",)
_DOLLARS = ("max_cost", "max_task_cost")
_ONLY_IN_FILES = ("project", "credentials", "keys", "command_env", "command_failures", "presets")
_KNOWN = (*CHECKS, *_PATHS, "credentials")


def _read_file(path: Path | None, *, required: bool) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise UsageError(f"There is no config file {path}.") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The config file {path} cannot be read: {error}.") from None
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; a number of too many digits; too deep
        raise UsageError(f"The config file {path} is not valid TOML: {error}.") from None
    for name in values:
        if name not in _KNOWN:
            near = difflib.get_close_matches(name, _KNOWN, 1)
            raise UsageError(f"{path}: unknown setting {name!r}.", hint=f"Did you mean {near[0]!r}?" if near else None)
    entries = values.get("credentials", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{path}: `credentials` are written as [[credentials]] tables.")
    values["credentials"] = tuple(_checked_credential(entry, n, path) for n, entry in enumerate(entries, 1))
    if not entries:
        del values["credentials"]
    for name in _PATHS:
        if name in values:
            values[name] = (path.parent / values[name]) if is_text(values[name]) else values[name]
    return values


def _checked_credential(entry: Mapping[str, Any], number: int, path: Path) -> Mapping[str, Any]:
    known = ("name", "api_key_env", "base_url", "model", "limit_group")
    for name, value in entry.items():
        if name in ("api_key", "key", "token"):
            raise UsageError(
                f"{path}: credentials entry {number} holds a key.",
                hint="Put the key into an environment variable and name that with `api_key_env`.",
            )
        if name not in known or not is_text(value):
            raise UsageError(f"{path}: credentials entry {number}: {name!r} is unknown or no text.")
    return entry


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for f in fields(Settings):
        text = environ.get(f"AGENTDASH_{f.name.removesuffix('_s').upper()}")
        if not text or f.name in _ONLY_IN_FILES:  # set to nothing is not set, as for the keys
            continue
        kind: object = type(f.default)
        try:
            if f.name in _PATHS:
                values[f.name] = Path(text)
            elif kind is bool:
                values[f.name] = {"1": True, "true": True, "0": False, "false": False}[text.lower()]
            else:
                is_float = kind is float or f.name in _DOLLARS
                values[f.name] = int(text) if kind is int else float(text) if is_float else text
        except (ValueError, KeyError):
            values[f.name] = text  # the check below says what it should have been
    return values


def _checked(settings: Settings, origins: Mapping[str, str]) -> Settings:
    """The settings, if each is one that can be used. `origins`: which layer said it."""

    def refuse(name: str, what: str, value: object) -> UsageError:
        origin = origins.get(name, "--")
        where = "" if origin in ("--", "environment") else f"{origin}: "
        shown = repr(value)
        shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}…"
        return UsageError(f"{where}{name.removesuffix('_s')} must be {what}, not {shown}.")

    for name in _PATHS:
        value = getattr(settings, name)
        if not isinstance(value, str | Path | None) or value == "" or "\0" in str(value or ""):
            raise refuse(name, "a path", value)
    for name, (is_fine, what) in CHECKS.items():
        value = getattr(settings, name)
        if value is None or is_fine(value):
            continue
        raise refuse(name, what, value)
    return settings
