"""How soon the command answers."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any


def run(*, quick: bool = False) -> dict[str, Any]:
    """Medians of whole processes, in milliseconds; bare Python beside them."""
    rounds = 5 if quick else 15
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "agentdash --version": [sys.executable, "-m", "agentdash", "--version"],
            "agentdash --help": [sys.executable, "-m", "agentdash", "--help"],
            "agentdash status, no project there": [sys.executable, "-m", "agentdash", "status", "--project", folder],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                started = time.perf_counter()
                subprocess.run(command, capture_output=True, check=False)
                times[name].append((time.perf_counter() - started) * 1000)
    return {f"{name}, ms": round(statistics.median(values)) for name, values in times.items()}


if __name__ == "__main__":
    print(run())
