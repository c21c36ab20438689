"""What the benchmarks share: task files, a simulator in a process of its own, no-op runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentdash.config import Settings
from agentdash.engine.facade import Engine
from agentdash.engine.processors import FunctionProcessor

KEY = "sim-key-1-0000"


def write_tasks(path: Path, number: int, prompt: str = "Summarise the incident report number {}.") -> Path:
    """A file of `number` tasks."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(number):
            file.write(json.dumps({"id": f"t{i}", "prompt": prompt.format(i)}) + "\n")
    return path


@contextmanager
def simulator(**config: Any) -> Iterator[str]:
    """A simulator without limits in a process of its own; yields its base URL."""
    command = [sys.executable, "-m", "agentdash.simulator", "--exit-with-parent", "--config", json.dumps(config)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None:
            raise RuntimeError("no output")
        try:
            yield json.loads(process.stdout.readline())["base_url"]
        finally:
            process.terminate()


async def noop(task: dict[str, Any], worker_id: str) -> str:
    """The processor that does nothing."""
    return "ok"


async def noop_rate(folder: Path, workers: int, limit: int) -> float:
    """Tasks a second over `limit` tasks of what the project holds, locks and durable settle on."""
    settings = Settings(project=folder, workers=workers, limit=limit)
    async with Engine(settings, processor=FunctionProcessor(noop)) as engine:
        before = engine.store.counts().finished
        started = time.perf_counter()
        await engine.run()
        return (engine.store.counts().finished - before) / (time.perf_counter() - started)


async def add(folder: Path, tasks: Path) -> float:
    """Add a task file to the project; returns the seconds it took."""
    async with Engine(Settings(project=folder), processor=FunctionProcessor(noop)) as engine:
        started = time.perf_counter()
        await engine.add([str(tasks)])
        return time.perf_counter() - started
