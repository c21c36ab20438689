"""Text that wants to do harm, and what a terminal's output may hold when none of it has got through."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

MARKER: Final = "zzq"
"""Begins every item of the corpus that stays text: a field that shows it has shown the item."""

ESCAPES: Final = (
    "\x1b[31;7777m\x1b[2J\x1bc",
    "\x1b[?7777h\x1b[?1049l\x1b[6n\x1b[c",
    "\x1b]0;title\x07\x1b]2;title\x1b\\",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;UFdORUQ=\x07",
    "\x1bPq#0;2;0;0;0\x1b\\",
    "\x1b_Ga=T;UFdORUQ=\x1b\\",
    "\x1b^private\x1b\\\x1bXstring\x1b\\",
    "\x1b",
    "\x1b[",
    "\x1b]",
)
"""CSI, OSC 0, 2, 8 and 52, DCS, APC, PM, SOS; and beginnings without an end."""

C1: Final = ("\x9b7777m", "\x9d52;c;UFdORUQ=\x9c", "\x90q\x9c\x85\x84\x8d\x9e\x9f\x98\x80")
CONTROLS: Final = (
    "\x00\x01",
    "a\tb",
    "a\rb\r\nc\nd",
    "\x07\x08\x0b\x0c\x0e\x0f\x18\x1a\x7f",
    "a\u2028b\u2029c\x85d\x1cf",
)
DIRECTION: Final = ("\u202eabc\u202c", "\u202a\u202b\u202d", "\u2066x\u2067y\u2068z\u2069", "\u200e\u200f\u061c")
INVISIBLE: Final = (
    "a\u200bb\u200c\u200d\ufeff\u2060\u00ad",
    "\u180e\u115f\u3164\uffa0",
    "\U000e0041\U000e007f",
    "\ufffe\uffff\U000f0000",
)
FLOODS: Final = ("e" + "\u0301" * 1000, "\ufe0f\u20e3" * 100, "\u0e01" + "\u0e49" * 300)
WIDE: Final = ("\ufdfd\u2e3b\U0001242b", "漢字" * 40, "🧑‍🚀🏳️‍🌈👍🏽👨‍👩‍👧‍👦🇩🇪" * 3)
MARKUP: Final = (
    "[bold]x[/bold] [/] [/nothing] [[[ ]]] [",
    "[@click=app.quit]x[/]",
    "[link=file:///etc/passwd]x[/link]",
    "$primary [$error on red]x :smile: {0} %s %(x)s {x!r}",
    "\\[bold]\\",
)
SURROGATES: Final = ("\ud800", "x\udfff\ud83d", "\udc80\udcff")
"""Halves of characters: `\\ud800` in JSON, and what stands for bytes that are no UTF-8 in names of files."""

SHORT: Final = tuple(
    f"{MARKER}{item}"
    for group in (ESCAPES, C1, CONTROLS, DIRECTION, INVISIBLE, FLOODS, WIDE, MARKUP, SURROGATES)
    for item in group
)
"""Every item but the long lines; the longest has some thousand bytes."""

LONG: Final = (MARKER + "W" * 1_000_000, MARKER + "漢" * 400_000, MARKER + "\x1b[7777m" * 140_000)
"""Lines of a megabyte."""

BAD_BYTES: Final = (
    b"\xff\xfe",
    b"\xc3(",
    b"\xed\xa0\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xc0\x9b31m",
    b"\x9b31m\x9d52;c;AA\x9c",
)
"""What is no UTF-8: a stray byte, half a character, a surrogate, five bytes for one, an overlong C1, C1 in one byte."""


# -- what our own renderer writes ------------------------------------------------------------------------------------
_STYLE = r"\[(?:\d{1,3};){0,30}\d{0,3}m"
_PRIVATE = r"\[\?(?:7|25|1000|1003|1004|1006|1015|1016|1049|2004|2026|2048)[hl]"
_OURS = re.compile(
    rf"\x1b(?:{_STYLE}|{_PRIVATE}"
    r"|\[\d{1,4};\d{1,4}H"  # the cursor, before a part is drawn
    r"|\[[12]?K|\[\d{0,3}[AB]"  # the live line of a headless run
    r"|\[>\d{1,2}u|\[<u"  # the keyboard's way of reporting, taken and given back
    r"|\[\?(?:2026|2048)\$p"  # asks what the terminal can do
    r"|\]22;[a-z-]{1,24}\x07)"  # the mouse pointer's form
)
_CLIPBOARD = re.compile(r"\x1b\]52;c;[A-Za-z0-9+/=]*(?:\x07|\x1b\\)")
_GIVEN_BACK = "\x18\x1b[?2026l"
"""Whatever was half written when the terminal is given back in haste is cancelled first."""

_ANY = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~]?)", re.DOTALL
)
_UNFINISHED = re.compile(r"\x1b(?:\[[?<>]?[0-9;]{0,80}\$?|\](?:2(?:2(?:;[a-z-]{0,24})?)?)?)?")
_SUSPECT = re.compile("[^\n\r\x20-\x7e\xa1-\xac\xae-\u02ff\u2500-\u259f]")
_RETURN = re.compile(r"\r(?!\r|\n|\x1b\[(?:2K|1A)|(?:\x1b(?:\[\d?)?)?\Z)")
"""A return that neither ends a line nor begins the live line anew."""

_STEERING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
MOST_MARKS: Final = 16
"""So many combining marks on one character are text; more of them draw over what stands around it."""

_FLOOD = re.compile(
    f"[\u0300-\u036f\u0483-\u0489\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u20d0-\u20f0\ufe00-\ufe0f]{{{MOST_MARKS + 1},}}"
)


def foreign_sequences(output: bytes, *, bell: bool = False, clipboard: bool = False) -> list[str]:
    """What in the bytes that a terminal got is neither text nor what our own renderer writes.

    Allowed is what the dashboard and the live line of a headless run need to begin, draw and end. `bell`: a key that
    does nothing was pressed; `clipboard`: something was copied by key. A sequence that the end of the output cuts is
    allowed (the program was killed), and so is one before the terminal is given back in haste.
    """
    text = output.decode("utf-8", "surrogateescape")
    found: list[str] = []
    at = 0
    while (match := _SUSPECT.search(text, at)) is not None:
        at, character = match.end(), match.group()
        if character == "\x1b":
            at, foreign = _sequence(text, match.start(), clipboard=clipboard)
            found += foreign
        elif character == "\x18" and text.startswith(_GIVEN_BACK, match.start()):
            continue
        elif not (bell and character == "\x07") and _steers(character, text, at):
            found.append(f"{character!a} in {text[max(0, at - 20) : at + 20]!a}")
    found += [f"a return alone in {text[max(0, x.start() - 20) : x.end() + 20]!a}" for x in _RETURN.finditer(text)]
    found += [f"{len(flood.group())} combining marks at {flood.start()}" for flood in _FLOOD.finditer(text)]
    return found


def foreign_in_lines(output: bytes) -> list[str]:
    """The same for a command that only prints lines: there no sequence at all is its own."""
    text = output.decode("utf-8", "surrogateescape")
    return [f"{found.group()!a} at {found.start()}" for found in _ANY.finditer(text)] or foreign_sequences(output)


def _sequence(text: str, start: int, *, clipboard: bool) -> tuple[int, Iterator[str] | list[str]]:
    """Where the sequence at `start` ends, and what is to be said of it."""
    for allowed in (_OURS, *((_CLIPBOARD,) if clipboard else ())):
        if ours := allowed.match(text, start):
            return ours.end(), []
    begun = _UNFINISHED.match(text, start)
    if begun is not None and (begun.end() == len(text) or text.startswith(_GIVEN_BACK, begun.end())):
        return begun.end(), []
    whole = _ANY.match(text, start)
    assert whole is not None
    return whole.end(), [f"{whole.group()[:80]!a} at {start}"]


def _steers(character: str, text: str, end: int) -> bool:
    if "\udc80" <= character <= "\udcff":  # a byte that is no UTF-8, unless the output was cut within a character
        return not all("\udc80" <= c <= "\udcff" for c in text[end:]) or len(text) - end > 2
    return unicodedata.category(character) in _STEERING
