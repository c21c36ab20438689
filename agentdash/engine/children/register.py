"""What a run writes down of the programs it has started, so that they are ended when it cannot do that itself.

One file a run, `.agentdash/children/NAME`, which the run holds locked: while the kernel gives its lock to nobody, the
run lives. Each program has a slot of fixed size in it, written with one call: a kill leaves nothing half written.
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from agentdash.engine.children.guardian import NOT_YET, begun_at, kill_listed, read_register, try_lock
from agentdash.engine.locks.record import this_process

_SLOT: Final = 320
_OPEN: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class ChildRegister:
    """The register of this run's programs. Raises OSError where it cannot be written."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        boot = this_process().boot_id[:8] or "unknown"
        self.path = folder / f"{boot}-{os.getpid()}-{secrets.token_hex(4)}"
        self._descriptor = os.open(self.path, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
        try_lock(self._descriptor)
        self._free: list[int] = []
        self._slots = 0

    def add(self, mark: str, task: str) -> int:
        """Write down that a program is about to be started; returns its slot."""
        slot = self._free.pop() if self._free else self._slots
        self._slots = max(self._slots, slot + 1)
        try:
            self._write(slot, _entry(NOT_YET, mark, task))
        except OSError:
            self._free.append(slot)
            raise
        return slot

    def begun(self, slot: int, pid: int, mark: str, task: str) -> None:
        """It was started."""
        self._write(slot, _entry(pid, mark, task))

    def remove(self, slot: int) -> None:
        """It has ended, with all it started."""
        with suppress(OSError):  # a number that is taken by another process is known by its begin
            self._write(slot, "")
        self._free.append(slot)

    def close(self) -> None:
        """All have ended."""
        with suppress(OSError):
            self.path.unlink()
        os.close(self._descriptor)

    def _write(self, slot: int, text: str) -> None:
        data = text.encode("ascii").ljust(_SLOT - 1) + b"\n"
        if os.pwrite(self._descriptor, data, slot * _SLOT) != _SLOT:
            raise OSError("no room for the register of started programs")


def _entry(pid: int, mark: str, task: str) -> str:
    return json.dumps({"pid": pid, "begun": begun_at(pid) if pid != NOT_YET else None, "mark": mark, "task": task})


def end_left_behind(folder: Path, task: str | None = None) -> tuple[list[str], bool]:
    """Kill what runs that died have left running: (the tasks it was at work on, whether all is ended now).

    With `task` only registers that name it are looked at. Not all is ended while a guardian is still at it: ask again.
    """
    killed: list[str] = []
    ended = True
    try:
        paths = [path for path in folder.iterdir() if not path.is_symlink()]
    except OSError:
        return killed, ended
    boot = this_process().boot_id[:8] or "unknown"
    for path in paths:
        with suppress(OSError):
            descriptor = os.open(path, _OPEN)
            try:
                if task is not None and all(entry.task != task for entry in read_register(descriptor)):
                    continue
                if not try_lock(descriptor):
                    ended = False
                    continue
                if path.name.startswith(boot):  # what was begun before the machine was cannot be running
                    killed += kill_listed(descriptor)
                path.unlink()
            finally:
                os.close(descriptor)
    return killed, ended
