"""A large task file: how fast it is read and added, how much memory that takes, and how soon a resumed run sends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from agentdash.engine.intake import BadLines, read_tasks
from benchmarks.support import KEY, add, simulator

PROMPT = 'Summarise the incident report of the "orders" service in three sentences.\n' * 3


def run(*, quick: bool = False) -> dict[str, Any]:
    """Figures for a million lines (50,000 if quick), each step in a process of its own."""
    lines = 50_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tasks.jsonl")
        with path.open("w", encoding="utf-8") as file:
            for number in range(lines):
                file.write(json.dumps({"id": f"t{number}", "prompt": PROMPT[:200]}) + "\n")
        read = _in_process("read", str(path), folder)
        added = _in_process("add", str(path), folder)
        with simulator() as base_url:
            first = _first_request(folder, base_url)
    return {
        f"{lines:,} lines read, lines/s": round(lines / read["seconds"]),
        f"{lines:,} lines added, seconds": round(added["seconds"], 2),
        f"{lines:,} lines added, MB above the start": added["megabytes"],
        f"resumed with {lines:,} tasks, seconds to the first request": round(first, 2),
    }


def _first_request(folder: str, base_url: str) -> float:
    """From the start of the process to the first request the simulator got."""
    environ = os.environ | {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": base_url}
    command = [sys.executable, "-m", "agentdash", "run", "--project", folder, "--headless", "--limit", "1"]
    started = time.monotonic()
    subprocess.run(command, env=environ, check=True, capture_output=True)
    import urllib.request

    with urllib.request.urlopen(f"{base_url}/_simulator/records") as answer:
        received: float = json.loads(answer.readline())["received_at"]
    return received - started  # both are this machine's monotonic clock


def _in_process(step: str, path: str, folder: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.intake", step, path, folder]
    done: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return done


def main(step: str, path: str, folder: str) -> None:
    before = _megabytes()
    started = time.perf_counter()
    if step == "read":
        for _ in read_tasks([path], bad=BadLines()):
            pass
        seconds = time.perf_counter() - started
    else:
        seconds = asyncio.run(add(Path(folder), Path(path)))
    print(json.dumps({"seconds": seconds, "megabytes": _megabytes() - before}))


def _megabytes() -> int:
    """The peak so far. From /proc: `ru_maxrss` starts at what the parent had when it started this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0


if __name__ == "__main__":
    main(*sys.argv[1:4])
