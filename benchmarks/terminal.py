"""A command in a pseudo terminal, as plain as can be: what it draws is read and searched, not interpreted."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """Starts `command` with the terminal as its streams; `started` is when (monotonic seconds)."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], *, columns: int = 120, rows: int = 40
    ) -> None:
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environ}
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-ISc", _TAKE_TERMINAL, *command],
            stdin=follower, stdout=follower, stderr=follower, env=environ, start_new_session=True,
        )  # fmt: skip
        os.close(follower)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._leader)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._leader, keys.encode())

    def until(self, text: str, timeout: float = 60.0) -> float:
        """Read until `text` was drawn after the call; the seconds that took. Raises `TimeoutError`."""
        begun, seen = time.monotonic(), b""
        wanted = text.encode()
        while wanted not in seen:
            left = begun + timeout - time.monotonic()
            if left <= 0 or not self._ready(left):
                raise TimeoutError(f"{text!r} was not drawn: {seen[-2000:]!r}")
            seen = seen[-len(wanted) :] + self._read() if len(seen) > 1_000_000 else seen + self._read()
        return time.monotonic() - begun

    def read_for(self, seconds: float) -> int:
        """Take in what is drawn for a while; how many bytes."""
        end, number = time.monotonic() + seconds, 0
        while (left := end - time.monotonic()) > 0:
            if self._ready(left):
                number += len(self._read())
        return number

    def wait(self, timeout: float) -> int:
        """Read on until the command has ended; its exit code."""
        end = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < end:
            if self._ready(0.05) and not self._read():
                break
        return self.process.wait(max(0.1, end - time.monotonic()))

    def cpu_s(self) -> float:
        """The CPU time the command has used so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """The memory the command holds now."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def _ready(self, seconds: float) -> bool:
        return bool(select.select([self._leader], [], [], seconds)[0])

    def _read(self) -> bytes:
        try:
            return os.read(self._leader, 65536)
        except OSError:  # nobody has the other end any more
            return b""
