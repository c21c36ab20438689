"""Lock files at rest: kept open, locked and ready to be given a task's name, instead of made and removed each time.

Making and removing an inode is most of a lock's cost (60 to 90 µs of disk work, against 15 to 30 for a name). So a lock
that is released often keeps its file under a second, hidden name. To take a lock it then links the file, which it holds
already, to the task's name: the kernel does that or says that the name is taken, and nobody can come in between. To let
go it unlinks the task's name, while still holding the file.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import Final, NamedTuple

from agentdash.engine.locks.flock import unlock_and_close

PREFIX: Final = ".spare-"
FROM_CYCLE: Final = 32
"""From so many locks on spares are kept: who takes a few locks leaves nothing but their absence."""
_MOST: Final = 512


class Spare(NamedTuple):
    """An open, locked file without a task."""

    name: str
    fd: int
    device: int
    inode: int


class Spares:
    """The files at rest of one `TaskLock`."""

    def __init__(self) -> None:
        self._idle: list[Spare] = []
        self._count = 0
        self._most_held = 0
        self._cycles = 0
        self._may_link = True

    def take(self) -> Spare | None:
        """A file at rest, None if there is none."""
        self._cycles += 1
        return self._idle.pop() if self._idle else None

    def put(self, spare: Spare) -> None:
        """A file that lost its task's name rests again."""
        self._idle.append(spare)

    def has(self, device: int, inode: int) -> bool:
        """Whether this file is one at rest."""
        return any((spare.device, spare.inode) == (device, inode) for spare in self._idle)

    def wants_more(self, held: int) -> bool:
        """Whether a file whose lock is released should be kept, where so many are held: never more of them than were
        held at once, though the files of dead holders come on top."""
        self._most_held = max(self._most_held, held)
        return self._may_link and self._cycles >= FROM_CYCLE and self._count < min(self._most_held, _MOST)

    def adopt(self, name: str, fd: int, device: int, inode: int, folder_fd: int) -> bool:
        """Keep the file of a lock that is released: its name becomes a hidden one. Returns whether that was done."""
        hidden = f"{PREFIX}{secrets.token_hex(8)}"
        try:
            os.rename(name, hidden, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        except OSError:
            return False
        self._idle.append(Spare(hidden, fd, device, inode))
        self._count += 1
        return True

    def discard(self, spare: Spare, folder_fd: int) -> None:
        """Give up a file, with its hidden name."""
        self._count -= 1
        try:
            with suppress(OSError):
                os.unlink(spare.name, dir_fd=folder_fd)
        finally:
            unlock_and_close(spare.fd)

    def discard_all(self, folder_fd: int) -> None:
        """Give up every file at rest."""
        while self._idle:
            self.discard(self._idle.pop(), folder_fd)

    def forbid(self) -> None:
        """This file system has no hard links: keep no more."""
        self._may_link = False

    def close_in_child(self) -> None:
        """After a fork: close the parent's files, unlock and unlink none."""
        idle, self._idle, self._count = self._idle, [], 0
        for spare in idle:
            with suppress(OSError):
                os.close(spare.fd)
