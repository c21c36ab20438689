"""Ends the programs that a run started when the run itself is killed, with all that they started in turn.

Run as a script of its own (`python -I -S guardian.py REGISTER`), so it needs the standard library only, and little of
that. It waits for the end of its standard input, which the run holds open for as long as it lives.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

MARK = "AGENTDASH_MARK"
"""The environment variable by which what a program has started is known, also if it has left its session."""
MARK_BYTES = 8
NOT_YET = 0
"""For the number of a program that was just about to be started: it is known by its mark only."""
_BEGINS_WITHIN_S = 0.05
"""In the midst of its start a program has lost the old environment and not yet got its own: for so long at most."""
_ROUNDS = 20
_NO_SESSION = -1
"""Not 0: that is the session of all processes whose leader is outside of this container."""
_PROC = "/proc"


def begun_at(pid: int) -> str | None:
    """When a process began, in the system's own words: with its number that names one process. None: there is none."""
    if os.path.isdir(f"{_PROC}/self"):
        fields = _stat(pid)
        return None if fields is None or fields[0] in ("Z", "X") else fields[19]
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def family(session: int, mark: str) -> list[int]:
    """The living processes of a program: those of its session, and those that have left it but were given its mark.

    On systems without `/proc` only the session's number, if its first process group lives.
    """
    session = session if session > 1 else _NO_SESSION
    try:
        pids = [int(name) for name in os.listdir(_PROC) if name.isdecimal()]
    except OSError:
        return [session] if session != _NO_SESSION and _is_group(session) else []
    wanted = f"{MARK}={mark}".encode()
    return [pid for pid in pids if _belongs(pid, session, wanted)]


def kill_family(session: int, mark: str, number: int = signal.SIGKILL) -> bool:
    """Send a signal to all processes of a program; whether there were any."""
    found = family(session, mark)
    if found and not os.path.isdir(_PROC):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(session, number)
    for pid in found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return bool(found)


def end_family(session: int, mark: str) -> None:
    """Kill all processes of a program, also those that are begun meanwhile."""
    for _ in range(_ROUNDS):
        if not kill_family(session, mark):
            return


def kill_listed(descriptor: int) -> list[str]:
    """Kill what still lives of the programs in a register, which the caller holds locked; the tasks they worked on.

    A number that names another process by now is left alone.
    """
    killed = []
    for entry in read_register(descriptor):
        begun = begun_at(entry.pid) if entry.pid != NOT_YET else None
        # The leader may have ended while others of its session live; the number is not given anew before they end.
        session = entry.pid if begun in (entry.begun, None) else _NO_SESSION
        if entry.pid == NOT_YET and not family(session, entry.mark):
            time.sleep(_BEGINS_WITHIN_S)
        if family(session, entry.mark):
            end_family(session, entry.mark)
            killed.append(entry.task)
    return killed


class Entry(NamedTuple):
    """A program in a register: its number, when it began, its mark, and the task it works on."""

    pid: int
    begun: str | None
    mark: str
    task: str


def read_register(descriptor: int) -> Iterator[Entry]:
    """The programs a register lists. What cannot be read is passed over."""
    size = os.fstat(descriptor).st_size
    for line in os.pread(descriptor, size, 0).split(b"\n"):
        with suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            pid, mark = int(entry["pid"]), str(entry["mark"])
            # A shorter mark could be the beginning of many.
            if (pid > 1 or pid == NOT_YET) and len(bytes.fromhex(mark)) == MARK_BYTES:
                yield Entry(pid, entry["begun"], mark, str(entry["task"]))


def try_lock(descriptor: int) -> bool:
    """Whether the register is the caller's now: nobody else lives who holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_group(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except OSError:
        return False
    return True


def _belongs(pid: int, session: int, wanted: bytes) -> bool:
    try:
        if os.getsid(pid) != session:
            with open(f"{_PROC}/{pid}/environ", "rb") as file:
                if wanted not in file.read():
                    return False
    except OSError:  # it has ended, or is another user's
        return False
    fields = _stat(pid)
    return fields is None or fields[0] not in ("Z", "X")


def _stat(pid: int) -> list[str] | None:
    """The fields of `/proc/PID/stat` behind the name, which may hold anything: state, parent, …; [19] is the begin."""
    try:
        with open(f"{_PROC}/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return None


def main(register: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # those are for the run, which ends its programs itself
    while os.read(0, 4096):
        pass
    try:
        descriptor = os.open(register, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return  # the run has ended as it should and has put its register away
    # Waited for: a process that is killed loses its pipes and its locks one by one, and is not done with them yet.
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        kill_listed(descriptor)
        os.unlink(register)


if __name__ == "__main__":
    main(sys.argv[1])
