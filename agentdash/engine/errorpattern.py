"""What errors of one kind have in common, whatever numbers and ids their messages carry."""

from __future__ import annotations

import re

SEEN_CHARS = 600
"""So much of a message is looked at."""
PATTERN_CHARS = 200

_CHANGING = re.compile(
    r"""
      (?P<quote>['"`])(?=[^'"`\s]*\d)[^'"`\s]{1,100}(?P=quote)                  # a quoted id
    | \b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b                  # a UUID
    | \b(?:req|msg|msgbatch|toolu|file|org|wrkspc)_\w+                         # an id of the API
    | \b0x[0-9a-fA-F]+\b | \b(?=[a-fA-F]*\d)[0-9a-fA-F]{8,}\b                   # a hexadecimal id
    | \d+(?:[.,:]\d+)*                                                         # a number, a time
    """,
    re.VERBOSE,
)


def pattern_of(message: str) -> str:
    """The message with `…` for whatever differs from one error to the next, on one line, not too long."""
    return " ".join(_CHANGING.sub("…", message[:SEEN_CHARS]).split())[:PATTERN_CHARS]
