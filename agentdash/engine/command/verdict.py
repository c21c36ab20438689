"""How a program's end is read: what it brought back, or who pays for its failure."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from agentdash.engine.command.output import HeadAndTail
from agentdash.engine.failures import StatedFailureError
from agentdash.model import Answer, FailureClass

MOST_OUTPUT: Final = 1 << 20
"""Characters of a program's output that are kept as its task's answer."""
_MOST_WORDS: Final = 400
_COLOURS: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. `exit_code` is negative for the signal that ended it; `last_words` the end of what it wrote,
    stderr before stdout."""

    exit_code: int
    last_words: str


@dataclass(frozen=True, slots=True)
class FailureRule:
    """What an end means that a pattern fits: the exit code (None: any but 0) and the last words.

    `failure_class` None: it is no failure. `retry_after` in seconds.
    """

    failure_class: FailureClass | None
    pattern: re.Pattern[str] | None = None
    exit_code: int | None = None
    permanent: bool = False
    retry_after: float | None = None

    def fits(self, ended: Ended) -> bool:
        """Whether it says something about this end."""
        if ended.exit_code != self.exit_code and (self.exit_code is not None or ended.exit_code == 0):
            return False
        return self.pattern is None or self.pattern.search(ended.last_words) is not None


class OutputReader(Protocol):
    """Understands what a program writes on its standard output."""

    def read(self, line: str) -> str:
        """Take a line (with its end); returns what is shown of it while the task runs."""
        ...

    def wait(self) -> tuple[float, str] | None:
        """For how many seconds the program waits by itself, and why, if it has just said so."""
        ...

    def session(self) -> Mapping[str, Any] | None:
        """What the next attempt has to know to go on with this one's work, if there is something new."""
        ...

    def answer(self, ended: Ended) -> Answer:
        """What the program brought back. Raises `StatedFailureError` if it failed."""
        ...


class PlainReader:
    """Any program: its standard output is the answer, its exit code says whether it went well."""

    def __init__(self, rules: tuple[FailureRule, ...] = ()) -> None:
        self._rules = rules
        self._text = HeadAndTail(MOST_OUTPUT)

    def read(self, line: str) -> str:
        self._text.add(line)
        return line

    def wait(self) -> tuple[float, str] | None:
        return None

    def session(self) -> Mapping[str, Any] | None:
        return None

    def answer(self, ended: Ended) -> Answer:
        failed = failure(ended, self._rules)
        if failed is not None:
            raise failed
        return Answer(self._text.text, value={"exit_code": ended.exit_code})


def failure(ended: Ended, rules: tuple[FailureRule, ...]) -> StatedFailureError | None:
    """The failure that an end is: by the rules, and where none fits any exit code but 0 is the task's."""
    if any(rule.failure_class is None and rule.fits(ended) for rule in rules):
        return None
    stated = ruled(ended, rules)
    if stated is not None or not ended.exit_code:
        return stated
    return StatedFailureError(FailureClass.TASK, describe_end(ended))


def ruled(ended: Ended, rules: tuple[FailureRule, ...]) -> StatedFailureError | None:
    """The failure that the first rule that fits says an end is."""
    for rule in rules:
        if rule.failure_class is not None and rule.fits(ended):
            return StatedFailureError(
                rule.failure_class, describe_end(ended), permanent=rule.permanent, retry_after=rule.retry_after
            )
    return None


def describe_end(ended: Ended) -> str:
    """An end in one line: how, and the last thing the program said."""
    lines = _COLOURS.sub("", ended.last_words).splitlines()
    words = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if ended.exit_code < 0:
        try:
            how = f"ended by {signal.Signals(-ended.exit_code).name}"
        except ValueError:
            how = f"ended by signal {-ended.exit_code}"
    else:
        how = f"exit code {ended.exit_code}"
    return f"{how}: {words[:_MOST_WORDS]}" if words else how
