"""What SQLite's errors mean to the user; they say too little themselves and name no remedy."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

from agentdash.errors import StoreError, StoreWriteError

_MAKE_ROOM = "Make room and start again. Nothing is lost."
_HINTS = {errno.ENOSPC: _MAKE_ROOM, errno.EDQUOT: _MAKE_ROOM}
_PROBE = b"\0" * 65536


def translate(error: sqlite3.Error, path: Path | None = None) -> StoreError:
    """The error as one with a remedy. `path`, the database's: its disk is asked for what SQLite keeps to itself."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreWriteError(
            "The project's database is locked by another program.",
            hint="Close the program that holds .agentdash/state.db open for writing. Nothing is lost.",
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreWriteError("The disk is full.", hint=_MAKE_ROOM)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StoreWriteError(
            "The project's database is read-only.", hint="Check the folder's permissions and the mount."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(
            "The project's database .agentdash/state.db is corrupt. It was left as it is.",
            hint="Keep it for recovery (`sqlite3 state.db .recover`), and go on in another folder with --project. "
            "results.jsonl holds what was finished.",
        )
    refusal = _refusal(path.parent) if path is not None else None
    if refusal is None:
        return StoreWriteError(f"The project's database cannot be written: {error}.", hint="Nothing is lost.")
    return StoreWriteError(
        f"The project's database cannot be written: {os.strerror(refusal)}.",
        hint=_HINTS.get(refusal, "Nothing is lost."),
    )


def _refusal(folder: Path) -> int | None:
    """Why the system lets nobody write into the folder, as an errno; None if it does.

    SQLite calls a used-up quota "disk I/O error", and only a full disk by its name.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            probe.write(_PROBE)
    except OSError as error:
        return error.errno
    return None
