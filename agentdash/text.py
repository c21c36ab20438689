"""Makes text from outside safe to show: the one place where what could steer a terminal is taken out.

Prompts, answers, error bodies, file names and ids are written by others. They may hold escape sequences, direction
marks or invisible characters; whatever shows them passes them through here, and never as markup.
"""

from __future__ import annotations

import re
import unicodedata

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_DELETE = 0x7F
_MOST_MARKS = 8
"""Combining marks on one character: more are no writing, and a terminal draws them over the lines around."""
_MANY_MARKS = re.compile(
    "[\u0300-\u2fff\u302a-\u302d\u3099\u309a\ua000-\uabff\uf900-\U0001cfff\U0001d000-\U0001e94f\U000e0100-\U000e01ef]"
    f"{{{_MOST_MARKS + 1},}}"
)
"""Where that may be so: a run of characters that are not among the blocks without marks, CJK above all."""


class _Table(dict[int, str]):
    """What to show for a character, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        shown = self[code] = _shown(code)
        return shown


_TABLE = _Table({ord("\n"): " ", ord("\r"): "", ord("\t"): " "})


def clean(text: str) -> str:
    """`text` as one line that a terminal only shows: a line break or tab is a blank, other control characters stand as
    their symbols (␛), direction marks, zero-width and unassigned characters and lone surrogates as �; of the marks that
    are piled on one character only the first few are left."""
    shown = text if text.isprintable() else text.translate(_TABLE)
    return shown if shown.isascii() else _MANY_MARKS.sub(_thinned, shown)


def clean_lines(text: str) -> str:
    """`clean` for text of several lines: line breaks stay, tabs become four blanks."""
    return "\n".join(clean(line.replace("\t", "    ")) for line in text.splitlines())


def cell_width(text: str) -> int:
    """How many terminal cells cleaned text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def without_middle(text: str, most: int) -> str:
    """`text` as it is, or without its middle if it has more than `most` characters; for texts of many lines."""
    return text if len(text) <= most else f"{text[: most // 2]}\n…\n{text[-most // 2 :]}"


def shorten(text: str, cells: int) -> str:
    """Cleaned text that is cut to so many terminal cells, with `…` where something is left out."""
    if cell_width(text) <= cells:
        return text
    room, kept = max(0, cells - 1), 0
    for index, character in enumerate(text):
        kept += _cells(character)
        if kept > room:
            return text[:index] + "…" * (cells > 0)
    return text


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _thinned(run: re.Match[str]) -> str:
    kept, marks = [], 0
    for character in run.group():
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if marks <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


def _shown(code: int) -> str:
    character = chr(code)
    if character.isprintable():
        return character
    if unicodedata.category(character) == "Zs":
        return " "
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{SYMBOL FOR DELETE}" if code == _DELETE else _UNKNOWN
