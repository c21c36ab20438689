"""TaskLock on POSIX: flock on one file a task, unlinked while it is held.

The kernel alone says whether a lock is free. No age, pid or file content ever takes a lock from its holder, and the
death of a holder frees its locks at once.
"""

from __future__ import annotations

import errno
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.locks import scan
from agentdash.engine.locks.faults import lock_error
from agentdash.engine.locks.flock import try_flock, unlock_and_close
from agentdash.engine.locks.folder import LockFolder
from agentdash.engine.locks.forking import GUARD, close_after_fork
from agentdash.engine.locks.names import check_id, lock_file_name
from agentdash.engine.locks.record import HeldLock, encode, this_process
from agentdash.engine.locks.spares import Spare, Spares
from agentdash.errors import LockError
from agentdash.model import LockView

_OPEN_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_ATTEMPTS: Final = 64


class TaskLock:
    """Exclusive locks on task ids, shared by all processes that use one project folder.

    Files are `.locks/task-{id}.lock`, 0600 in a folder 0700. Two TaskLock objects exclude each other, in one process
    too; one object never holds a task twice. Safe to use from several threads. Nothing here waits.

    `project_dir` must exist. With `create=False` the `.locks` folder is made by the first `acquire`, not now.
    Raises LockError where `.locks` is a link, another user's, or on a network file system (unless
    `allow_network_filesystem`, which logs a warning instead).
    """

    def __init__(
        self,
        project_dir: str | os.PathLike[str],
        *,
        allow_network_filesystem: bool = False,
        create: bool = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._held: dict[str, HeldLock] = {}
        self._closed = False
        self._clock = clock
        self._spares = Spares()
        self._folder = LockFolder(project_dir, allow_network_filesystem=allow_network_filesystem)
        close_after_fork(self)
        if create:
            with GUARD:
                self._folder.prepare()

    def acquire(self, task_id: str, holder_id: str = "worker-0", timeout: float | None = 300) -> bool:
        """Take the lock of `task_id`; True if it is now held, False if somebody (this object too) holds it.

        `timeout` is the task's time budget in seconds (None: no limit), written down for others to show "overdue". It
        never ends the lock. Raises LockError for everything but contention (a full or read-only disk, too many open
        files, something planted at the path, an id that cannot be used), and ValueError for a negative `timeout`.
        """
        check_id(holder_id, "holder id")
        if timeout is not None and not 0 <= timeout < math.inf:
            raise ValueError(f"timeout must be zero or more seconds, or None, not {timeout!r}")
        with GUARD:
            if self._closed:
                raise LockError("these locks are closed", hint="Make a new TaskLock.")
            if task_id in self._held:
                return False
            self._folder.prepare()
            name = lock_file_name(task_id, one_case=self._folder.one_case)
            try:
                spare = self._spares.take()
                if spare is not None and self._take_with(spare, name, task_id, holder_id, timeout):
                    return True
                return self._take(name, task_id, holder_id, timeout)
            except OSError as error:
                raise lock_error(error, os.path.join(self._folder.path, name)) from error

    def release(self, task_id: str, holder_id: str | None = None) -> bool:
        """Let go of `task_id`; False, and nothing happens, if it is not held here or by another `holder_id`.

        The file is unlinked while the lock is still held, and only if it is this lock's own. Raises nothing: where
        the file cannot be unlinked it stays behind, unlocked, for cleaning.
        """
        with GUARD:
            held = self._held.get(task_id)
            if held is None or holder_id not in (None, held.holder_id):
                return False
            try:
                self._let_go(held)
            finally:
                del self._held[task_id]
        return True

    @contextmanager
    def lock(self, task_id: str, holder_id: str = "worker-0", timeout: float | None = 300) -> Iterator[bool]:
        """`with lock.lock(id) as acquired:`; released on the way out if it was acquired. Raises as `acquire` does."""
        acquired = self.acquire(task_id, holder_id, timeout)
        try:
            yield acquired
        finally:
            if acquired:
                self.release(task_id, holder_id)

    def heartbeat(self, task_id: str) -> bool:
        """Mark the lock as alive (its file's time) and check it. False: not held, or compromised.

        Compromised means that the folder or the file was removed or replaced, so that somebody else may get the lock:
        cancel the task, do not settle it, then `release`.
        """
        with GUARD:
            held = self._held.get(task_id)
            if held is None:
                return False
            with suppress(OSError):  # the time is for show; a full or read-only disk does not free the lock
                os.utime(held.fd)
                self._held[task_id] = held._replace(heartbeat_at=self._clock.now())
            return self._is_in_place(held)

    def heartbeat_all(self) -> list[str]:
        """Heartbeat of all that is held; the ids of the compromised ones."""
        return [task_id for task_id in list(self._held) if not self.heartbeat(task_id) and task_id in self._held]

    def held(self) -> Mapping[str, HeldLock]:
        """What this object holds now, by task id: a copy."""
        return dict(self._held)

    def is_locked(self, task_id: str) -> bool:
        """Whether anybody holds `task_id`. Old when it is read: only `acquire` decides. Raises LockError."""
        with GUARD:
            if task_id in self._held:
                return True
            return scan.is_locked(self._folder, task_id)

    def views(self, now: float, limit: int = 1000) -> list[LockView]:
        """At most `limit` lock files as they are at `now` (seconds since the epoch), own ones first, then by time.

        Files of others are probed with a shared lock for some microseconds: an `acquire` at that very moment finds
        them busy. A dashboard that needs only its own locks asks `held()`. Raises LockError.
        """
        own = [held.view(now) for held in self.held().values()]
        names = {held.name for held in self.held().values()}
        own.sort(key=lambda view: (view.acquired_at, view.task_id))
        return (own + scan.views(self._folder, names, now, max(0, limit - len(own))))[:limit]

    def clean_all_stale_locks(self, max_age_seconds: float = 3600) -> int:
        """Remove the files that nobody holds and that are at least `max_age_seconds` old (0: all); how many.

        Age only limits the work: the kernel says what is free, and a holder's file stays, however old.
        Raises LockError where the files cannot be removed.
        """
        return scan.clean(self._folder, self._clock.now(), max_age_seconds)

    def close(self) -> None:
        """Release everything; `acquire` is refused from now on. May be called twice."""
        with GUARD:
            self._closed = True
            for task_id in list(self._held):
                self.release(task_id)
            self._spares.discard_all(self._folder.fd)
            self._folder.close()

    def close_in_child(self) -> None:
        """After a fork, in the child: close the parent's descriptors, unlock nothing, hold nothing."""
        held, self._held = self._held, {}
        for lock in held.values():
            with suppress(OSError):
                os.close(lock.fd)
        self._spares.close_in_child()
        with suppress(OSError):
            self._folder.close()

    def __del__(self) -> None:
        if hasattr(self, "_folder"):
            self.close()

    def _take(self, name: str, task_id: str, holder_id: str, timeout: float | None) -> bool:
        for _ in range(_ATTEMPTS):
            try:
                fd = os.open(name, _OPEN_LOCK, 0o600, dir_fd=self._folder.fd)
            except FileNotFoundError:  # the folder was removed
                self._folder.refresh()
                continue
            kept = False
            try:
                locked = try_flock(fd)
                found = os.fstat(fd)
                device, inode = found.st_dev, found.st_ino
                in_place = self._is_at_path(name, device, inode)
                if not locked and in_place:
                    if found.st_nlink == 1 or not self._is_ours_by_another_name(name, device, inode):
                        return False
                    os.unlink(name, dir_fd=self._folder.fd)  # a link that was planted: it would be busy for ever
                if locked and in_place and found.st_nlink > 1 and stat.S_ISREG(found.st_mode):
                    # A dead holder's spare, or a link that was planted: never written to, only its name here removed.
                    os.unlink(name, dir_fd=self._folder.fd)
                elif locked and in_place:
                    now, pid = self._clock.now(), this_process().pid
                    self._write(fd, name, found, encode(task_id, holder_id, now, timeout))
                    self._held[task_id] = HeldLock(task_id, holder_id, now, timeout, pid, name, fd, device, inode)
                    kept = True
                    return True
            finally:
                if not kept:
                    unlock_and_close(fd)
            self._folder.refresh()  # the last holder unlinked the file, or the folder was replaced
        return False

    def _is_ours_by_another_name(self, name: str, device: int, inode: int) -> bool:
        """Whether a file that stands at `name` is one that this object holds for another task, or at rest."""
        held = ((lock.device, lock.inode) for lock in self._held.values() if lock.name != name)
        return (device, inode) in held or self._spares.has(device, inode)

    def _take_with(self, spare: Spare, name: str, task_id: str, holder_id: str, timeout: float | None) -> bool:
        """Give a file at rest, which is held already, the task's name. False: the plain way has to be gone."""
        folder_fd = self._folder.fd
        now, pid = self._clock.now(), this_process().pid
        kept = False
        try:
            self._fill(spare.fd, encode(task_id, holder_id, now, timeout))
            os.link(spare.name, name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd, follow_symlinks=False)
            if self._is_at_path(name, spare.device, spare.inode):
                held = HeldLock(task_id, holder_id, now, timeout, pid, name, spare.fd, *spare[2:], spare.name)
                self._held[task_id] = held
                kept = True
            else:  # the folder was replaced, or the hidden name
                os.unlink(name, dir_fd=folder_fd)
        except FileExistsError:  # locked by somebody, or left by one who died: the plain way tells
            self._spares.put(spare)
            return False
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
                self._spares.forbid()
        if not kept:
            self._spares.discard(spare, folder_fd)
        return kept

    def _write(self, fd: int, name: str, found: os.stat_result, data: bytes) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise LockError(f"{self._folder.path}/{name} is not a regular file", hint="Remove it.")
        try:
            if found.st_mode & 0o077:
                os.fchmod(fd, 0o600)
            self._fill(fd, data, found.st_size)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=self._folder.fd)
            raise

    @staticmethod
    def _fill(fd: int, data: bytes, old_size: int | None = None) -> None:
        """Write the record; only the holder writes, so what is longer than it can be cut without a race."""
        if os.pwrite(fd, data, 0) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if old_size is None:
            old_size = os.fstat(fd).st_size
        if old_size > len(data):
            os.ftruncate(fd, len(data))

    def _let_go(self, held: HeldLock) -> None:
        resting = False
        try:
            with suppress(OSError):
                if self._is_in_place(held):
                    if not held.spare and self._spares.wants_more(len(self._held) + 1):
                        resting = self._spares.adopt(held.name, held.fd, held.device, held.inode, self._folder.fd)
                    if not resting:
                        os.unlink(f"{self._folder.path}/{held.name}")
                    if held.spare:
                        self._spares.put(Spare(held.spare, held.fd, held.device, held.inode))
                        resting = True
        finally:
            if not resting and held.spare:
                self._spares.discard(Spare(held.spare, held.fd, held.device, held.inode), self._folder.fd)
            elif not resting:
                unlock_and_close(held.fd)

    def _is_in_place(self, held: HeldLock) -> bool:
        try:
            return self._is_at_path(held.name, held.device, held.inode)
        except OSError:  # what cannot be checked cannot be relied on
            return False

    def _is_at_path(self, name: str, device: int, inode: int) -> bool:
        """Whether the path leads to this inode: the whole path, as another process takes it, not the held folder."""
        try:
            found = os.stat(f"{self._folder.path}/{name}", follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return found.st_ino == inode and found.st_dev == device
