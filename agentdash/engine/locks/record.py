"""What a lock file says about its holder: for people and dashboards, never for deciding whether the lock is free."""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Final, NamedTuple

from agentdash.clock import isoformat
from agentdash.model import LockView

MAX_RECORD_BYTES: Final = 8192


class Process(NamedTuple):
    """This process as lock files name it. `start` is in clock ticks after boot (0 where the system does not tell)."""

    pid: int
    start: int
    boot_id: str
    host: str
    json: str


class HeldLock(NamedTuple):
    """One lock that this object holds. `acquired_at` in seconds since the epoch, `timeout` in seconds or None."""

    task_id: str
    holder_id: str
    acquired_at: float
    timeout: float | None
    pid: int
    name: str
    fd: int
    device: int
    inode: int
    spare: str = ""
    """The hidden name of its file, where it has one (see `spares`)."""
    heartbeat_at: float | None = None
    """The last heartbeat, in seconds since the epoch; None before the first."""

    def view(self, now: float) -> LockView:
        """This lock as shown at `now` (seconds since the epoch): held, or overdue when its time budget is over."""
        state = "overdue" if is_overdue(self.acquired_at, self.timeout, now) else "held"
        beat = self.acquired_at if self.heartbeat_at is None else self.heartbeat_at
        return LockView(self.task_id, self.holder_id, self.pid, self.acquired_at, state, beat)


@dataclass(frozen=True, slots=True)
class LockRecord:
    """A lock file's content, checked. Times as in `HeldLock`."""

    task_id: str
    holder_id: str
    pid: int
    process_start: int
    boot_id: str
    host: str
    acquired_at: float
    timeout: float | None

    def is_local(self) -> bool:
        """Whether the writer ran on this machine since its last boot, so that its pid means something here."""
        here = this_process()
        return self.host == here.host and self.boot_id == here.boot_id


def this_process() -> Process:
    """The running process; asked again after a fork."""
    return _describe(os.getpid())


@lru_cache(maxsize=1)
def _describe(pid: int) -> Process:
    start, boot_id, host = _start_ticks(), _boot_id(), platform.node()
    fields = f'"pid": {pid}, "process_start": {start}, "boot_id": {quote(boot_id)}, "host": {quote(host)}'
    return Process(pid, start, boot_id, host, fields)


def encode(task_id: str, holder_id: str, acquired_at: float, timeout: float | None) -> bytes:
    """One line of JSON. Built by hand around a constant part, because it is on the path of every acquire."""
    budget = "null" if timeout is None else f"{timeout:.15g}"
    text = (
        f'{{"task_id": {quote(task_id)}, "holder_id": {quote(holder_id)}, {this_process().json}, '
        f'"acquired_at": "{isoformat(acquired_at)}", "timeout": {budget}}}\n'
    )
    return text.encode("ascii")


def decode(data: bytes) -> LockRecord | None:
    """The record in a lock file's bytes, or None if it is not one of ours.

    Only the first line counts: what follows is the rest of a longer record that is being replaced.
    """
    try:
        found = json.loads(data.partition(b"\n")[0])
        return _checked(found) if isinstance(found, dict) else None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def is_overdue(acquired_at: float, timeout: float | None, now: float) -> bool:
    """Whether a lock is held longer than its budget. This is shown; it takes the lock from nobody."""
    return timeout is not None and now - acquired_at > timeout


def _checked(found: dict[str, Any]) -> LockRecord | None:
    acquired_at = datetime.fromisoformat(found["acquired_at"])
    pid, timeout = found["pid"], found["timeout"]
    texts = [found[key] for key in ("task_id", "holder_id", "boot_id", "host")]
    if acquired_at.tzinfo is None or not all(isinstance(text, str) for text in texts):
        return None
    if type(pid) is not int or pid <= 0 or type(found["process_start"]) is not int:
        return None
    if timeout is not None and (isinstance(timeout, bool) or not math.isfinite(timeout)):
        return None
    task_id, holder_id, boot_id, host = texts
    return LockRecord(task_id, holder_id, pid, found["process_start"], boot_id, host, acquired_at.timestamp(), timeout)


def _start_ticks() -> int:
    try:
        with open("/proc/self/stat", "rb") as file:
            # The name in parentheses may hold spaces; the start time is the 20th field behind it.
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""
