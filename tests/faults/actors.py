"""The real program as a process that a round of the campaign may do anything to.

A start is a fork of this process, which has imported everything already: fifty milliseconds instead of two seconds, so
that thousands of kills fit into an hour. What runs is `agentdash.__main__.main()` with its own streams, environment
and session; one start in a few is a real `exec` of the command all the same.
"""

from __future__ import annotations

import atexit
import faulthandler
import fcntl
import importlib
import os
import pty
import random
import select
import signal
import struct
import sys
import termios
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
STACKS_SIGNAL = signal.SIGUSR2
"""Makes a forked process write the stack of every thread into its output: what it was doing when it hung."""
_HELD = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_IMPORTED = (
    "anthropic",
    "anthropic.resources.messages",
    "agentdash.cli",
    "agentdash.simulator.__main__",
    "agentdash.ui.app",
)


def preload() -> None:
    """Import what every start would import."""
    for name in _IMPORTED:
        importlib.import_module(name)


@dataclass(slots=True, eq=False)
class Actor:
    """One process. `signalled`: when (monotonic) it was sent something that may end it; `cpu_s` and
    `max_rss` (bytes; at least that of the process it was forked from): known at its end."""

    pid: int
    command: tuple[str, ...]
    output: Path
    terminal: int | None = None
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    code: int | None = None
    cpu_s: float = 0.0
    max_rss: int = 0
    signalled: list[tuple[float, int]] = field(default_factory=list)
    is_stopped: bool = False
    by_exec: bool = False

    @property
    def is_alive(self) -> bool:
        return self.code is None

    def look(self) -> None:
        """Take in what its terminal shows, and note its end."""
        self._drain()
        if self.code is not None:
            return
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if pid:
            self.code = os.waitstatus_to_exitcode(status)
            self.ended = time.monotonic()
            self.cpu_s = usage.ru_utime + usage.ru_stime
            self.max_rss = usage.ru_maxrss << 10
            self._drain()
            self.close_terminal()

    def send(self, number: int) -> None:
        """A signal to the process itself; nothing if it has ended."""
        if self.code is not None:
            return
        if number == signal.SIGSTOP:
            self.is_stopped = True
        elif number == signal.SIGCONT:
            self.is_stopped = False
        elif number != STACKS_SIGNAL:
            self.signalled.append((time.monotonic(), number))
        os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.send(signal.SIGKILL)
        while self.code is None:
            self.look()
            time.sleep(0.0005)

    def press(self, keys: str) -> None:
        """Type into its terminal, if a dashboard reads it: else the terminal itself would write what is typed."""
        if self.terminal is not None and self.code is None:
            echoes = termios.tcgetattr(self.terminal)[3] & termios.ECHO
            if not echoes:
                os.write(self.terminal, keys.encode())

    def close_terminal(self) -> None:
        """As a user does who closes the window."""
        if self.terminal is not None:
            os.close(self.terminal)
            self.terminal = None

    def _drain(self) -> None:
        while self.terminal is not None and select.select([self.terminal], [], [], 0)[0]:
            try:
                data = os.read(self.terminal, 1 << 16)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            with self.output.open("ab") as file:
                file.write(data)


def start(
    command: Sequence[str],
    *,
    module: str = "agentdash",
    environment: Mapping[str, str],
    cwd: Path,
    output: Path,
    prepare: Sequence[Callable[[], None]] = (),
    in_terminal: bool = False,
    by_exec: bool = False,
) -> Actor:
    """Start a module (`python -m`) with these arguments. `prepare` runs in the new process before the program does."""
    leader = follower = None
    if in_terminal:
        leader, follower = pty.openpty()
        fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    sys.stdout.flush()
    sys.stderr.flush()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)  # until the child is the program, as after an exec
    pid = os.fork()
    if pid == 0:
        try:
            _own_streams(output, follower)
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(environment)
            for step in prepare:
                step()
            if by_exec:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, held)
                os.execv(sys.executable, [sys.executable, "-m", module, *command])
            _run(module, command, held)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(70)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    if follower is not None:
        os.close(follower)
    return Actor(pid, tuple(command), output, leader, by_exec=by_exec)


def _own_streams(output: Path, follower: int | None) -> None:
    """A session, standard streams and signal handlers of its own; nothing else of the parent's stays open."""
    os.setsid()
    if follower is not None:
        fcntl.ioctl(follower, termios.TIOCSCTTY, 0)
        ends = (follower, follower, follower)
    else:
        written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        ends = (os.open(os.devnull, os.O_RDONLY), written, written)
    for target, end in enumerate(ends):
        os.dup2(end, target)
    os.closerange(3, 256)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    vars(sys)["__stdin__"] = sys.stdin
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    vars(sys)["__stdout__"] = sys.stdout
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    vars(sys)["__stderr__"] = sys.stderr
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL if number != signal.SIGPIPE else signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(module: str, command: Sequence[str], mask: Iterable[int]) -> NoReturn:
    """The program, to its end, as the interpreter would end it."""
    random.seed()
    faulthandler.register(STACKS_SIGNAL, all_threads=True)
    sys.argv = [module, *command]
    code: object = 1
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = importlib.import_module(f"{module}.__main__").main()
    except SystemExit as stop:
        code = stop.code
    except KeyboardInterrupt:  # before the program had a way of its own
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)
