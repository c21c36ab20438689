"""The operating system's refusals, said so that a user knows what to do."""

from __future__ import annotations

import errno
import os
from typing import Final

from agentdash.errors import LockError

_HINTS: Final = {
    errno.ENOSPC: "Free some space on this disk, then start again: no task is lost.",
    errno.EDQUOT: "The disk quota is used up: free some space, then start again.",
    errno.EROFS: "The file system is read-only: use a project folder that can be written to.",
    errno.EMFILE: "This process has too many open files: raise the limit (ulimit -n) or use fewer workers.",
    errno.ENFILE: "The machine has too many open files: close other programs or raise fs.file-max.",
    errno.EACCES: "Check the owner and the mode of this path.",
    errno.EPERM: "Check the owner and the mode of this path.",
    errno.ELOOP: "A symbolic link stands where the lock file should be: remove it.",
    errno.EISDIR: "A directory stands where the lock file should be: remove it.",
    errno.ENXIO: "A socket or pipe stands where the lock file should be: remove it.",
    errno.ENOLCK: "This file system has no locks to give: use a local disk.",
    errno.EOPNOTSUPP: "This file system has no locks: use a local disk.",
    errno.ENOSYS: "This file system has no locks: use a local disk.",
    errno.ENOENT: "The project folder is gone: create it again.",
    errno.ENOTDIR: "A file stands where the project folder or its .locks should be.",
}


def lock_error(error: OSError, path: str) -> LockError:
    """`error` as a LockError that names `path` and says what to do. Raise it `from error`."""
    code = error.errno or 0
    return LockError(f"cannot use {path}: {os.strerror(code) if code else error}", hint=_HINTS.get(code))
