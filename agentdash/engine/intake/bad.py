"""What is wrong with a task file, said line by line, without ever holding more than a screenful."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentdash.errors import BadInputError

KEPT_LINES = 20
_SHOWN_CHARS = 60


class Reject(Exception):  # noqa: N818  a verdict on a line, told to nobody outside
    """One line cannot be a task; the text is the reason. Never leaves `intake`: readers turn it into a `BadLine`."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """One line that cannot be taken. `line` counts from 1; `reason` is one line of printable text."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


class BadLines:
    """Counts every bad line and keeps the first 20, so that a million bad lines cost no memory."""

    __slots__ = ("_first", "count")

    def __init__(self) -> None:
        self._first: list[BadLine] = []
        self.count = 0

    @property
    def first(self) -> tuple[BadLine, ...]:
        """The first 20 bad lines, in the order they were met."""
        return tuple(self._first)

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return self.count > 0

    def __iter__(self) -> Iterator[BadLine]:
        return iter(self.first)

    def add(self, file: str, line: int, reason: str) -> None:
        """Note one bad line; its text is kept only while there is room."""
        self.count += 1
        if len(self._first) < KEPT_LINES:
            self._first.append(BadLine(file, line, reason))

    def error(self) -> BadInputError:
        """One error that lists the kept lines and the count of all.

        Raises ValueError when no line is bad: there is nothing to report then.
        """
        if not self.count:
            raise ValueError("no bad lines")
        shown = [f"  {line}" for line in self._first]
        if self.count > len(shown):
            shown.append(f"  … and {self.count - len(shown):,} more")
        head = "1 bad line:" if self.count == 1 else f"{self.count:,} bad lines:"
        return BadInputError(
            "\n".join([head, *shown]),
            hint="Nothing was added. Fix these lines, or add the good ones with --skip-bad.",
        )


def printable(text: str) -> str:
    """`text` with control characters, line separators and lone surrogates escaped: safe in a one-line message."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shown(text: str) -> str:
    """`text` quoted for a reason: escaped, and cut when long."""
    cut = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
    return f"'{printable(cut)}'"
