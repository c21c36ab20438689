"""Standard input that can be given up: the thread that reads tasks must not wait for ever for a silent pipe."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Callable
from typing import BinaryIO, cast

from agentdash.cli.output import is_terminal, tell
from agentdash.errors import BadInputError, InterruptedRunError

_LOOK_S = 0.2
_BUFFER = 1 << 18


def interruptible_stdin(is_stopping: Callable[[], bool]) -> BinaryIO:
    """Standard input as bytes, whose reading raises `InterruptedRunError` once `is_stopping()`."""
    if sys.stdin is None:
        raise BadInputError("-: standard input is closed")
    how = " (the terminal: one JSON object a line, Ctrl+D at the end)" if is_terminal(sys.stdin) else ""
    tell(f"Reading tasks from standard input{how}.")
    try:
        descriptor = sys.stdin.fileno()
    except (OSError, ValueError):
        return cast(BinaryIO, sys.stdin.buffer)
    if os.name == "nt":  # select knows sockets only there
        return cast(BinaryIO, sys.stdin.buffer)
    return cast(BinaryIO, io.BufferedReader(_Stdin(descriptor, is_stopping), _BUFFER))


class _Stdin(io.RawIOBase):
    def __init__(self, descriptor: int, is_stopping: Callable[[], bool]) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._is_stopping = is_stopping

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._is_stopping():
            if select.select([self._descriptor], [], [], _LOOK_S)[0]:
                data = os.read(self._descriptor, len(buffer))
                buffer[: len(data)] = data
                return len(data)
        raise InterruptedRunError("Stopped while the tasks were read; none was added.")
