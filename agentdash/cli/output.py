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
from typing import Any, TextIO

from agentdash.figures import amount as amount
from agentdash.figures import count as count
from agentdash.figures import dollars as dollars
from agentdash.figures import duration as duration
from agentdash.figures import local_time as local_time
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


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody looks at `stream` as it is written; None is one that was closed before the start."""
    try:
        return stream is not None and stream.isatty()
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
