"""Runs commands as a user does: in this process where only the outcome counts, in one of their own for signals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agentdash.cli import main
from agentdash.engine.store import SqliteTaskStore
from agentdash.model import Counts

FUNCTIONS = """
import asyncio
from pathlib import Path

async def echo(task, worker_id):
    if "please fail" in task["prompt"]:
        raise ValueError("asked to fail: " + task["id"])
    return task["prompt"]

async def hold(task, worker_id):
    "Says that it runs, then waits for the file `go`."
    Path("started-" + task["id"]).touch()
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return task["id"]
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The last line of stdout."""
        return json.loads(self.out.splitlines()[-1])


Run = Callable[..., Done]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with the module `cli_functions` in it."""
    (tmp_path / "cli_functions.py").write_text(textwrap.dedent(FUNCTIONS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    sys.modules.pop("cli_functions", None)
    return tmp_path


@pytest.fixture
def agentdash(place: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process."""

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def spawn(place: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command as a process of its own; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **more: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "agentdash", *arguments],
            cwd=place,
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def write_tasks(path: Path, prompts: list[str]) -> None:
    """A task file with ids t0, t1, …"""
    lines = [json.dumps({"id": f"t{index}", "prompt": prompt}) for index, prompt in enumerate(prompts)]
    path.write_text("".join(f"{line}\n" for line in lines))


def counts(project: Path) -> Counts:
    """What the store of a project counts; nothing at all if there is none."""
    if not (project / ".agentdash" / "state.db").exists():
        return Counts()
    store = SqliteTaskStore(project, create=False)
    try:
        return store.counts()
    finally:
        store.close_and_wait()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that a process does; pytest's timeout ends a wait in vain."""
    while not condition():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)


def private_environment(**variables: str) -> dict[str, str]:
    """The environment of the test, with these as well."""
    return {**os.environ, **variables}
