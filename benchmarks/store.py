"""Why one writer thread of our own and not aiosqlite: the same claims and settlements both ways, durable both ways.

aiosqlite runs every statement as a call to its thread, so each claim and settlement is a transaction and a sync of its
own; the writer thread commits what many workers ask for at once.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from agentdash.engine.policy import success
from agentdash.engine.store import SqliteTaskStore, claimed
from agentdash.model import Answer, Attempt, TaskSpec

WORKERS = 50


def run(*, quick: bool = False) -> dict[str, Any]:
    """Claim and settle pairs a second of both."""
    number, rounds = (500, 3) if quick else (1500, 5)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            ours.append(asyncio.run(_writer_thread(Path(folder), number)))
        with tempfile.TemporaryDirectory() as folder:
            theirs.append(asyncio.run(_aiosqlite(Path(folder), number)))
    return {
        "writer thread with group commit, claim + settle/s": round(statistics.median(ours)),
        "aiosqlite, claim + settle/s": round(statistics.median(theirs)),
        "ratio": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2),
    }


async def _writer_thread(folder: Path, number: int) -> float:
    store = SqliteTaskStore(folder)
    await _fill(store, number)
    queue = iter(range(1, number + 1))

    async def worker() -> None:
        for seq in queue:
            task = store.load(seq)
            if task is None or not await store.claim(task, "me", "w", 1.0):
                raise RuntimeError("not claimed")
            claim = claimed(task, "me", "w", 1.0)
            attempt = Attempt(claim.task.fence, "w", None, None, 1.0, 2.0, "succeeded")
            await store.settle(claim, success(claim, attempt, Answer("ok")))

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(WORKERS)))
    rate = number / (time.perf_counter() - started)
    await store.close()
    return rate


async def _aiosqlite(folder: Path, number: int) -> float:
    import aiosqlite

    store = SqliteTaskStore(folder)
    await _fill(store, number)
    await store.close()
    queue = iter(range(1, number + 1))
    async with aiosqlite.connect(store.path, isolation_level=None) as database:
        await database.execute("PRAGMA synchronous = FULL")
        one_at_a_time = asyncio.Lock()

        async def worker() -> None:
            for seq in queue:
                async with one_at_a_time:
                    await database.execute("BEGIN IMMEDIATE")
                    await database.execute(
                        "UPDATE tasks SET state = 1, fence = fence + 1, owner = 'me', worker = 'w', claimed_at = 1.0"
                        " WHERE seq = ? AND fence = 0 AND state = 0",
                        (seq,),
                    )
                    await database.execute("UPDATE totals SET pending = pending - 1, running = running + 1")
                    await database.execute("COMMIT")
                async with one_at_a_time:
                    await database.execute("BEGIN IMMEDIATE")
                    await database.execute(
                        "UPDATE tasks SET state = 2, owner = NULL WHERE seq = ? AND fence = 1", (seq,)
                    )
                    await database.execute("INSERT INTO results (seq, line) VALUES (?, '{}')", (seq,))
                    await database.execute(
                        "INSERT INTO attempts VALUES (?, 1, 'w', NULL, NULL, 1.0, 2.0, 'succeeded', NULL, NULL, NULL)",
                        (seq,),
                    )
                    await database.execute("UPDATE totals SET running = running - 1, succeeded = succeeded + 1")
                    await database.execute("COMMIT")

        started = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(WORKERS)))
        return number / (time.perf_counter() - started)


async def _fill(store: SqliteTaskStore, number: int) -> None:
    await store.add(TaskSpec(f"t{i}", '{"prompt":"hello"}', b"x" * 16) for i in range(number))


if __name__ == "__main__":
    print(run())
