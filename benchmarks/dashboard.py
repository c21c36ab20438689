"""The dashboard in a terminal: how soon it stands, how late it makes the loop, what it costs the run, and idling.

The real command, in a pseudo terminal of 120x40. Headless and dashboard runs of the same tasks take turns.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.support import add, write_tasks
from benchmarks.terminal import Terminal

_WARM_S = 12
"""Until ages are shown in whole seconds, and the dashboard has seen that nothing happens."""
_WORK = "benchmarks.probe:work"
_COMMAND = (sys.executable, "-m", "agentdash", "run", "--processor", _WORK)


def run(*, quick: bool = False) -> dict[str, Any]:
    """All of it; times in milliseconds where the name says so."""
    with tempfile.TemporaryDirectory() as folder:
        many = 100_000 if quick else 1_000_000
        figures = _start(Path(folder), many, rounds=3 if quick else 7)
        figures |= _idle(Path(folder, "idle"), seconds=20 if quick else 120)
        figures |= _busy(Path(folder, "busy"), seconds=8 if quick else 30)
        figures |= _cost(Path(folder, "cost"), rounds=1 if quick else 3, tasks=20_000 if quick else 60_000)
    return figures


def _start(folder: Path, tasks: int, *, rounds: int) -> dict[str, Any]:
    """First paint over a large project, and what looking through it takes."""
    project = folder / "large"
    project.mkdir()
    asyncio.run(add(project, write_tasks(folder / "large.jsonl", tasks)))
    painted: list[float] = []
    environ = {"AGENTDASH_PROBE_S": "1000"}
    grown = 0.0
    for number in range(rounds):
        with Terminal([*_COMMAND, "--project", str(project), "--workers", "2"], environ) as terminal:
            terminal.until("Queue")
            terminal.until(f"{tasks:,}")
            painted.append(time.monotonic() - terminal.started)
            if number == rounds - 1:
                terminal.read_for(3)
                before = terminal.resident_mb()
                for keys in ("G", "g", "s", "s", "s", "s", "/incident number 7777\r"):
                    terminal.press(keys)
                    terminal.read_for(1)
                grown = terminal.resident_mb() - before
    return {
        f"first paint with {tasks:,} tasks, ms (median)": round(statistics.median(painted) * 1000),
        f"first paint with {tasks:,} tasks, ms (worst)": round(max(painted) * 1000),
        "memory that scrolling, sorting and filtering them took, MB": round(grown, 1),
    }


def _idle(folder: Path, *, seconds: int) -> dict[str, Any]:
    """Two long tasks whose ages grow, and nothing else: in the dashboard and headless, at the same time."""
    folder.mkdir()
    environ = {"AGENTDASH_PROBE_S": "1000"}
    tasks = write_tasks(folder / "tasks.jsonl", 1_000)
    used: dict[str, float] = {}
    with ExitStack() as stack:
        terminals: dict[str, Terminal] = {}
        for form in ("dashboard", "headless"):
            command = [*_COMMAND, str(tasks), "--project", str(folder / form), "--workers", "2"]
            command += ["--headless"] if form == "headless" else []
            terminals[form] = stack.enter_context(Terminal(command, environ))
            terminals[form].until("RUNNING" if form == "dashboard" else "added")
        for _ in range(_WARM_S):  # in turn: what is written must be read
            for terminal in terminals.values():
                terminal.read_for(0.5)
        before = {form: terminal.cpu_s() for form, terminal in terminals.items()}
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            for terminal in terminals.values():
                terminal.read_for(0.5)
        passed = time.monotonic() - begun
        used = {form: (terminal.cpu_s() - before[form]) / passed * 100 for form, terminal in terminals.items()}
    return {
        "idle with two long tasks, % of a core": round(used["dashboard"], 2),
        "the same headless, % of a core": round(used["headless"], 2),
    }


def _busy(project: Path, *, seconds: int) -> dict[str, Any]:
    """200 workers that finish 500 tasks a second: the loop's lag, and the time from a key to the changed screen."""
    project.mkdir()
    lags_file = project / "lags.json"
    write_tasks(project / "tasks.jsonl", 500 * (seconds + 40))
    environ = {"AGENTDASH_PROBE_S": "0.4", "AGENTDASH_PROBE_FILE": str(lags_file)}
    command = [*_COMMAND, str(project / "tasks.jsonl"), "--project", str(project), "--workers", "200"]
    pressed: list[float] = []
    with Terminal(command, environ) as terminal:
        terminal.until("RUNNING")
        terminal.read_for(3)
        used, begun = terminal.cpu_s(), time.monotonic()
        terminal.read_for(seconds / 2)
        share = (terminal.cpu_s() - used) / (time.monotonic() - begun) * 100
        end = time.monotonic() + seconds / 2
        while time.monotonic() < end:
            for text in ("PAUSED", "RUNNING"):
                terminal.press("p")
                pressed.append(terminal.until(text) * 1000)
                terminal.read_for(0.15)
        terminal.press("q")
        terminal.read_for(1.5)
        terminal.press("q")
        terminal.wait(30)
    lags = sorted(json.loads(lags_file.read_text()))
    pressed.sort()
    return {
        "200 workers, 500 tasks/s: CPU, % of a core": round(share, 1),
        "200 workers, 500 tasks/s: loop lag p99, ms": round(lags[int(len(lags) * 0.99)], 1),
        "200 workers, 500 tasks/s: loop lag worst, ms": round(lags[-1], 1),
        f"key to screen p50 of {len(pressed)}, ms": round(statistics.median(pressed), 1),
        f"key to screen p99 of {len(pressed)}, ms": round(pressed[min(len(pressed) - 1, int(len(pressed) * 0.99))], 1),
    }


def _cost(folder: Path, *, rounds: int, tasks: int) -> dict[str, Any]:
    """The same tasks headless and in the dashboard, in turn: as many a second as they can, and 500 a second."""
    folder.mkdir()
    tasks_file = write_tasks(folder / "tasks.jsonl", tasks)
    speeds: dict[str, list[float]] = {"headless": [], "dashboard": []}
    for number in range(rounds):
        for form in speeds:
            project = folder / f"{form}-{number}"
            command = [*_COMMAND, str(tasks_file), "--project", str(project), "--workers", "200"]
            if form == "headless":
                subprocess.run([*command, "--headless"], check=True, capture_output=True, env=os.environ.copy())
            else:
                with Terminal(command, {}) as terminal:
                    terminal.until("FINISHED", 120)
                    terminal.press("q")
                    terminal.wait(30)
            speeds[form].append(_speed(project))
    best = {form: statistics.median(values) for form, values in speeds.items()}
    return {
        "200 workers at full speed, headless, tasks/s": round(best["headless"]),
        "200 workers at full speed, dashboard, tasks/s": round(best["dashboard"]),
        "dashboard ÷ headless": round(best["dashboard"] / best["headless"], 3),
    }


def _speed(project: Path) -> float:
    """Tasks a second between the first and the last result."""
    with (project / "results.jsonl").open(encoding="utf-8") as file:
        times = [json.loads(line)["agentdash"]["finished_at"] for line in file]
    first, last = (datetime.fromisoformat(text).timestamp() for text in (min(times), max(times)))
    return len(times) / max(1e-6, last - first)


if __name__ == "__main__":
    print(json.dumps(run(quick="--quick" in sys.argv), indent=1))
