"""The real command as a user runs it, in a process of its own, in a project of its own."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.support.processes import ROOT

AGENTDASH = (sys.executable, "-m", "agentdash")
HEADLESS = ("run", "t.jsonl", "--headless", "--json", "--max-attempts", "1", "--stall-timeout", "30")
_OURS = ("ANTHROPIC_", "AGENTDASH_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_TERMINAL = frozenset({"COLUMNS", "LINES", "TERM", "COLORTERM", "TERM_PROGRAM", "TMUX"})
_LONGEST_S = 50.0


def environment(**more: str) -> dict[str, str]:
    """The test's environment without what would steer the program, and with these variables."""
    found = {name: value for name, value in os.environ.items() if name not in _TERMINAL}
    kept = {name: value for name, value in found.items() if not name.upper().startswith(_OURS)}
    return kept | {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": "/nonexistent"} | more


def write_tasks(project: Path, tasks: Iterable[Mapping[str, Any]]) -> None:
    """`t.jsonl` in a project folder, which is made if it is not there."""
    project.mkdir(parents=True, exist_ok=True)
    (project / "t.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))


def run(project: Path, *arguments: str, **variables: str) -> bytes:
    """What one command writes on stdout and stderr, its exit code behind it."""
    return run_as(project, arguments, variables)


def run_as(
    project: Path,
    arguments: Sequence[str],
    variables: Mapping[str, str] = MappingProxyType({}),
    *,
    umask: int = -1,
    code: str | None = None,
) -> bytes:
    """The same under a umask, or with Python code in the program's place."""
    command = [sys.executable, "-c", code] if code is not None else list(AGENTDASH)
    done = subprocess.run(
        [*command, *arguments],
        cwd=project,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_LONGEST_S,
        umask=umask,
        check=False,
    )
    return done.stdout + done.stderr + b"\nexit code %d" % done.returncode


def run_all(project: Path, commands: Iterable[Sequence[str]], **variables: str) -> dict[str, bytes]:
    """What each of several commands writes, by command; they run at the same time and must not change anything."""
    children = [
        (
            " ".join(command),
            subprocess.Popen(
                [*AGENTDASH, *command],
                cwd=project,
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            ),
        )
        for command in commands
    ]
    written = {}
    for name, child in children:
        try:
            written[name] = child.communicate(timeout=_LONGEST_S)[0]
        finally:
            child.kill()
    return written


def on_terminals(project: Path, commands: Iterable[Sequence[str]], **variables: str) -> dict[str, tuple[int, bytes]]:
    """Exit code and bytes of each command where stdin, stdout and stderr are a terminal that nobody emulates; they run
    at the same time."""
    children = {}
    for command in commands:
        leader, follower = pty.openpty()
        child = subprocess.Popen(
            [*AGENTDASH, *command],
            cwd=project,
            env=environment(**variables) | {"TERM": "xterm-256color"},
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        children[leader] = (" ".join(command), child, bytearray())
    written = {}
    deadline = time.monotonic() + _LONGEST_S
    while children and time.monotonic() < deadline:
        for leader in select.select(list(children), [], [], 1.0)[0]:
            name, child, data = children[leader]
            try:
                data += os.read(leader, 1 << 20)
            except OSError:  # nobody has the other end open any more
                os.close(leader)
                written[name] = (child.wait(), bytes(data))
                del children[leader]
    for leader, (name, child, _) in children.items():
        child.kill()
        child.wait()
        os.close(leader)
        raise AssertionError(f"{name!a} still ran after {_LONGEST_S} s")
    return written
