"""Everything the issue asks to be shown, at the size it names: `python -m tests.scenarios.full [NAME …]`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from tests.scenarios import scenarios
from tests.scenarios.running import Figures

Scenario = Callable[[Path], Coroutine[Any, Any, Figures]]

ALL: Mapping[str, Scenario] = {
    "limits": lambda project: scenarios.rate_limits(project, tasks=1600),
    "tight-limits": lambda project: scenarios.rate_limits(project, tasks=1600, burst=20),
    "dead-keys": lambda project: scenarios.dead_keys(project, tasks=600),
    "bad-service": lambda project: scenarios.bad_service(project, tasks=1000),
    "bad-service-plain": lambda project: scenarios.bad_service(project, tasks=1000, stream=False, seed=2),
    "bad-tasks": lambda project: scenarios.bad_tasks(project, tasks=1000),
    "unreachable": lambda project: scenarios.unreachable(project, tasks=1000),
    "comes-up": lambda project: scenarios.comes_up(project, tasks=1000),
    "two-processes": lambda project: scenarios.two_processes(project, tasks=1000, kill=False),
    "one-killed": lambda project: scenarios.two_processes(project, tasks=1000, kill=True),
    "long-cooldown": lambda project: scenarios.long_cooldown(project, tasks=500),
    "siblings": lambda project: scenarios.siblings_cool(project, tasks=500),
    **{
        f"all-{how}": lambda project, how=how: scenarios.all_exhausted(project, tasks=500, how=how)  # type: ignore[misc]
        for how in scenarios.ALL_EXHAUSTED
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.full", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default all: {', '.join(ALL)}")
    names = parser.parse_args().names or list(ALL)
    if unknown := [name for name in names if name not in ALL]:
        parser.error(f"unknown: {', '.join(unknown)}")
    failed = 0
    print(f"{'scenario':26} {'tasks':>6} {'seconds':>8} {'tasks/s':>8} {'requests':>9} {'429s':>6}  note")
    for name in names:
        with tempfile.TemporaryDirectory(prefix="agentdash-scenario-") as folder:
            try:
                figures = asyncio.run(ALL[name](Path(folder)))
            except AssertionError as error:
                failed += 1
                print(f"{name:26} FAILED: {error}", flush=True)
                continue
        rate = figures.tasks / figures.seconds
        print(
            f"{figures.name:26} {figures.tasks:6} {figures.seconds:8.1f} {rate:8.1f} {figures.requests:9} "
            f"{figures.limited:6}  {figures.note[:120]}",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
