"""The campaign: rounds drawn from a seed, played side by side, and the table of what came of them."""

from __future__ import annotations

import json
import math
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.faults.fault import REGISTRY, Fault
from tests.faults.rounds import Outcome, play

_MOST_TOGETHER = 5
_KILL = "kill -9"
_KILLS = 0.35
"""So many of the rounds with several faults have kills among them: nothing else comes at every moment."""
_EXCLUDED = 12
"""Of so many other faults: such a one is drawn twice as often."""


@dataclass(slots=True)
class Tally:
    """What came of one fault in all rounds it was part of."""

    rounds: int = 0
    tries: int = 0
    lost: int = 0
    twice: int = 0
    leaked: int = 0
    escaped: int = 0
    trouble: int = 0


@dataclass(slots=True)
class Report:
    """What came of a campaign."""

    seed: int
    rounds: int = 0
    starts: int = 0
    kills: int = 0
    tasks: int = 0
    seconds: float = 0.0
    repeated: int = 0
    faults: dict[str, Tally] = field(default_factory=dict)
    troubled: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.rounds += 1
        self.starts += outcome.starts
        self.kills += outcome.kills
        self.tasks += outcome.tasks
        self.repeated += outcome.repeated
        for name in outcome.faults:
            tally = self.faults.setdefault(name, Tally())
            tally.rounds += 1
            tally.tries += outcome.tried.get(name, 0)
            tally.lost += outcome.lost
            tally.twice += outcome.twice
            tally.leaked += outcome.leaked
            tally.escaped += outcome.escaped
            tally.trouble += bool(outcome.trouble)
        if outcome.trouble:
            self.troubled.append(outcome)

    def table(self) -> str:
        """Fault by fault, as Markdown."""
        head = "| fault | rounds | tried | lost | twice | key bytes | escapes | other trouble |\n"
        head += "|---|--:|--:|--:|--:|--:|--:|--:|\n"
        rows = (
            f"| {name} | {t.rounds} | {t.tries} | {t.lost} | {t.twice} | {t.leaked} | {t.escaped} | {t.trouble} |"
            for name, t in sorted(self.faults.items())
        )
        return head + "\n".join(rows)


def usable() -> tuple[list[Fault], dict[str, str]]:
    """The faults this machine can have, and why not the others."""
    why = {name: reason for name, fault in REGISTRY.items() if (reason := fault.unusable()) is not None}
    return [fault for name, fault in REGISTRY.items() if name not in why], why


def draw(seed: int, number: int, faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """The faults of a round: each alone in turn, and in two of three rounds a few of them together."""
    if number % 3 == 0 or len(faults) < 2:
        return (faults[(number // 3) % len(faults)],)
    chance = random.Random(f"draw {seed}/{number}")
    together = chance.randint(3, _MOST_TOGETHER)
    chosen = [fault for fault in faults if fault.name == _KILL and chance.random() < _KILLS]
    for fault in sorted(faults, key=lambda fault: _turn(fault, faults, chance), reverse=True):
        if (
            len(chosen) < together
            and fault not in chosen
            and not any(fault.excludes & other.excludes for other in chosen)
        ):
            chosen.append(fault)
    return tuple(chosen)


def _turn(fault: Fault, faults: Sequence[Fault], chance: random.Random) -> float:
    """Drawn at random: the higher, the earlier it is chosen. All should be tried as often in the end, so those that
    strike seldom in a round are drawn more often, and those that exclude many others."""
    excluded = sum(bool(fault.excludes & other.excludes) for other in faults)
    strikes: float = sum(fault.strikes) / 2
    return math.pow(chance.random(), strikes / (1 + excluded / _EXCLUDED))


def play_part(
    seed: int, part: int, parts: int, names: Sequence[str], *, first: int, until_s: float
) -> Iterator[Outcome]:
    """Every `parts`-th round from `first` on, until the time is over."""
    faults = [fault for fault in usable()[0] if not names or fault.name in names]
    root = Path(tempfile.mkdtemp(prefix="agentdash-faults-"))
    number, deadline = first + part, time.monotonic() + until_s
    while time.monotonic() < deadline:
        yield play(number, seed, draw(seed, number, faults), root)
        number += parts
    if not any(root.iterdir()):
        root.rmdir()


def play_all(seed: int, names: Sequence[str], *, jobs: int, until_s: float, first: int = 0) -> Report:
    """The campaign in `jobs` processes side by side; prints a line for each round."""
    report = Report(seed)
    started = time.monotonic()
    options = [f"--only={name}" for name in names]
    parts = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.faults", "--seed", str(seed), "--part", f"{part}/{jobs}",
             "--seconds", str(until_s), "--first", str(first), *options],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
        )
        for part in range(jobs)
    ]  # fmt: skip
    try:
        for outcome in _outcomes(parts):
            report.add(outcome)
            print(outcome.line, flush=True)
    finally:
        for process in parts:
            process.terminate()
            process.wait()
    report.seconds = time.monotonic() - started
    failed = [process.returncode for process in parts if process.returncode]
    if failed and not report.rounds:
        raise SystemExit(f"the campaign's own processes failed: {failed}")
    return report


def _outcomes(parts: Sequence[subprocess.Popen[bytes]]) -> Iterator[Outcome]:
    """The outcomes of all parts as they come."""
    open_ends = {process.stdout.fileno(): b"" for process in parts if process.stdout is not None}
    while open_ends:
        for end in select.select(list(open_ends), [], [])[0]:
            data = os.read(end, 1 << 16)
            if not data:
                del open_ends[end]
                continue
            *lines, open_ends[end] = (open_ends[end] + data).split(b"\n")
            for line in lines:
                yield Outcome(**json.loads(line))


def to_json(report: Report) -> str:
    """The report for who reads it with a program."""
    return json.dumps(asdict(report), indent=1)
