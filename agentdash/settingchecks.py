"""What each setting may be: a check, and the words for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from agentdash.durations import parse_duration, parse_moment

LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def _number(least: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and least <= value < 1e9


def _whole(least: int, most: int = 2**31 - 1) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_text(value: Any) -> bool:
    """Text that says something."""
    return isinstance(value, str) and bool(value)


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(is_text(item) for item in value)


def _tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value)


def _dollars(value: Any) -> bool:
    return _number(0)(value) and value > 0


def _readable(parse: Callable[[Any], object]) -> Callable[[Any], bool]:
    def is_readable(value: Any) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return is_readable


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _keymap(value: Any) -> bool:
    return isinstance(value, dict) and all(is_text(key) for key in value.values())


CHECKS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "workers": (lambda value: value == "auto" or _whole(1, 10_000)(value), "a whole number from 1 to 10000, or auto"),
    "max_workers": (_whole(1, 10_000), "a whole number from 1 to 10000"),
    "model": (is_text, "a model's name"),
    "max_tokens": (_whole(1), "a whole number of at least 1"),
    "system": (lambda value: isinstance(value, str), "text"),
    "processor": (is_text, "messages, agent, command, a preset's name, or MODULE:FUNCTION"),
    "stream": (_flag, "true or false"),
    "max_attempts": (_whole(1, 1000), "a whole number from 1 to 1000"),
    "timeout_s": (_number(0.001), "a number of seconds above 0"),
    "connect_timeout_s": (_number(0.001), "a number of seconds above 0"),
    "first_token_timeout_s": (_number(0.001), "a number of seconds above 0"),
    "idle_timeout_s": (_number(0.001), "a number of seconds above 0"),
    "stall_timeout_s": (_number(0), "a number of seconds, 0 or more"),
    "drain_timeout_s": (_number(0), "a number of seconds, 0 or more"),
    "limit": (_whole(0), "a whole number, 0 for no limit"),
    "command": (
        lambda value: is_text(value) or (_texts(value) and bool(value)),
        "a command, or a list of its arguments",
    ),
    "command_args": (lambda value: isinstance(value, str) or _texts(value), "arguments, as text or a list"),
    "command_stdin": (lambda value: isinstance(value, str), "text"),
    "command_env": (_texts, "a list of variables' names"),
    "command_failures": (_tables, "written as [[command_failures]] tables"),
    "shell": (_flag, "true or false"),
    "kill_grace_s": (_number(0), "a number of seconds, 0 or more"),
    "presets": (
        lambda value: isinstance(value, Mapping) and _tables(list(value.values())),
        "written as [presets.NAME] tables",
    ),
    "tools": (lambda value: is_text(value) or _texts(value), "MODULE, MODULE:NAME,NAME, or a list of such texts"),
    "max_turns": (_whole(1, 10_000), "a whole number from 1 to 10000"),
    "max_cost": (_dollars, "an amount of US dollars above 0"),
    "max_task_cost": (_dollars, "an amount of US dollars above 0"),
    "max_duration": (_readable(parse_duration), "a time such as 30s, 45m or 2h30m, or a number of seconds"),
    "stop_after": (_readable(parse_moment), "a time such as 07:30 or 2026-11-22T07:30, or one with a zone (…+01:00)"),
    "worktree": (_flag, "true or false"),
    "worktree_base": (is_text, "a branch, a tag or a commit"),
    "log_level": (lambda value: value in LOG_LEVELS, f"one of {', '.join(LOG_LEVELS)}"),
    "allow_network_filesystem": (_flag, "true or false"),
    "theme": (is_text, "a theme's name"),
    "keys": (_keymap, 'a table [keys] of lines such as pause = "p"'),
}
"""By the setting's name: whether a value can be used, and what it must be."""
