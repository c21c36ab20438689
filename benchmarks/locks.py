"""How fast TaskLock is beside filelock, and whether contending processes ever hold one lock at once.

`python -m benchmarks.locks [--json]`. Rounds of the two are interleaved, so that a busy machine slows both; the figure
is the median of the rounds. Measured in memory (`/dev/shm`, where there is one) and on disk. On disk the two differ in
kind: filelock leaves its file behind, while TaskLock creates and removes one each time, which waits for the file system
when other programs create and remove many files.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from agentdash.engine.locks import TaskLock

ROUNDS = 15
CYCLES = 1000
CONTENDERS = 4
MEMORY = "/dev/shm"


def run(rounds: int = ROUNDS, cycles: int = CYCLES, contend_s: float = 3.0, *, quick: bool = False) -> dict[str, Any]:
    """All figures: cycles (acquire and release) a second, their ratio, and double holders under contention."""
    if quick:
        rounds, cycles, contend_s = 5, 500, 1.0
    memory = MEMORY if os.path.isdir(MEMORY) and os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        ours, theirs = _interleaved(Path(folder), rounds, cycles)
    with tempfile.TemporaryDirectory() as folder:
        ours_on_disk, theirs_on_disk = _interleaved(Path(folder), rounds, cycles)
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        contention = contend(Path(folder), seconds=contend_s)
    return {
        "task_lock_per_s": round(ours),
        "filelock_per_s": round(theirs),
        "ratio": round(ours / theirs, 2),
        "task_lock_on_disk_per_s": round(ours_on_disk),
        "filelock_on_disk_per_s": round(theirs_on_disk),
        "ratio_on_disk": round(ours_on_disk / theirs_on_disk, 2),
        "processes": CONTENDERS,
        "contended_acquires": contention["acquired"],
        "contended_tries": contention["tries"],
        "double_holders": contention["double_holders"],
    }


def contend(
    project: Path, seconds: float, processes: int = CONTENDERS, ids: int = 3, cleaner: bool = True
) -> dict[str, int]:
    """Let `processes` real processes fight for `ids` locks, while one more (`cleaner`) removes what looks stale.

    Returns how often they tried, how often they got a lock, and how often a second holder was met inside.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + cleaner)
    links: list[Connection] = []
    workers = []
    for index in range(processes + cleaner):
        receiver, sender = context.Pipe(duplex=False)
        target = _hammer if index < processes else _clean
        workers.append(context.Process(target=target, args=(str(project), seconds, ids, barrier, sender)))
        workers[-1].start()
        sender.close()
        links.append(receiver)
    try:
        counted = [link.recv() for link in links]  # EOFError if a process died
    finally:
        for worker in workers:
            worker.join()
    return {key: sum(counts[key] for counts in counted) for key in ("tries", "acquired", "double_holders")}


def _hammer(project: str, seconds: float, ids: int, barrier: Any, link: Connection) -> None:
    # The witness is a flock on a file that is never unlinked: whoever cannot get it shares the task with another.
    witnesses = [os.open(Path(project) / f"witness-{n}", os.O_RDWR | os.O_CREAT, 0o600) for n in range(ids)]
    lock = TaskLock(project)
    counts = {"tries": 0, "acquired": 0, "double_holders": 0}
    barrier.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        number = counts["tries"] % ids
        counts["tries"] += 1
        if not lock.acquire(f"t{number}"):
            continue
        counts["acquired"] += 1
        try:
            fcntl.flock(witnesses[number], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            counts["double_holders"] += 1
        else:
            os.sched_yield()
            fcntl.flock(witnesses[number], fcntl.LOCK_UN)
        lock.release(f"t{number}")
    link.send(counts)


def _clean(project: str, seconds: float, ids: int, barrier: Any, link: Connection) -> None:
    lock = TaskLock(project)
    barrier.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        lock.clean_all_stale_locks(0)
        lock.views(time.time())
    link.send({"tries": 0, "acquired": 0, "double_holders": 0})


def _interleaved(folder: Path, rounds: int, cycles: int) -> tuple[float, float]:
    from filelock import FileLock

    ours, theirs = TaskLock(folder), FileLock(folder / "filelock.lock")

    def task_lock() -> None:
        ours.acquire("t1")
        ours.release("t1")

    def file_lock() -> None:
        theirs.acquire(blocking=False)
        theirs.release()

    figures: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        figures[0].append(_per_second(task_lock, cycles))
        figures[1].append(_per_second(file_lock, cycles))
    ours.close()
    return statistics.median(figures[0]), statistics.median(figures[1])


def _per_second(cycle: Callable[[], None], cycles: int) -> float:
    start = time.perf_counter()
    for _ in range(cycles):
        cycle()
    return cycles / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures = run()
    if arguments.json:
        print(json.dumps(figures))
        return
    for place, suffix in (("memory", ""), ("disk", "_on_disk")):
        ours, theirs = figures[f"task_lock{suffix}_per_s"], figures[f"filelock{suffix}_per_s"]
        print(f"{place:9} TaskLock {ours:>7,}  filelock {theirs:>7,} cycles a second: {figures[f'ratio{suffix}']}x")
    print(
        f"contended {figures['contended_acquires']:>8,} acquires in {figures['processes']} processes: "
        f"{figures['double_holders']} double holders"
    )


if __name__ == "__main__":
    main()
