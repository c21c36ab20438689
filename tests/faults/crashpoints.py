"""Death at every point: the real command line is killed before each operation that leaves a trace, and run again.

    python -m tests.faults.crashpoints                  every scenario, every point, and half-done writes
    python -m tests.faults.crashpoints --short          what the test suite runs
    python -m tests.faults.crashpoints --twice 50       also 50 deaths by chance, and then every point of the life after

A first run lists the points (`crash_hooks`). Then for each of them a fresh project is run with a kill right before it,
the folder is looked at as the death left it, the command is run once more, without hooks, and the end is judged from
outside (`crash_judge`). Every process is forked from this one, which has loaded all that a run loads: a start costs
milliseconds. A round that fails keeps its folder.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tests.faults.crash_hooks import Point
from tests.faults.crash_rounds import Lane, Listing
from tests.faults.crash_scenarios import SCENARIOS, Scenario, Server, simulator

_TASK = re.compile(r"task-t\d+")


BY_THE_CLOCK = frozenset(
    {"lock: utime task-t1.lock", "lock: utime task-t2.lock", "store: INSERT OR REPLACE INTO processes"}
)
"""Heartbeats: a life that took longer than the others has some that those have not."""


@dataclass
class Report:
    """What came of one scenario: how many points were listed and aimed at, their kinds (whatever the task), and how
    many deaths there were. `missed` were aimed at and not met in several runs."""

    scenario: str
    points: int = 0
    aimed: int = 0
    killed: int = 0
    kinds: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    uncovered: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)
    never_hit: list[str] = field(default_factory=list)
    seconds: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.crashpoints", description=__doc__)
    parser.add_argument("--short", action="store_true", help="leave out half-done writes and the longest scenarios")
    parser.add_argument("--only", choices=[s.name for s in SCENARIOS], action="append", help="these scenarios")
    parser.add_argument(
        "--twice", type=int, default=0, metavar="N", help="N first deaths more, by chance (two in a row)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=2, help="rounds at once")
    parser.add_argument("--json", action="store_true", help="one line for each scenario")
    parser.add_argument("--list", action="store_true", help="show the points in their order, kill nobody")
    options = parser.parse_args(arguments)
    chosen = [s for s in SCENARIOS if not options.only or s.name in options.only]
    # In memory where that can be had: a process that is killed loses nothing it gave to the kernel, synced or not.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="agentdash-crash-", dir=memory))
    for name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "AGENTDASH_"))]:
        del os.environ[name]
    bad = False
    with simulator() as server:
        _load_what_a_run_loads(folder / "warm", server)
        if options.list:
            for scenario in chosen:
                for label, half in Lane(folder / scenario.name, scenario, server).list_points().points:
                    print(f"{'half ' if half else '     '}{label}")
            return 0
        twice = _twice(chosen, folder, server, options.twice, random.Random(options.seed))
        for number, scenario in enumerate((*chosen, *twice)):
            report = run_scenario(
                scenario, folder / f"scenario-{number}", server, lanes=options.lanes, short=options.short
            )
            bad |= bool(report.trouble or report.uncovered or report.never_hit)
            print(json.dumps(asdict(report)) if options.json else _told(report), flush=True)
    if not bad:
        shutil.rmtree(folder)
    return int(bad)


def _told(report: Report) -> str:
    deaths = f"{report.killed} deaths of {report.aimed}, {len(report.missed)} not met"
    troubles = f"{len(report.trouble)} with trouble, {report.seconds:.1f} s"
    lines = [f"{report.scenario}: {report.points} points of {len(report.kinds)} kinds, {deaths}, {troubles}"]
    for title in ("uncovered", "trouble", "never_hit", "missed"):
        lines += [f"  {title}: {text}" for text in getattr(report, title)[:20]]
    return "\n".join(lines)


def _twice(
    chosen: Sequence[Scenario], folder: Path, server: Server, number: int, chance: random.Random
) -> Iterator[Scenario]:
    """Scenarios that begin with a death at some point of one of those that begin with nothing."""
    fresh = [scenario for scenario in chosen if not scenario.before and scenario.name != "spare locks"]
    for n in range(number):
        scenario = chance.choice(fresh)
        listing = Lane(folder / f"first-{n}", scenario, server).list_points()
        death = chance.choice(list(_targets(scenario, listing, short=False)))
        name = f"{n} after {scenario.name}, {death.label}, {death.times}{' half' if death.half else ''}"
        yield replace(scenario, name=name, before=(replace(scenario.command, death=death),))


def run_scenario(scenario: Scenario, folder: Path, server: Server, *, lanes: int, short: bool) -> Report:
    """List the points of a scenario, then die at each of them, several rounds at once."""
    started = time.monotonic()
    listing = Lane(folder / "listing", scenario, server).list_points()
    targets = list(_targets(scenario, listing, short=short))
    kinds = sorted({_TASK.sub("task", target.label) for target in targets})
    report = Report(scenario.name, len(listing.points), len(targets), kinds=kinds, uncovered=listing.uncovered)
    found = folder / "found"
    children = []
    for number in range(lanes):
        if (pid := os.fork()) == 0:
            code = 1
            try:
                lane = Lane(folder / f"lane-{number}", scenario, server)
                _write_found(found.with_suffix(f".{number}"), [lane.die_at(t) for t in targets[number::lanes]])
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    for number, pid in enumerate(children):
        _, status = os.waitpid(pid, 0)
        if status != 0:
            report.trouble.append(f"lane {number} ended with status {status}")
            continue
        for outcome in json.loads(found.with_suffix(f".{number}").read_text()):
            report.killed += outcome["killed"]
            report.trouble += [f"{outcome['point']}: {text}" for text in outcome["trouble"]]
            if not outcome["killed"]:
                report.missed.append(outcome["point"])
    hit = {target.label for target in targets if str(tuple(target)) not in report.missed}
    report.never_hit = sorted({target.label for target in targets} - hit - BY_THE_CLOCK)
    report.seconds = time.monotonic() - started
    return report


def _write_found(path: Path, outcomes: list[dict[str, object]]) -> None:
    path.write_text(json.dumps(outcomes))


def _targets(scenario: Scenario, listing: Listing, *, short: bool) -> Iterator[Point]:
    seen: Counter[str] = Counter()
    has_begun = not short
    for label, half in listing.points:
        seen[label] += 1
        has_begun = has_begun or label.startswith(scenario.begin)
        if not has_begun or (short and not scenario.wants(label)):
            continue
        yield Point(label, seen[label])
        if half and not short:
            yield Point(label, seen[label], half=True)


def _load_what_a_run_loads(folder: Path, server: Server) -> None:
    """Let runs tell what they have loaded, and load it here: the processes of later rounds have it then."""
    for scenario in (s for s in SCENARIOS if s.name in ("function", "messages")):
        lane = Lane(folder / scenario.name, scenario, server)
        lane.list_points()
        for name in lane.modules.read_text().split("\n"):
            with suppress(Exception):
                importlib.import_module(name)
    if threading.active_count() != 1:
        raise AssertionError("loading has begun threads: a fork would not be the same")


if __name__ == "__main__":
    sys.exit(main())
