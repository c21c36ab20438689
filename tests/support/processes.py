"""Real processes in tests: started with this checkout on their path, awaited without sleeping blindly."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def python(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A child that runs `code`, with pipes for stdin and stdout; killed at the end if it still lives."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield child
    finally:
        child.kill()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
        child.wait()


def read_line(child: subprocess.Popen[str]) -> str:
    """The child's next line; empty at its end."""
    assert child.stdout is not None
    return child.stdout.readline().strip()


def eventually(condition: Callable[[], bool], *, within: float = 10.0) -> None:
    """Poll until the condition holds; fail after the deadline."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)
