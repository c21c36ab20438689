"""Small disks of one's own: a tmpfs mounted on a folder for the length of a test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

Mount = Callable[[str], None]


@contextmanager
def mountable(folder: Path) -> Iterator[Mount]:
    """A function that mounts a tmpfs with the given options on `folder` (again, to change them).

    Skips the test, with the reason, where the machine does not let it.
    """
    mounted = False

    def mount(options: str) -> None:
        nonlocal mounted
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no mounting here: {done.stderr.strip()}")
        mounted = True

    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    yield mount
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
