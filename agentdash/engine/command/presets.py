"""Agent programs by name: how each is started unattended, and how its output is understood.

The table can be extended, and its entries changed, by `[presets.NAME]` in the config file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final

from agentdash.engine.command.claude import ClaudeReader
from agentdash.engine.command.recipe import PROMPT, ReaderMaker, Recipe
from agentdash.engine.command.template import split
from agentdash.engine.command.verdict import FailureRule
from agentdash.errors import UsageError
from agentdash.model import FailureClass

READERS: Final[Mapping[str, ReaderMaker | None]] = {"text": None, "claude": ClaudeReader}
"""How a program's standard output is understood: as text that is the answer, or as Claude Code's stream of JSON."""

_API: Final = tuple(
    FailureRule(failure_class, re.compile(pattern, re.IGNORECASE))
    for failure_class, pattern in (
        (FailureClass.LIMITED, r"\b429\b|rate.?limit"),
        (FailureClass.OVERLOAD, r"\b529\b|overloaded"),
        (FailureClass.CREDENTIAL, r"\b401\b|authentication_error|invalid x-api-key"),
        (FailureClass.SERVICE, r"\b50[0234]\b|api_error|connection error"),
    )
)
"""What the last words of programs say that tell an API's errors in their own way."""

CLAUDE_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "model": ("--model", "{model}"),
    "system": ("--append-system-prompt", "{system}"),
    "max_cost": ("--max-budget-usd", "{max_cost}"),
    "session": ("--resume", "{session}"),
}
CLAUDE_ENVIRONMENT: Final[Mapping[str, str]] = {
    "CLAUDE_CODE_MAX_RETRIES": "2",  # of overloads; at the first one for a limit or a key the attempt is ended
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",  # else a broken stream is asked, and paid, once more unstreamed
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",  # else it goes on after its result
    "CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS": "300000",
    "API_TIMEOUT_MS": "300000",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
}
"""Hermetic, and bounded: without the two times a stream that stalls is waited for without end."""

_NO_SLASH_COMMAND: Final = f" {PROMPT}"
"""A prompt that begins with a slash would be a command of the program's own, such as /clear."""
GO_ON: Final = f"You were interrupted. Look at what is done already, and go on with the task:\n\n{PROMPT}"

PRESETS: Final[Mapping[str, Recipe]] = {
    "claude": Recipe(
        ("claude", "-p", "--output-format", "stream-json", "--verbose", "--permission-mode", "acceptEdits"),
        stdin=_NO_SLASH_COMMAND,
        stdin_again=GO_ON,
        options=CLAUDE_OPTIONS,
        environment=CLAUDE_ENVIRONMENT,
        needs_key=True,
        reader=ClaudeReader,
    ),
    "opencode": Recipe(
        ("opencode", "run"),
        stdin=PROMPT,
        options={"model": ("--model", "anthropic/{model}")},
        base_url_suffix="/v1",
        rules=_API,
        needs_key=True,
    ),
    "aider": Recipe(
        ("aider", "--yes-always", "--no-check-update", "--no-analytics", "--no-pretty", f"--message={PROMPT}"),
        options={"model": ("--model", "anthropic/{model}")},
        rules=_API,
        needs_key=True,
    ),
    "llm": Recipe(
        ("llm",),
        stdin=PROMPT,
        options={"model": ("-m", "{model}"), "system": ("-s", "{system}")},
        rules=_API,
        needs_key=True,
    ),
    "mini-swe-agent": Recipe(
        ("mini", "--yolo", "--exit-immediately", f"--task={PROMPT}"),
        options={"model": ("--model", "anthropic/{model}"), "max_cost": ("--cost-limit", "{max_cost}")},
        environment={"MSWEA_CONFIGURED": "true", "MSWEA_SILENT_STARTUP": "1"},
        rules=_API,
        needs_key=True,
    ),
}


def find_preset(name: str, configured: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """The preset of this name, as the config file may have changed it. Raises `UsageError`."""
    known = {*PRESETS, *configured}
    if name not in known:
        near = get_close_matches(name, sorted(known), 1)
        raise UsageError(
            f"There is no processor {name!r}.",
            hint=(f"Did you mean {near[0]!r}? " if near else "")
            + f"There are messages, command, MODULE:FUNCTION for your own function, and {', '.join(sorted(known))}.",
        )
    recipe = PRESETS.get(name)
    if name in configured:
        recipe = _changed(recipe, configured[name], f"presets.{name}")
    if recipe is None:
        raise AssertionError(name)
    recipe.check(f"presets.{name}")
    return recipe


def for_command(
    command: str | tuple[str, ...], *, stdin: str | None, shell: bool, rules: tuple[FailureRule, ...], needs_key: bool
) -> Recipe:
    """The recipe of a command that the user wrote. Without `{prompt}` in it, the prompt is what it reads.

    Claude Code's stream of JSON is known by its options.
    """
    arguments: tuple[str, ...]
    if shell:
        arguments = (command if isinstance(command, str) else " ".join(command),)
    else:
        arguments = split(command, "command") if isinstance(command, str) else command
    if stdin is None and not any(PROMPT in argument for argument in arguments):
        stdin = PROMPT
    is_claude = arguments[0].rpartition("/")[2] == "claude" and "stream-json" in arguments
    recipe = Recipe(
        arguments,
        stdin=stdin,
        rules=rules,
        shell=shell,
        needs_key=needs_key or is_claude,
        stdin_again=GO_ON if is_claude and stdin is not None else None,
        options=_options_for(arguments) if is_claude and not shell else {},
        environment=CLAUDE_ENVIRONMENT if is_claude else {},
        reader=ClaudeReader if is_claude else None,
    )
    recipe.check("command")
    return recipe


def _options_for(arguments: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """What is added to a user's own `claude` command; a limit that stands there already goes first."""
    names = ("session",) if CLAUDE_OPTIONS["max_cost"][0] in arguments else ("session", "max_cost")
    return {name: CLAUDE_OPTIONS[name] for name in names}


def failure_rules(entries: Any, origin: str) -> tuple[FailureRule, ...]:
    """`[[failures]]` tables as rules. Raises `UsageError`."""
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, Mapping) for entry in entries):
        raise UsageError(f"{origin}: failures are written as [[{origin}]] tables.")
    return tuple(_rule(entry, f"{origin}, entry {number}") for number, entry in enumerate(entries, 1))


def _rule(entry: Mapping[str, Any], origin: str) -> FailureRule:
    checks: Mapping[str, tuple[Callable[[Any], bool], str]] = {
        "class": (lambda v: v in _CLASSES, f"one of {', '.join(_CLASSES)}"),
        "pattern": (lambda v: isinstance(v, str), "a regular expression"),
        "exit_code": (lambda v: type(v) is int, "a whole number"),
        "permanent": (lambda v: type(v) is bool, "true or false"),
        "retry_after": (lambda v: type(v) in (int, float) and v >= 0, "a number of seconds"),
    }
    _check_entries(entry, checks, origin)
    if "class" not in entry:
        raise UsageError(f"{origin}: class is missing: who pays for such a failure.", hint=f"Use {checks['class'][1]}.")
    try:
        pattern = re.compile(entry["pattern"], re.IGNORECASE) if "pattern" in entry else None
    except re.error as error:
        raise UsageError(f"{origin}: pattern is no regular expression: {error}.") from None
    return FailureRule(
        _CLASSES[entry["class"]],
        pattern,
        entry.get("exit_code"),
        entry.get("permanent", False),
        entry.get("retry_after"),
    )


_CLASSES: Final[Mapping[str, FailureClass | None]] = {
    "succeeded": None,
    **{c.value: c for c in FailureClass if c is not FailureClass.CRASH},
}


def _changed(base: Recipe | None, entry: Mapping[str, Any], origin: str) -> Recipe:
    """A preset as the config file has it: what it says replaces what the built-in one of that name says."""
    checks: Mapping[str, tuple[Callable[[Any], bool], str]] = {
        "command": (lambda v: v and (isinstance(v, str) or _are_texts(v)), "a command, or a list of its arguments"),
        "stdin": (lambda v: isinstance(v, str), "text"),
        "output": (lambda v: v in READERS, f"one of {', '.join(READERS)}"),
        "needs_key": (lambda v: type(v) is bool, "true or false"),
        "env": (lambda v: isinstance(v, dict) and all(isinstance(t, str) for t in v.values()), "a table of texts"),
        "pass_env": (_are_texts, "a list of names"),
        "base_url_suffix": (lambda v: isinstance(v, str), "text"),
        "options": (
            lambda v: isinstance(v, dict) and all(_are_texts(t) for t in v.values()),
            "a table of lists",
        ),
        "failures": (lambda v: isinstance(v, list), "[[failures]] tables"),
    }
    _check_entries(entry, checks, origin)
    if base is None and "command" not in entry:
        raise UsageError(f"{origin}: command is missing.")
    command = entry.get("command", base.command if base else ())
    arguments = split(command, f"{origin}.command") if isinstance(command, str) else tuple(command)
    base = base or Recipe(arguments, needs_key=True)
    stdin = entry.get("stdin", base.stdin)
    if stdin is None and not any(PROMPT in argument for argument in arguments):
        stdin = PROMPT
    return Recipe(
        arguments,
        stdin=stdin,
        options={**base.options, **{name: tuple(texts) for name, texts in entry.get("options", {}).items()}},
        environment={**base.environment, **entry.get("env", {})},
        passed=(*base.passed, *entry.get("pass_env", ())),
        rules=(*failure_rules(entry.get("failures", ()), f"{origin}.failures"), *base.rules),
        needs_key=entry.get("needs_key", base.needs_key),
        base_url_suffix=entry.get("base_url_suffix", base.base_url_suffix),
        reader=READERS[entry["output"]] if "output" in entry else base.reader,
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _check_entries(
    entry: Mapping[str, Any], checks: Mapping[str, tuple[Callable[[Any], bool], str]], origin: str
) -> None:
    for name, value in entry.items():
        if name not in checks:
            near = get_close_matches(name, checks, 1)
            raise UsageError(f"{origin}: unknown name {name!r}.", hint=f"Did you mean {near[0]!r}?" if near else None)
        is_fine, what = checks[name]
        if not is_fine(value):
            raise UsageError(f"{origin}: {name} must be {what}, not {str(value)[:100]!r}.")
