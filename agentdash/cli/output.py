"""What the commands write: results on stdout (text for people, or pure JSON), everything else on stderr.

Text from outside is cleaned here, in pipes too; `--json` and `export` carry it exactly.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TextIO

from agentdash.text import cell_width, clean, shorten

_NARROWEST = 40


def say(text: str = "") -> None:
    """One line for people on stdout."""
    sys.stdout.write(f"{text}\n")


def say_json(value: Any) -> None:
    """One line of JSON on stdout: ASCII only, so that no terminal reads anything into it."""
    sys.stdout.write(json.dumps(value, allow_nan=False, default=str) + "\n")


def tell(text: str) -> None:
    """One line on stderr; silent when nobody can read it any more."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody looks at `stream` as it is written."""
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def columns(stream: TextIO) -> int | None:
    """How wide lines on `stream` may be; None where nobody looks."""
    if not is_terminal(stream):
        return None
    return max(_NARROWEST, shutil.get_terminal_size().columns)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as they need to be; on a terminal lines are cut to its width."""
    lines = [[clean(str(cell)) for cell in row] for row in (heads, *rows)]
    widths = [max(map(cell_width, column)) for column in zip(*lines, strict=True)]
    room = columns(sys.stdout)
    for line in lines:
        cells = [cell + " " * (width - cell_width(cell)) for cell, width in zip(line, widths, strict=True)]
        text = "  ".join(cells).rstrip()
        say(text if room is None else shorten(text, room))


def use_tolerant_streams() -> None:
    """A character that the terminal's encoding lacks is written as an escape and never ends the program."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def give_up_stdout() -> None:
    """Nobody reads stdout any more (`| head`): what is left in its buffer must not fail at exit."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def duration(seconds: float) -> str:
    """`0:07`, `12:40`, `3:05:00`, `2 d 4:00:00`."""
    whole = max(0, round(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour}:{minute:02}:{second:02}"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def amount(number: float) -> str:
    """`950`, `12.3k`, `4.5M`: tokens at a glance."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            unit = 1e3 if letter == "k" else size
            return f"{number / unit:.1f}{letter}"
    return f"{number:,.0f}"


def local_time(timestamp: float | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A moment as the user's clock shows it; `–` for none."""
    return datetime.fromtimestamp(timestamp).astimezone().strftime(form) if timestamp else "–"


def count(number: int, noun: str) -> str:
    """`1 task`, `1,200 tasks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
