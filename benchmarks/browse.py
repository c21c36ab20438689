"""The lists of the dashboard over a million tasks: windows, sorts and searches, their memory, and what the loop feels.

Each figure of a list is that of the first answer after another list was asked for, so nothing is ready; a search is
also timed until it is complete. The store is filled by its own `add`, and then brought into a realistic mix of states.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from agentdash.clock import SYSTEM_CLOCK
from agentdash.engine.browse import TaskBrowser
from agentdash.engine.store import SqliteTaskStore
from agentdash.model import TaskQuery, TaskSort, TaskSpec, TaskState

PROMPT = "Summarise the incident report number {} of last night in three sentences, and say what to do. " * 2
ROWS = 40
_STATES = """
UPDATE tasks SET worker = 'worker-' || (seq % 200), attempts = 1 + (seq % 37 = 0), claimed_at = 1.7e9 + seq / 80.0,
    state = CASE WHEN seq > :finished THEN 1 WHEN seq % 20 = 0 THEN 3 WHEN seq % 199 = 0 THEN 4 ELSE 2 END,
    finished_at = CASE WHEN seq <= :finished THEN 1.7e9 + seq / 80.0 + seq * 7919 % 5000 / 1000.0 END,
    error_type = CASE WHEN seq <= :finished AND seq % 20 = 0 THEN 'overloaded_error' END,
    error_message = CASE WHEN seq <= :finished AND seq % 20 = 0
        THEN printf('Overloaded: request req_%x was refused after %d ms', seq * 7919, seq % 977) END
WHERE seq <= :finished + 200
"""
_RESULTS = """
INSERT INTO results (seq, line) SELECT seq, printf('{"custom_id":"%s","result":{"type":"x","text":"%s"}}', id,
    hex(zeroblob(150))) FROM tasks WHERE finished_at IS NOT NULL ORDER BY finished_at
"""
_COUNTS = "UPDATE totals SET " + ", ".join(
    f"{state.value} = (SELECT count(*) FROM tasks WHERE state = {code})" for code, state in enumerate(TaskState)
)
_RARE = 'UPDATE bodies SET body = \'{"prompt":"a zebra"}\' WHERE seq = :finished / 2'


def run(*, quick: bool = False) -> dict[str, Any]:
    """Figures for a million tasks (50,000 if quick)."""
    number = 50_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_fill(Path(folder), number))
        command = [sys.executable, "-m", "benchmarks.browse", folder]  # for its memory, a process of its own
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return {f"{number:,} tasks, {name}": value for name, value in figures.items()}


async def _fill(folder: Path, number: int) -> None:
    store = SqliteTaskStore(folder)
    await store.add(
        TaskSpec(f"t{n}", json.dumps({"prompt": PROMPT.format(n, n)}, separators=(",", ":")), b"x" * 16)
        for n in range(number)
    )
    await store.close()
    with closing(sqlite3.connect(store.path, isolation_level=None)) as database:
        for statement in ("BEGIN", _STATES, _RESULTS, _COUNTS, _RARE, "COMMIT", "PRAGMA wal_checkpoint(TRUNCATE)"):
            database.execute(statement, {"finished": number * 6 // 10} if ":finished" in statement else ())


class Figures:
    """What was measured: milliseconds by name."""

    def __init__(self, browser: TaskBrowser) -> None:
        self.browser = browser
        self.found: dict[str, float] = {}
        self.first: list[float] = []

    async def window(self, name: str, query: TaskQuery, start: int) -> None:
        """How long the first answer takes, and if more was to be done, all of it."""
        await self.browser.list_tasks(TaskQuery(), 0, 1)  # whatever was sorted is dropped
        started = time.perf_counter()
        window = await self.browser.list_tasks(query, start, ROWS)
        self.found[f"{name}, ms"] = _since(started)
        self.first.append(self.found[f"{name}, ms"])
        if window.searched < 1:
            while window.searched < 1:
                await asyncio.sleep(0.02)
                window = await self.browser.list_tasks(query, start, ROWS)
            self.found[f"{name}, complete, ms"] = _since(started)

    async def lists(self) -> None:
        for state in (None, TaskState.PENDING, TaskState.SUCCEEDED, TaskState.FAILED):
            total = (await self.browser.list_tasks(TaskQuery(state), 0, 1)).total
            for sort in TaskSort:
                name, query = f"{state or 'all'} by {sort}", TaskQuery(state, "", sort)
                for place, start in (("first", 0), ("middle", total // 2), ("end", total - ROWS)):
                    await self.window(f"{name}, {place}", query, start)

    async def searches(self) -> None:
        for what, text in (("common", "Incident Report"), ("rare", "a zebra"), ("absent", "no such text")):
            await self.window(f"{what} text", TaskQuery(text=text), 0)
            await self.window(f"{what} text in succeeded", TaskQuery(TaskState.SUCCEEDED, text), 0)
        await self.window("common text by recent", TaskQuery(text="Incident Report", sort=TaskSort.RECENT), 0)

    async def groups(self) -> None:
        started = time.perf_counter()
        group = (await self.browser.error_groups())[0]
        self.found["failed by kind of error, ms"] = _since(started)
        started = time.perf_counter()
        await self.browser.group_ids(group)
        self.found["ids of the largest group, ms"] = _since(started)


@asynccontextmanager
async def _ticking(held: list[float]) -> AsyncIterator[None]:
    """Notes how much later than asked for the loop wakes, each millisecond."""

    async def tick() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            held.append(_since(started) - 1)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()


async def _measure(folder: Path) -> dict[str, float]:
    browser = TaskBrowser(folder / ".agentdash" / "state.db", clock=SYSTEM_CLOCK)
    figures = Figures(browser)
    held: list[float] = []
    gc.collect()
    before = _megabytes("VmRSS")
    async with _ticking(held):
        await figures.lists()
        await figures.searches()
    lists = _megabytes("VmHWM") - before
    await figures.groups()
    await browser.close()
    held.sort()
    return figures.found | {
        "slowest first answer of a list, ms": max(figures.first),
        "loop held meanwhile, p99, ms": round(held[int(len(held) * 0.99)], 1),
        "loop held meanwhile, longest, ms": round(held[-1], 1),
        "memory of lists at the peak, MB": round(lists, 1),
    }


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def _megabytes(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(Path(sys.argv[1])))))
