"""How a task becomes a command: the arguments, what it reads, where it works, and how its output is understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agentdash.engine.command.template import MissingValueError, fill, placeholders
from agentdash.engine.command.verdict import FailureRule, OutputReader, PlainReader
from agentdash.model import Task

PROMPT: Final = "{prompt}"
SESSION: Final = "session"
_LEAST_COST: Final = 0.0001

ReaderMaker = Callable[[Mapping[str, Any], tuple[FailureRule, ...]], OutputReader]
"""Makes the reader of one attempt, from what earlier ones have left and what the user says of failures."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A command for all tasks of a run.

    `command` and `stdin` hold placeholders; `stdin_again` is what a program reads that goes on with an earlier session.
    `options` maps a placeholder's name to arguments that are added where a
    task has a value for it. `environment` gives variables their values, `passed` names those that are handed on.
    `shell`: the command is one text, run by `/bin/sh`. `base_url_suffix` is what the program wants at the end of the
    API's address.
    """

    command: tuple[str, ...]
    stdin: str | None = None
    stdin_again: str | None = None
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    passed: tuple[str, ...] = ()
    rules: tuple[FailureRule, ...] = ()
    shell: bool = False
    needs_key: bool = False
    base_url_suffix: str = ""
    reader: ReaderMaker | None = None

    @property
    def goes_on(self) -> bool:
        """Whether a retried task goes on where its last attempt ended."""
        return SESSION in self.options

    def check(self, origin: str) -> None:
        """Raises `UsageError` for placeholders that there are not."""
        placeholders((*self.command, self.stdin or "", *(a for texts in self.options.values() for a in texts)), origin)

    def new_reader(self, session: Mapping[str, Any]) -> OutputReader:
        """What understands the output of one attempt."""
        return self.reader(session, self.rules) if self.reader is not None else PlainReader(self.rules)

    def arguments(self, values: Mapping[str, str], metadata: Mapping[str, Any]) -> list[str]:
        """The program and its arguments. Raises `MissingValueError`."""
        chosen = [text for name, texts in self.options.items() if values.get(name) for text in texts]
        if not self.shell:
            return fill((*self.command, *chosen), values, metadata)
        text = " ".join(fill((*self.command, *chosen), values, metadata, quoted=True))
        return ["/bin/sh", "-c", text]

    def input(self, values: Mapping[str, str], metadata: Mapping[str, Any]) -> bytes | None:
        """What the program reads; None: nothing. Raises `MissingValueError`."""
        text = self.stdin_again if self.stdin_again is not None and values.get(SESSION) else self.stdin
        return None if text is None else fill((text,), values, metadata)[0].encode("utf-8", "surrogatepass")


def values_of(
    task: Task,
    *,
    workdir: Path,
    attempt: int,
    model: str | None,
    system: str | None,
    session: Mapping[str, Any],
    max_cost: float | None = None,
) -> dict[str, str]:
    """What stands for each placeholder in one task; the task's own words go before the run's. `max_cost` is what this
    attempt may cost, in US dollars."""
    payload = task.payload
    values = {
        "id": task.id,
        "prompt": _prompt(payload),
        "workdir": str(workdir),
        "attempt": str(attempt),
        "model": payload.get("model") or model or "",
        "system": payload.get("system") or system or "",
        "max_tokens": str(payload.get("max_tokens") or ""),
        "max_cost": f"{max(max_cost, _LEAST_COST):.4f}" if max_cost is not None else "",
        SESSION: known if isinstance(known := session.get("id"), str) and not known.startswith("-") else "",
    }
    return {name: value for name, value in values.items() if value}


def _prompt(payload: Mapping[str, Any]) -> str:
    """A task's prompt; of the Message Batches form the text of its last message."""
    if isinstance(prompt := payload.get("prompt"), str):
        return prompt
    params = payload.get("params")
    messages = params.get("messages") if isinstance(params, Mapping) else None
    content = messages[-1].get("content") if messages and isinstance(messages[-1], Mapping) else None
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
        if texts:
            return "\n".join(texts)
    raise MissingValueError("this task has no text that could be its command's prompt")
