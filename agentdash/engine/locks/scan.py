"""Looking at all lock files: what to show, and what nobody holds and may be removed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from agentdash.engine.locks.faults import lock_error
from agentdash.engine.locks.flock import EXCLUSIVE, SHARED, try_flock, unlock_and_close
from agentdash.engine.locks.folder import LockFolder
from agentdash.engine.locks.forking import GUARD
from agentdash.engine.locks.names import is_lock_file, lock_file_name, readable_id
from agentdash.engine.locks.record import MAX_RECORD_BYTES, decode, is_overdue
from agentdash.engine.locks.spares import PREFIX
from agentdash.errors import LockError
from agentdash.model import LockView

_LOOK: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
# Errors of one file that say it is gone, or none of ours.
_NOT_OURS: Final = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EACCES, errno.EPERM})


def views(folder: LockFolder, skip: set[str], now: float, limit: int) -> list[LockView]:
    """At most `limit` lock files but those named in `skip`, oldest first. `now` in seconds since the epoch."""
    found: list[LockView] = []
    for name in _names(folder):
        if len(found) >= limit:
            break
        if name in skip:
            continue
        with _each(folder, name), GUARD:
            view = _view(folder.fd, name, now) if folder.fd >= 0 else None
        if view is not None:
            found.append(view)
    return sorted(found, key=lambda view: (view.acquired_at, view.task_id))


def clean(folder: LockFolder, now: float, max_age: float) -> int:
    """Remove the lock files that nobody holds and whose time is `max_age` seconds back or more; how many."""
    removed = 0
    for name in _names(folder):
        with _each(folder, name), GUARD:
            removed += _remove_if_free(folder.fd, name, now, max_age) if folder.fd >= 0 else 0
    for name in _names(folder, is_spare):  # those of processes that died; they name no task and are not counted
        with _each(folder, name), GUARD:
            if folder.fd >= 0:
                _remove_if_free(folder.fd, name, now, 0)
    return removed


def is_spare(name: str) -> bool:
    """Whether a file is a lock file at rest."""
    return name.startswith(PREFIX)


def is_locked(folder: LockFolder, task_id: str) -> bool:
    """Whether somebody holds the lock file of `task_id`."""
    with GUARD:
        folder_fd = folder.current()
        name = lock_file_name(task_id, one_case=folder.one_case)
        if folder_fd is None:
            return False
        with _each(folder, name), _opened(folder_fd, name) as fd:
            return fd is not None and not try_flock(fd, SHARED)


def _names(folder: LockFolder, wanted: Callable[[str], bool] = is_lock_file) -> Iterator[str]:
    with GUARD:
        if folder.current() is None:
            return
    try:
        with os.scandir(folder.path) as entries:
            for entry in entries:
                if wanted(entry.name):
                    yield entry.name
    except FileNotFoundError:
        return
    except OSError as error:
        raise lock_error(error, folder.path) from error


@contextmanager
def _each(folder: LockFolder, name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise lock_error(error, os.path.join(folder.path, name)) from error


@contextmanager
def _opened(folder_fd: int, name: str) -> Iterator[int | None]:
    """The file, or None if it is gone or cannot be one of ours. Never follows a link, never waits for a pipe."""
    try:
        fd = os.open(name, _LOOK, dir_fd=folder_fd)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        yield None
        return
    try:
        yield fd
    finally:
        unlock_and_close(fd)


def _view(folder_fd: int, name: str, now: float) -> LockView | None:
    with _opened(folder_fd, name) as fd:
        if fd is None:
            return _unreadable(folder_fd, name)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return LockView(readable_id(name), "", 0, found.st_mtime, "foreign")
        free = try_flock(fd, SHARED)
        if not _is_at(folder_fd, name, found):
            return None
        record = decode(os.pread(fd, MAX_RECORD_BYTES, 0))
        if record is None or name not in _names_of(record.task_id):
            return LockView(readable_id(name), "", 0, found.st_mtime, "stale" if free else "foreign", found.st_mtime)
        state = "held"
        if free:
            state = "stale"
        elif not record.is_local():
            state = "foreign"
        elif is_overdue(record.acquired_at, record.timeout, now):
            state = "overdue"
        return LockView(record.task_id, record.holder_id, record.pid, record.acquired_at, state, found.st_mtime)


def _unreadable(folder_fd: int, name: str) -> LockView | None:
    try:
        found = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return LockView(readable_id(name), "", 0, found.st_mtime, "foreign")


def _names_of(task_id: str) -> tuple[str, ...]:
    try:
        return lock_file_name(task_id), lock_file_name(task_id, one_case=True)
    except LockError:
        return ()


def _remove_if_free(folder_fd: int, name: str, now: float, max_age: float) -> int:
    with _opened(folder_fd, name) as fd:
        if fd is None:
            return 0
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or (max_age > 0 and now - found.st_mtime < max_age):
            return 0
        if not try_flock(fd, EXCLUSIVE) or not _is_at(folder_fd, name, found):
            return 0
        os.unlink(name, dir_fd=folder_fd)
        return 1


def _is_at(folder_fd: int, name: str, found: os.stat_result) -> bool:
    try:
        there = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, found)
