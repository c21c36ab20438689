"""Commands with placeholders: what stands in `{prompt}`, `{id}`, `{metadata.x}` of an argument, for each task.

A placeholder is filled within its argument, whatever it holds: nothing is split, and no shell reads it unless that was
asked for, and then it is quoted.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from agentdash.errors import UsageError

NAMES: Final = frozenset({"prompt", "id", "workdir", "attempt", "model", "system", "max_tokens", "session", "max_cost"})
_METADATA: Final = "metadata."
_PLACEHOLDER: Final = re.compile(r"\{\{([a-z_][a-z0-9_.-]*)\}\}|\{([a-z_][A-Za-z0-9_.-]*)\}")


class MissingValueError(Exception):
    """A task does not have what its command needs."""


def split(text: str, origin: str) -> tuple[str, ...]:
    """A command line as its arguments, quoted as in a shell. Raises `UsageError` that names `origin`."""
    try:
        arguments = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{origin}: {error}: {text}", hint="Quotes must be closed, as in a shell.") from None
    if not arguments:
        raise UsageError(f"{origin} is empty.", hint="For example: --command 'claude -p {prompt}'.")
    return arguments


def placeholders(texts: Iterable[str], origin: str) -> frozenset[str]:
    """The names in them. Raises `UsageError` for one that nothing can be put in for."""
    found = {match[2] for text in texts for match in _PLACEHOLDER.finditer(text) if match[2]}
    for name in sorted(found):
        if name not in NAMES and not (name.startswith(_METADATA) and len(name) > len(_METADATA)):
            near = get_close_matches(name, sorted(NAMES), 1)
            meant = f"Did you mean {{{near[0]}}}? " if near else ""
            known = f"There are {', '.join(sorted(NAMES))} and metadata.NAME"
            raise UsageError(
                f"{origin}: there is no placeholder {{{name}}}.",
                hint=f"{meant}{known}; {{{{{name}}}}} stands for itself.",
            )
    return frozenset(found)


def fill(
    texts: Sequence[str], values: Mapping[str, str], metadata: Mapping[str, Any], *, quoted: bool = False
) -> list[str]:
    """The texts with the values in them; `quoted`: for a shell. Raises `MissingValueError`."""

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return f"{{{match[1]}}}"
        found = _look_up(match[2], values, metadata)
        return shlex.quote(found) if quoted else found

    return [_PLACEHOLDER.sub(value, text) for text in texts]


def _look_up(name: str, values: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    if not name.startswith(_METADATA):
        if name not in values:
            raise MissingValueError(f"the command needs {{{name}}}, and this task has none")
        return values[name]
    found: Any = metadata
    for part in name.removeprefix(_METADATA).split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise MissingValueError(f"the command needs {{{name}}}, and this task's metadata has none")
        found = found[part]
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
