"""What an operation is called as a crash point: the part of the program, what is done, and to which file or table."""

from __future__ import annotations

import re

_SPARE = re.compile(r"\.spare-[0-9a-f]+")
_READS = ("SELECT", "PRAGMA", "ROLLBACK")
_LASTING_PRAGMAS = ("PRAGMA journal_mode", "PRAGMA application_id =", "PRAGMA user_version =")


def label(operation: str, name: str) -> str:
    """For a file of the project."""
    name = _SPARE.sub(".spare", name)
    first, _, rest = name.partition("/")
    if first == ".locks":
        return f"lock: {operation} {rest or first}"
    if first == ".agentdash":
        area = "log" if rest.startswith("agentdash.log") else "results" if rest.startswith("results") else "store"
        return f"{area}: {operation} {rest or first}"
    return f"{'results' if 'results' in first else 'project'}: {operation} {first}"


def statement(sql: str) -> str | None:
    """For an SQL statement; None if it leaves no trace."""
    words = " ".join(re.sub(r"--[^\n]*\n", " ", sql).split())
    if words.startswith(_READS) and not words.startswith(_LASTING_PRAGMAS):
        return None
    if words == "BEGIN":
        return None
    return "store: " + " ".join(re.split(r"[(=]", words)[0].split()[:6])
