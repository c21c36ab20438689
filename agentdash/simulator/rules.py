"""Rules: what prompts of a certain text get."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from agentdash.errors import UsageError
from agentdash.simulator.kinds import RULE_KINDS, Kind


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of the tool `name`. `{group}` in the strings of `input` is what the rule's group of that name matched."""

    name: str
    input: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Rule:
    """Prompts in which `pattern` is found get `kind`: the first rule that matches counts.

    The prompt is the last user message, so a tool's result while tools are used; `<system-reminder>` blocks do not
    count. `times`: only so often (for each prompt, with `per_prompt`), then the rule is passed over.
    `seconds` is for `slow`, `tokens` for `long`, `message` replaces an error's text.
    `calls` (with `tool_use`) plays a session: one call an answer, each when the last one's result has come, then a
    text. The pattern is then looked for in the last user message without a result; `times` counts sessions; calls of
    tools that the request lacks are not made; and failure rates apply as to any other answer.
    """

    pattern: str
    kind: Kind
    times: int | None = None
    per_prompt: bool = False
    seconds: float = 5.0
    tokens: int = 2000
    message: str | None = None
    calls: tuple[ToolCall, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in RULE_KINDS:
            raise UsageError(f"rules: {self.kind} cannot be asked for")
        if self.calls and self.kind is not Kind.TOOL_USE:
            raise UsageError(f"rules: calls are for {Kind.TOOL_USE}, not for {self.kind}")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise UsageError(f"rules: {self.pattern!r} is not a regular expression: {error}") from None

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.DOTALL)
