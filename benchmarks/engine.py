"""How many tasks that do nothing one process brings from claim to durable settle, and whether a full store slows it."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.support import add, noop_rate, write_tasks

WORKERS = 50


def run(*, quick: bool = False) -> dict[str, Any]:
    """Rates with 1,000, 100,000 and 1,000,000 tasks in the store; rounds interleaved, each a fresh slice of tasks."""
    sizes = (1_000, 20_000) if quick else (1_000, 100_000, 1_000_000)
    slice_, rounds = 2_000, 3 if quick else 5
    with tempfile.TemporaryDirectory() as folder:
        rates: dict[int, list[float]] = {size: [] for size in sizes}
        filled = {size: Path(folder, str(size)) for size in sizes if size >= slice_ * rounds}
        for size, project in filled.items():
            project.mkdir()
            asyncio.run(add(project, write_tasks(Path(folder, f"{size}.jsonl"), size)))
        for number in range(rounds):
            for size in sizes:
                if size in filled:
                    rates[size].append(asyncio.run(noop_rate(filled[size], WORKERS, slice_)))
                else:  # small: a fresh project each round
                    project = Path(folder, f"{size}-{number}")
                    project.mkdir()
                    asyncio.run(add(project, write_tasks(project / "tasks.jsonl", size)))
                    rates[size].append(asyncio.run(noop_rate(project, WORKERS, 0)))
    medians = {size: statistics.median(values) for size, values in rates.items()}
    figures: dict[str, Any] = {f"no-op tasks/s, {size:,} in the store": round(rate) for size, rate in medians.items()}
    figures["slowest over fastest store"] = round(min(medians.values()) / max(medians.values()), 3)
    return figures


if __name__ == "__main__":
    print(run())
