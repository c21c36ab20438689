"""A real terminal for tests: a command in a pseudo terminal of a known size, keys in, screen out.

It reads what the command draws through pyte, so that a test looks at the screen as a person would, and keeps the raw
bytes for what a screen does not show. Waiting is by `select` on the terminal, never a blind sleep.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyte

from tests.support.processes import ROOT

_ENTER_TERMINAL = (  # its own session with the pseudo terminal in charge, as a shell in a terminal window has it
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
_LOOK_AGAIN_S = 0.02
_SLOW_READ_S = 0.1
_MOST_READS = 64
"""At once, before the screen is looked at: who writes without end would never be seen."""
_UNFINISHED = re.compile(r"\x1b(\[[^@-~]*)?\Z")
_UNKNOWN_TO_PYTE = re.compile(r"\x1b\[[<=][0-9;]*[a-zA-Z]")


class PtyTerminal:
    """`command` in a pseudo terminal; killed at the end of the `with` block if it still lives.

    `output` holds every byte it has written so far. The command's standard streams are all the terminal, but those
    that are given in `streams` (as for `subprocess.Popen`).
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        columns: int = 120,
        rows: int = 40,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        streams: Mapping[str, Any] | None = None,
    ) -> None:
        self._leader: int | None
        self._leader, self._follower = pty.openpty()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._screen, strict=False)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._held_back = ""
        self._usage_s = 0.0
        self.output = b""
        self._set_size(columns, rows)
        self.modes_before = self.modes()
        unwanted = {"COLUMNS", "LINES", "TERM_PROGRAM", "TMUX"}
        base = {name: value for name, value in os.environ.items() if name not in unwanted}
        base |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": str(ROOT)}
        ends: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), self._follower)
        ends.update(streams or {})
        start = [] if streams and "stdin" in streams else [sys.executable, "-ISc", _ENTER_TERMINAL]
        self.process = subprocess.Popen(
            [*start, *map(str, command)],
            cwd=cwd,
            env={**base, **(environment or {})},
            start_new_session=True,
            **ends,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        self.close_master()
        os.close(self._follower)

    # -- in ----------------------------------------------------------------------------------------------------------
    def send(self, keys: str) -> None:
        """Type `keys` (`"\\r"` is Enter, `"\\x1b"` Escape)."""
        self.send_bytes(keys.encode())

    def send_bytes(self, data: bytes) -> None:
        """Type what may be no text at all."""
        assert self._leader is not None
        os.write(self._leader, data)

    def resize(self, columns: int, rows: int) -> None:
        """Make the terminal another size; whoever sits in front of it gets SIGWINCH."""
        self.pump()
        self._screen.resize(rows, columns)
        self._set_size(columns, rows)

    def kill(self, number: signal.Signals) -> None:
        """Send the command a signal."""
        self.process.send_signal(number)

    def close_master(self) -> None:
        """The terminal window is closed, or the connection gone."""
        if self._leader is not None:
            os.close(self._leader)
            self._leader = None

    # -- out ---------------------------------------------------------------------------------------------------------
    def screen(self) -> list[str]:
        """The lines on the screen now, without blanks at their ends."""
        self.pump()
        return [line.rstrip() for line in self._screen.display]

    def text(self) -> str:
        """The screen as one text."""
        return "\n".join(self.screen())

    def clear(self) -> None:
        """Wipe the screen, as another program would that draws on it."""
        self._screen.reset()

    def wait_for(self, what: str | Callable[[], object], timeout: float = 30.0) -> None:
        """Read until `what` stands on the screen, or is true; fails with the screen as it then is."""
        deadline = time.monotonic() + timeout
        while True:
            shown = self.text()
            if what in shown if isinstance(what, str) else what():
                return
            assert time.monotonic() < deadline, f"{what!r} did not come within {timeout} s:\n{shown}\n{self._state()}"
            self.pump(_LOOK_AGAIN_S)

    def pump(self, patience: float = 0.0, *, most_reads: int = _MOST_READS) -> None:
        """Take in what has been written; wait up to `patience` seconds for the first of it."""
        for _ in range(most_reads):
            if self._leader is None or not select.select([self._leader], [], [], patience)[0]:
                break
            try:
                data = os.read(self._leader, 65536)
            except OSError:  # Linux: nobody has the other end open any more
                return
            self._take(data)
            patience = 0.0
        if self._leader is None and patience:
            select.select([], [], [], patience)

    def modes(self) -> list[Any]:
        """The terminal's settings (echo, line mode, …) as termios tells them."""
        return termios.tcgetattr(self._follower)

    # -- the end -----------------------------------------------------------------------------------------------------
    def wait_exit(self, timeout: float = 30.0, *, reading: bool = True, slowly: bool = False) -> int:
        """Wait until the command has left; returns its exit code (negative: the signal that ended it).

        Not `reading` is a terminal that has stopped taking what is written to it; one that reads `slowly` takes a
        piece of it now and then.
        """
        deadline = time.monotonic() + timeout
        while not self._has_left():
            assert time.monotonic() < deadline, f"it is still there after {timeout} s:\n{self.text()}\n{self._state()}"
            if reading and not slowly:
                self.pump(_LOOK_AGAIN_S)
            elif slowly:
                select.select([], [], [], _SLOW_READ_S)
                self.pump(most_reads=1)
            else:
                select.select([], [], [], _LOOK_AGAIN_S)
        while reading and self._leader is not None and select.select([self._leader], [], [], 0)[0]:
            before = len(self.output)
            self.pump()
            if len(self.output) == before:  # Linux: the end of it
                break
        assert self.process.returncode is not None
        return self.process.returncode

    def cpu_seconds(self) -> float:
        """How much processor time it has used, with the children it has waited for."""
        if self._has_left():
            return self._usage_s
        return sum(map(int, self._stat()[11:15])) / os.sysconf("SC_CLK_TCK")

    def _has_left(self) -> bool:
        if self.process.returncode is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                self._usage_s = usage.ru_utime + usage.ru_stime
        return self.process.returncode is not None

    def is_stopped(self) -> bool:
        """Whether the command has been stopped (SIGSTOP) and not continued."""
        return self._stat()[0] == "T"

    def _stat(self) -> list[str]:
        """The fields of /proc/PID/stat from the state on."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()

    def _state(self) -> str:
        code = self.process.returncode if self._has_left() else None
        return f"(exit code {code}, last bytes {self.output[-200:]!r})"

    def _take(self, data: bytes) -> None:
        self.output += data
        text = self._held_back + self._decode(data)
        unfinished = _UNFINISHED.search(text)
        cut = unfinished.start() if unfinished else len(text)
        text, self._held_back = text[:cut], text[cut:]
        self._stream.feed(_UNKNOWN_TO_PYTE.sub("", text))

    def _set_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._follower, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
