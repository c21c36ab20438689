"""A whole engine over a project folder whose tasks wait until the test lets them end."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agentdash.config import Settings
from agentdash.engine.facade import End, Engine
from agentdash.engine.processors import FunctionProcessor, TaskContext
from agentdash.model import FINISHED_STATES, TaskState


class Work:
    """What the tasks do: they note that they began, and wait for `let_go` (or the test's own answer for them)."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.bad: set[str] = set()
        self.contexts: dict[str, TaskContext] = {}
        self._gate = asyncio.Event()

    async def __call__(self, task: dict[str, Any], worker_id: str) -> str:
        self.begun.append(task["id"])
        await self._gate.wait()
        if task["id"] in self.bad:
            raise ValueError("this one is bad")
        return "done"

    def let_go(self) -> None:
        """All tasks may end, from now on."""
        self._gate.set()

    def hold(self) -> None:
        """Tasks wait again."""
        self._gate.clear()


@asynccontextmanager
async def engine_over(
    project: Path, work: Callable[..., Any], *, tasks: int = 0, **settings: Any
) -> AsyncIterator[Engine]:
    """An open engine with tasks t0 … in its project."""
    given: dict[str, Any] = {"workers": 3, "max_attempts": 1, "project": project} | settings
    async with Engine(Settings(**given), processor=FunctionProcessor(work)) as engine:
        if tasks:
            path = project / "tasks.jsonl"
            path.write_text("".join(json.dumps({"id": f"t{n}", "prompt": f"p{n}"}) + "\n" for n in range(tasks)))
            await engine.add([str(path)])
        yield engine


@asynccontextmanager
async def running(engine: Engine, *, serve: bool = False) -> AsyncIterator[asyncio.Task[End]]:
    """The engine at work; aborted at the end if it has not ended by itself."""
    task = asyncio.create_task(engine.serve() if serve else engine.run())
    try:
        yield task
    finally:
        if not task.done():
            engine.abort()
        await asyncio.wait_for(task, 10)


async def until(condition: Callable[[], bool], *, within: float = 30.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


def check_results(engine: Engine) -> None:
    """Exactly one line for each finished task."""
    path = engine.settings.results_path
    lines = Counter(json.loads(line)["custom_id"] for line in path.read_text().splitlines()) if path.exists() else {}
    assert lines == {record.id: 1 for record in engine.store.tasks(FINISHED_STATES)}


def state_of(engine: Engine, task_id: str) -> TaskState:
    record = engine.store.find(task_id)
    assert record is not None
    return record.state
