"""TaskLock on Windows: filelock behind the interface of the POSIX form.

A locked file cannot be read there, so what is shown about the holder stands beside it, in `task-{id}.json`. Windows
keeps an open file from being removed or renamed, so a held lock cannot be compromised.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.locks.filesystem import filesystem_of, is_network_filesystem
from agentdash.engine.locks.names import SUFFIX, check_id, is_lock_file, lock_file_name, readable_id
from agentdash.engine.locks.record import MAX_RECORD_BYTES, HeldLock, decode, encode, is_overdue
from agentdash.errors import LockError
from agentdash.model import LockView


class TaskLock:
    """Exclusive locks on task ids; see `posix.TaskLock` for what each method promises."""

    def __init__(
        self,
        project_dir: str | os.PathLike[str],
        *,
        allow_network_filesystem: bool = False,
        create: bool = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._folder = Path(os.path.realpath(project_dir)) / ".locks"
        self._clock = clock
        self._held: dict[str, tuple[HeldLock, FileLock]] = {}
        self._closed = False
        kind = filesystem_of(self._folder)
        if is_network_filesystem(kind) and not allow_network_filesystem:
            raise LockError(f"{self._folder} is on a network file system ({kind})", hint="Use a local disk.")
        if create:
            self._prepare()

    def acquire(self, task_id: str, holder_id: str = "worker-0", timeout: float | None = 300) -> bool:
        check_id(holder_id, "holder id")
        if timeout is not None and not 0 <= timeout < float("inf"):
            raise ValueError(f"timeout must be zero or more seconds, or None, not {timeout!r}")
        if self._closed:
            raise LockError("these locks are closed", hint="Make a new TaskLock.")
        if task_id in self._held:
            return False
        self._prepare()
        path = self._path(task_id)
        file = FileLock(path, thread_local=False)
        now = self._clock.now()
        try:
            file.acquire(blocking=False)
            path.with_suffix(".json").write_bytes(encode(task_id, holder_id, now, timeout))
        except Timeout:
            return False
        except OSError as error:
            file.release(force=True)
            raise LockError(f"cannot use {path}: {error.strerror or error}") from error
        self._held[task_id] = HeldLock(task_id, holder_id, now, timeout, os.getpid(), path.name, -1, 0, 0), file
        return True

    def release(self, task_id: str, holder_id: str | None = None) -> bool:
        held = self._held.get(task_id)
        if held is None or holder_id not in (None, held[0].holder_id):
            return False
        del self._held[task_id]
        with suppress(OSError):
            self._path(task_id).with_suffix(".json").unlink()
        held[1].release(force=True)
        with suppress(OSError):  # refused while another process has it open, so it is never taken from a holder
            self._path(task_id).unlink()
        return True

    @contextmanager
    def lock(self, task_id: str, holder_id: str = "worker-0", timeout: float | None = 300) -> Iterator[bool]:
        acquired = self.acquire(task_id, holder_id, timeout)
        try:
            yield acquired
        finally:
            if acquired:
                self.release(task_id, holder_id)

    def heartbeat(self, task_id: str) -> bool:
        held = self._held.get(task_id)
        if held is None:
            return False
        with suppress(OSError):
            os.utime(self._path(task_id).with_suffix(".json"))
            self._held[task_id] = held[0]._replace(heartbeat_at=self._clock.now()), held[1]
        return held[1].is_locked and self._path(task_id).exists()

    def heartbeat_all(self) -> list[str]:
        return [task_id for task_id in list(self._held) if not self.heartbeat(task_id)]

    def held(self) -> Mapping[str, HeldLock]:
        return {task_id: held for task_id, (held, _) in self._held.items()}

    def is_locked(self, task_id: str) -> bool:
        path = self._path(task_id)
        return task_id in self._held or (path.exists() and not self._is_free(path))

    def views(self, now: float, limit: int = 1000) -> list[LockView]:
        own = [held.view(now) for held in self.held().values()]
        names = {held.name for held in self.held().values()}
        others = [self._view(path, now) for path in self._files() if path.name not in names]
        return (own + sorted(others, key=lambda view: (view.acquired_at, view.task_id)))[:limit]

    def clean_all_stale_locks(self, max_age_seconds: float = 3600) -> int:
        removed, names = 0, {held.name for held in self.held().values()}
        for path in self._files():
            with suppress(OSError):
                old = max_age_seconds <= 0 or self._clock.now() - path.stat().st_mtime >= max_age_seconds
                if old and path.name not in names and self._is_free(path):
                    path.with_suffix(".json").unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def close(self) -> None:
        self._closed = True
        for task_id in list(self._held):
            self.release(task_id)

    def _prepare(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            ignore = self._folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="ascii")
        except OSError as error:
            raise LockError(f"cannot use {self._folder}: {error.strerror or error}") from error

    def _path(self, task_id: str) -> Path:
        return self._folder / lock_file_name(task_id, one_case=True)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{SUFFIX}")) if self._folder.is_dir() else []

    def _is_free(self, path: Path) -> bool:
        try:
            with FileLock(path, thread_local=False).acquire(blocking=False):
                return True
        except Timeout:
            return False

    def _view(self, path: Path, now: float) -> LockView:
        beside = path.with_suffix(".json")
        try:
            record, beat = decode(beside.read_bytes()[:MAX_RECORD_BYTES]), beside.stat().st_mtime
        except OSError:
            record, beat = None, 0.0
        free = is_lock_file(path.name) and self._is_free(path)
        if record is None:
            return LockView(readable_id(path.name), "", 0, time.time(), "stale" if free else "foreign")
        state = "overdue" if is_overdue(record.acquired_at, record.timeout, now) else "held"
        state = "stale" if free else state if record.is_local() else "foreign"
        return LockView(record.task_id, record.holder_id, record.pid, record.acquired_at, state, beat)
