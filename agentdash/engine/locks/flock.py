"""flock without waiting: contention is an answer, everything else an error."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from typing import Final

BUSY: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES})
EXCLUSIVE: Final = fcntl.LOCK_EX | fcntl.LOCK_NB
SHARED: Final = fcntl.LOCK_SH | fcntl.LOCK_NB


def try_flock(fd: int, how: int = EXCLUSIVE) -> bool:
    """True if the kernel gave the lock, False if another open file holds it. Any other refusal raises OSError."""
    try:
        fcntl.flock(fd, how)
    except OSError as error:
        if error.errno in BUSY:
            return False
        raise
    return True


def unlock_and_close(fd: int) -> None:
    """Let go of the lock, if there is one, and close; raises nothing that flock says.

    Closing alone would leave the lock to a child that was forked behind Python's back.
    """
    try:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)
