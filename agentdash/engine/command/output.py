"""What a program writes, as whole lines of text without any key, and how its last words are kept."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections import deque
from typing import Final

from agentdash.secret import redact

LONGEST_LINE: Final = 1 << 20
_OVERLAP: Final = 512
"""So much of a line that is cut stays with its rest, so that a key at the cut is seen whole."""


class Lines:
    """Bytes in, whole lines out (with their line ends), redacted. A line over `LONGEST_LINE` comes in pieces."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._rest: list[str] = []
        self._length = 0

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete with this."""
        text = self._decoder.decode(data)
        end = text.rfind("\n") + 1
        if not end:
            return self._wait_for_more(text)
        whole = "".join((*self._rest, text[:end]))
        self._rest, self._length = [], 0
        lines = redact(whole).split("\n")  # all at once: line by line that takes ten times as long
        return [f"{line}\n" for line in lines[:-1]] + self._wait_for_more(text[end:])

    def end(self) -> list[str]:
        """What is left when nothing more comes."""
        rest = "".join((*self._rest, self._decoder.decode(b"", final=True)))
        self._rest, self._length = [], 0
        return [redact(rest)] if rest else []

    def _wait_for_more(self, text: str) -> list[str]:
        self._rest.append(text)
        self._length += len(text)
        if self._length <= LONGEST_LINE:
            return []
        piece = "".join(self._rest)
        self._rest, self._length = [piece[-_OVERLAP:]], _OVERLAP
        return [redact(piece[:-_OVERLAP])]


class Tail:
    """The last of a text, up to a number of characters."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: deque[str] = deque()
        self._length = 0

    def add(self, text: str) -> None:
        """Some more of it."""
        self._parts.append(text[-self._most :])
        self._length += len(self._parts[-1])
        while self._length - len(self._parts[0]) >= self._most:
            self._length -= len(self._parts.popleft())

    @property
    def text(self) -> str:
        return "".join(self._parts)[-self._most :]


class HeadAndTail:
    """A text without its middle: all of it up to a number of characters, and of a longer one both ends."""

    def __init__(self, most: int) -> None:
        self._head: list[str] = []
        self._room = most // 2
        self._tail = Tail(most - most // 2)
        self._left_out = 0

    def add(self, text: str) -> None:
        """Some more of it."""
        head, tail = text[: self._room], text[self._room :]
        if head:
            self._head.append(head)
            self._room -= len(head)
        if tail:
            self._left_out += len(tail)
            self._tail.add(tail)

    @property
    def text(self) -> str:
        tail = self._tail.text
        gap = (
            f"\n[... {self._left_out - len(tail):,} characters are left out ...]\n"
            if self._left_out > len(tail)
            else ""
        )
        return "".join(self._head) + gap + tail
