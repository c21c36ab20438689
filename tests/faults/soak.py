"""A long night in a few minutes: 100,000 tasks with every mild fault at once. What a process holds must not grow.

    python -m tests.faults.soak                100,000 tasks
    python -m tests.faults.soak --tasks 10000

Watched from outside: memory, descriptors and threads of the process (/proc), and the size of its log. Meanwhile a
second process joins and is killed again and again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.actors import Actor, preload
from tests.faults.stage import Stage

_FAILURES = {
    "api_error": 0.01, "bad_gateway": 0.005, "overloaded": 0.01, "rate_limited": 0.002, "drop_before": 0.005,
    "reset_before": 0.005, "drop_stream": 0.005, "reset_stream": 0.005, "cut_stream": 0.005, "error_event": 0.005,
}  # fmt: skip
_LOOK_S = 0.05
_SAMPLE_S = 2.0
_GUEST_S = (3.0, 15.0)
_MOST_GROWTH_MB = 20.0
_MOST_MORE_DESCRIPTORS = 40
"""Connections that are being opened and closed come and go."""
_POOL_THREADS = 8
"""The executor's pool: it has them all only when they were busy at once."""
_MOST_LOG_MB = 21.0
"""Four files of five megabytes."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process held when so many tasks were done."""

    done: int
    rss_mb: float
    descriptors: int
    threads: int
    log_mb: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=64)
    options = parser.parse_args(arguments)
    preload()
    folder = Path(tempfile.mkdtemp(prefix="agentdash-soak-"))
    stage = Stage(0, folder, random.Random(0), ())
    stage.as_commands = False
    stage.tasks, stage.workers = options.tasks, options.workers
    stage.simulator |= {"failures": _FAILURES, "latency": {"first_token_s": 0.02}}
    try:
        stage.open()
        samples, guests = _watch(stage)
        trouble = _judge(stage, samples)
    finally:
        stage.close()
    for sample in (samples[len(samples) // 10], samples[len(samples) // 2], samples[-1]) if samples else ():
        print(sample)
    print(f"{guests} guests killed; {folder}", *trouble, sep="\n")
    return bool(trouble)


def _watch(stage: Stage) -> tuple[list[Sample], int]:
    """Run all tasks in one process, with guests that are killed; returns what was seen of it, and how many guests."""
    host = stage.start(by_exec=True)
    samples: list[Sample] = []
    guests: list[Actor] = []
    due, guest_ends = time.monotonic() + _SAMPLE_S, 0.0
    while host.is_alive:
        for actor in stage.actors:
            actor.look()
        now = time.monotonic()
        if now >= due and host.is_alive:
            due = now + _SAMPLE_S
            if (sample := _sample(stage, host)) is not None:
                samples.append(sample)
        if now >= guest_ends:
            if guests and guests[-1].is_alive:
                stage.kill(guests[-1])
            guests.append(stage.start())
            guest_ends = now + stage.chance.uniform(*_GUEST_S)
        time.sleep(_LOOK_S)
    return samples, len(guests)


def _sample(stage: Stage, host: Actor) -> Sample | None:
    process = Path(f"/proc/{host.pid}")
    try:
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line)
        descriptors = sum(1 for _ in (process / "fd").iterdir())
        log = sum(path.stat().st_size for path in (stage.project / ".agentdash").glob("agentdash.log*"))
    except OSError:  # it has just ended
        return None
    done = stage.results().count(b"\n")
    return Sample(done, int(status["VmRSS"].split()[0]) / 1024, descriptors, int(status["Threads"]), log / 2**20)


def _judge(stage: Stage, samples: list[Sample]) -> list[str]:
    """What is not as it must be."""
    trouble: list[str] = []
    host = stage.actors[0]
    if host.code != 0:
        trouble.append(f"exit code {host.code}")
    ids = [json.loads(line)["custom_id"] for line in stage.results().splitlines()]
    if len(ids) != stage.tasks or len(set(ids)) != stage.tasks:
        trouble.append(f"{stage.tasks} tasks, {len(ids)} lines, {len(set(ids))} different ones")
    if len(samples) < 10:
        return [*trouble, f"only {len(samples)} samples: too few tasks"]
    early, late = samples[len(samples) // 10], samples[len(samples) // 2 :]
    trouble += _grown("memory (MB)", early.rss_mb, [s.rss_mb for s in late], _MOST_GROWTH_MB)
    trouble += _grown("descriptors", early.descriptors, [s.descriptors for s in late], _MOST_MORE_DESCRIPTORS)
    trouble += _grown("threads", early.threads, [s.threads for s in late], _POOL_THREADS)
    trouble += _grown("log (MB)", 0, [s.log_mb for s in late], _MOST_LOG_MB)
    return trouble


def _grown(what: str, early: float, late: list[Any], most: float) -> list[str]:
    return [f"{what}: {early:.1f} early, {max(late):.1f} late"] if max(late) > early + most else []


if __name__ == "__main__":
    sys.exit(main())
