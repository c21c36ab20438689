"""All benchmarks in one go: `python -m benchmarks [--json] [--quick] [--only NAME …]`.

Each figure is a median of interleaved rounds where two things are compared: what counts is their ratio within one run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sqlite3
import time
from typing import Any

NAMES = (
    "startup", "locks", "store", "engine", "intake", "browse", "messages", "pacing", "commands", "dashboard", "soak",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--quick", action="store_true", help="smaller sizes: a minute instead of many")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="which ones")
    parser.add_argument("--scenario", nargs="+", default=[], metavar="NAME", help="pacing: those with this in the name")
    parser.add_argument("--alone", action="store_true", help="pacing: without the plain loop beside it")
    arguments = parser.parse_args()
    options = {"pacing": {"scenarios": arguments.scenario, "alone": arguments.alone}}
    report: dict[str, Any] = {"machine": machine()}
    if not arguments.json:
        print(f"{report['machine']}")
    for name in arguments.only:
        started = time.perf_counter()
        module = importlib.import_module(f"benchmarks.{name}")
        figures = module.run(quick=arguments.quick, **options.get(name, {}))
        report[name] = figures
        if not arguments.json:
            print(f"\n{name} ({time.perf_counter() - started:.0f} s)")
            print(module.table(figures) if hasattr(module, "table") else plain_table(figures))
    if arguments.json:
        print(json.dumps(report, indent=1))


def plain_table(figures: dict[str, Any]) -> str:
    return "\n".join(
        f"  {figure:<64} {value if isinstance(value, str) else f'{value:,.6g}'}" for figure, value in figures.items()
    )


def machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "load": round(os.getloadavg()[0], 2),
    }


if __name__ == "__main__":
    main()
