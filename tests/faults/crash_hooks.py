"""Numbered points in a running program: every operation that leaves a trace outside of the process, and a death there.

Put around the operations themselves (`os`, `fcntl`, `sqlite3`, sockets, the log) in a forked child, so the program
under test has no hooks. A point is named by what is done and how often that was done before (`lock: link task-t1.lock`,
the second time). An audit hook watches for traces that no point covers.
"""

from __future__ import annotations

import asyncio
import asyncio.selector_events
import fcntl
import logging.handlers
import os
import signal
import socket
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.faults.crash_names import label, statement

_write = os.write
_LASTING = frozenset(
    [
        *(f"os.{name}" for name in ("remove", "rename", "link", "symlink", "mkdir", "rmdir", "truncate")),
        *(f"os.{name}" for name in ("chmod", "chown", "utime", "setxattr", "fork", "exec", "posix_spawn")),
        *("fcntl.flock", "fcntl.lockf", "subprocess.Popen", "shutil.rmtree", "shutil.move"),
        *("socket.connect", "socket.sendto", "socket.sendmsg"),
    ]
)
"""Audit events of what leaves a trace; `open` is looked at more closely."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Point(NamedTuple):
    """The `times`-th time (from 1) that the operation `label` is reached; `half`: when half of its bytes are out."""

    label: str
    times: int
    half: bool = False


@dataclass
class Hooks:
    """The points of this process: each is written down as it is reached, and at `target` the process ends itself.

    `project` is the folder whose files matter; `note` a descriptor for the list of points and of uncovered traces.
    """

    project: str
    note: int
    target: Point | None = None

    def __post_init__(self) -> None:
        self.project = os.path.realpath(self.project)
        self._names: dict[int, str] = {}
        self._seen: Counter[str] = Counter()
        self._one_at_a_time = threading.Lock()
        self._here = threading.local()

    def reach(self, name: str, half: Callable[[], object] | None = None) -> None:
        """A point: nothing of the operation has been done yet. `half` does the first half of it."""
        with self._one_at_a_time:  # two threads: what one does at its point is not counted after the other's death
            self._seen[name] += 1
            _write(self.note, f"{'/' if half else ' '} {name}\n".encode())
            if self.target is None or (name, self._seen[name]) != self.target[:2]:
                return
            if self.target.half and half is not None:
                half()
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Put the points in place, for good: for a process that is made for this."""
        self._wrap_files()
        self._wrap_flock()
        self._wrap_database()
        self._wrap_requests()
        self._wrap_log()
        sys.addaudithook(self._watch)

    # -- files -------------------------------------------------------------------------------------------------------
    def _wrap_files(self) -> None:
        self._wrap_open()
        self._wrap_close()
        for name in ("unlink", "mkdir", "chmod", "utime", "rmdir", "remove", "truncate"):
            self._wrap_path(name)
        for name in ("rename", "replace", "link", "symlink"):
            self._wrap_two_paths(name)
        for name in ("write", "pwrite"):
            self._wrap_writing(name)
        for name in ("ftruncate", "fsync", "fdatasync", "fchmod"):
            self._wrap_path(name)

    def _wrap_open(self) -> None:
        real = os.open

        def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            name = self._name(path, dir_fd)
            if name is not None and flags & _WRITING:
                self.reach(label("open", name))
            with self._covered():
                descriptor = real(path, flags, mode, dir_fd=dir_fd)
            if name is not None:
                self._names[descriptor] = name
            return descriptor

        os.open = opened

    def _wrap_close(self) -> None:
        """Closing lets go of a lock."""
        real = os.close

        def closed(descriptor: int) -> None:
            name = self._names.pop(descriptor, None)
            if name is not None:
                self.reach(label("close", name))
            real(descriptor)

        os.close = closed  # type: ignore[assignment] # the parameter is by position

    def _wrap_path(self, operation: str) -> None:
        """One whose first argument is a path or a descriptor."""
        real = getattr(os, operation)

        def done(path: Any, *arguments: Any, **options: Any) -> Any:
            if (name := self._name(path, options.get("dir_fd"))) is not None:
                self.reach(label(operation, name))
            with self._covered():
                return real(path, *arguments, **options)

        setattr(os, operation, done)

    def _wrap_two_paths(self, operation: str) -> None:
        real = getattr(os, operation)

        def done(source: Any, target: Any, **options: Any) -> Any:
            name = self._name(target, options.get("dst_dir_fd", options.get("dir_fd")))
            if name is not None:
                self.reach(label(operation, name))
            with self._covered():
                return real(source, target, **options)

        setattr(os, operation, done)

    def _wrap_writing(self, operation: str) -> None:
        real = getattr(os, operation)

        def written(descriptor: int, data: Any, *offset: int) -> Any:
            if (name := self._names.get(descriptor)) is not None:
                half = bytes(data)[: len(data) // 2]
                self.reach(label(operation, name), lambda: real(descriptor, half, *offset))
            return real(descriptor, data, *offset)

        setattr(os, operation, written)

    def _wrap_flock(self) -> None:
        real = fcntl.flock

        def flocked(descriptor: Any, how: int) -> None:
            if (name := self._name(descriptor, None)) is not None:
                self.reach(label("unlock" if how & fcntl.LOCK_UN else "flock", name))
            with self._covered():
                real(descriptor, how)

        fcntl.flock = flocked

    def _name(self, path: Any, folder: int | None) -> str | None:
        """The path within the project, None for one outside; descriptors are known by what they were opened as."""
        if isinstance(path, int):
            return self._names.get(path)
        text = os.fspath(path)
        if folder is not None and not os.path.isabs(text):
            above = self._names.get(folder)
            return None if above is None else os.path.normpath(f"{above}/{text}")
        full = os.path.abspath(text)
        return os.path.relpath(full, self.project) if f"{full}/".startswith(f"{self.project}/") else None

    # -- database ----------------------------------------------------------------------------------------------------
    def _wrap_database(self) -> None:
        hooks, real = self, sqlite3.connect

        class Watched(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                if (name := statement(sql)) is not None:
                    hooks.reach(name)
                return super().execute(sql, *parameters)

            def executemany(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                if (name := statement(sql)) is not None:
                    hooks.reach(name)
                return super().executemany(sql, *parameters)

            def executescript(self, script: str) -> sqlite3.Cursor:
                hooks.reach("store: script")
                return super().executescript(script)

            def commit(self) -> None:
                hooks.reach("store: COMMIT")
                super().commit()

            def close(self) -> None:
                hooks.reach("store: close")  # the last one writes the log back into the database
                super().close()

        def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
            hooks.reach("store: connect")
            return real(*arguments, **options, factory=Watched)

        sqlite3.connect = connect  # type: ignore[assignment]

    # -- requests and answers ----------------------------------------------------------------------------------------
    def _wrap_requests(self) -> None:
        self._wrap_connecting()
        events: Any = asyncio.selector_events
        transport = events._SelectorSocketTransport
        send, receive, lost = transport.write, transport._read_ready__data_received, transport._call_connection_lost

        def sent(this: Any, data: Any) -> None:
            if _is_network(this):
                half = bytes(data)[: len(data) // 2]
                self.reach("request: send", lambda: send(this, half))
            with self._covered():
                send(this, data)

        def received(this: Any) -> None:
            if _is_network(this):
                self.reach("answer: receive")
            receive(this)

        def closed(this: Any, error: Any) -> None:
            if _is_network(this):
                self.reach("request: connection closed")
            lost(this, error)

        transport.write, transport._read_ready__data_received = sent, received
        transport.writelines = lambda this, parts: sent(this, b"".join(parts))
        transport._call_connection_lost = closed

    def _wrap_connecting(self) -> None:
        loop: Any = asyncio.selector_events.BaseSelectorEventLoop
        real = loop.sock_connect

        async def connected(this: Any, sock: socket.socket, address: Any) -> None:
            self.reach("request: connect")
            with self._covered():
                await real(this, sock, address)

        loop.sock_connect = connected

    def _wrap_log(self) -> None:
        real = logging.handlers.BaseRotatingHandler.emit

        def emitted(this: logging.handlers.BaseRotatingHandler, record: logging.LogRecord) -> None:
            self.reach("log: line")
            with self._covered():
                real(this, record)

        logging.handlers.BaseRotatingHandler.emit = emitted  # type: ignore[method-assign, assignment]

    # -- what no point covers ----------------------------------------------------------------------------------------
    def _covered(self) -> _Covered:
        return _Covered(self._here)

    def _watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Python's own word of what is done: an operation that leaves a trace and was not announced by a point."""
        if getattr(self._here, "depth", 0):
            return
        if event == "open":
            path, mode, flags = arguments
            lasts = (isinstance(mode, str) and mode.strip("rbtU") != "") or bool(flags and flags & _WRITING)
            if not lasts or not isinstance(path, str | bytes) or self._name(os.fsdecode(path), None) is None:
                return
        elif event not in _LASTING:
            return
        _write(self.note, f"! {event} {arguments!r}\n".encode(errors="replace"))


class _Covered:
    """`with`: what this thread does now was announced by a point."""

    def __init__(self, here: threading.local) -> None:
        self._here = here

    def __enter__(self) -> None:
        self._here.depth = getattr(self._here, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        self._here.depth -= 1


def _is_network(transport: Any) -> bool:
    return transport.get_extra_info("socket").family in (socket.AF_INET, socket.AF_INET6)
