"""Tasks as commands: how many short ones a second, and what fifty that write all the time cost the loop and memory."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agentdash.config import Settings
from agentdash.engine.facade import Engine
from benchmarks.support import write_tasks

_SESSIONS, _LINES_A_SECOND = 50, 20
_TALKS = (
    "i=0; while [ $i -lt LINES ]; do"
    f" echo line $i of what an agent writes while it works; i=$((i+1)); sleep {1 / _LINES_A_SECOND}; done"
)


def run(*, quick: bool = False) -> dict[str, Any]:
    """Sessions a second with 16 workers; the lateness of the loop (ms) and memory (MB a session) with fifty at once."""
    rounds, seconds = (3, 8) if quick else (7, 30)
    rates = [_in_process("short", 100 if quick else 500)["rate"] for _ in range(rounds)]
    talking = _in_process("talking", seconds)
    return {
        "short commands, 16 workers, a second": round(statistics.median(rates)),
        "short commands, 16 workers, least and most": f"{min(rates):.0f} – {max(rates):.0f}",
        f"{_SESSIONS} sessions, lines a second in all": round(talking["lines"] / talking["seconds"]),
        f"{_SESSIONS} sessions, loop late by, p50, ms": talking["p50"],
        f"{_SESSIONS} sessions, loop late by, p99, ms": talking["p99"],
        f"{_SESSIONS} sessions, memory of the run, MB a session": talking["mb"],
    }


def _in_process(name: str, size: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.commands", name, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


async def short(number: int) -> dict[str, float]:
    """Commands that do nothing."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(project=Path(folder), workers=16, processor="command", command="true", limit=1)
        async with Engine(settings, credentials=()) as engine:
            await engine.add([str(write_tasks(Path(folder, "tasks.jsonl"), number + 1))])
            await engine.run()
        settings = Settings(project=Path(folder), workers=16, processor="command", command="true")
        async with Engine(settings, credentials=()) as engine:
            started = time.perf_counter()
            await engine.run()
            return {"rate": number / (time.perf_counter() - started)}


async def talking(seconds: int) -> dict[str, float]:
    """Commands that write a line twenty times a second."""
    lines = seconds * _LINES_A_SECOND
    with tempfile.TemporaryDirectory() as folder:
        command = _TALKS.replace("LINES", str(lines))
        settings = Settings(project=Path(folder), workers=_SESSIONS, processor="command", command=command, shell=True)
        late: list[float] = []
        async with Engine(settings, credentials=()) as engine:
            await engine.add([str(write_tasks(Path(folder, "tasks.jsonl"), _SESSIONS))])
            before = _resident_mb()
            most = [before]
            watching = asyncio.create_task(_watch(late, most))
            started = time.perf_counter()
            await engine.run()
            watching.cancel()
            if engine.store.counts().succeeded != _SESSIONS:
                raise RuntimeError("not every task succeeded")
        late.sort()
        return {
            "lines": _SESSIONS * lines,
            "seconds": time.perf_counter() - started,
            "p50": round(late[len(late) // 2] * 1000, 2),
            "p99": round(late[int(len(late) * 0.99)] * 1000, 2),
            "mb": round((max(most) - before) / _SESSIONS, 2),
        }


async def _watch(late: list[float], most: list[float]) -> None:
    """How late a sleep of ten milliseconds ends, and how large the process becomes."""
    while True:
        for _ in range(50):
            started = time.perf_counter()
            await asyncio.sleep(0.01)
            late.append(time.perf_counter() - started - 0.01)
        most.append(_resident_mb())


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    print(json.dumps(asyncio.run({"short": short, "talking": talking}[sys.argv[1]](int(sys.argv[2])))))
