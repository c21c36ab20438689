"""What happens to the wall clock: hours forward, hours back, wrong from the start, a suspended machine that wakes.

The program reads the time through `time.time`, which each process of a round is given anew: the machine's time and an
offset from a small file that all of them share.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.actors import ROOT
from tests.faults.fault import Fault, register
from tests.faults.stage import Stage

_HOUR_S = 3600.0
_OFFSET = "clock offset"


def shift_clock(path: str) -> None:
    """From now on this process adds the number in the file to the wall clock, whatever it is at the moment."""
    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
    machine = time.time
    time.time = lambda: machine() + struct.unpack("d", offset)[0]


_AT_START = """
import os
from tests.faults.clock_faults import shift_clock
shift_clock({path!r})
"""


def _set(stage: Stage, seconds: float) -> None:
    descriptor = os.open(stage.folder / _OFFSET, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, struct.pack("d", seconds), 0)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Clock(Fault):
    """The clock jumps to another time, and back when the fault is healed.

    `hours`: by how much, from and to, forward or back. `limits`: the server has rate limits and fails now and then,
    so that waits with a date are about. `from_start`: dates (seconds since the epoch) one of which it has at first.
    """

    hours: tuple[float, float] = (0.5, 30.0)
    limits: bool = False
    from_start: tuple[float, ...] = ()

    def prepare(self, stage: Stage) -> None:
        stage.folder.mkdir(parents=True, exist_ok=True)
        path = str(stage.folder / _OFFSET)
        _set(stage, 0.0)
        stage.prepare_process.append(lambda: shift_clock(path))
        site = Path(stage.folder) / "site"  # for those that are begun anew, and forget what was prepared
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(_AT_START.format(path=path))
        stage.environment["PYTHONPATH"] = f"{site}{os.pathsep}{ROOT}"
        if self.from_start:
            _set(stage, stage.chance.choice(self.from_start) - time.time())
        if self.limits:
            limit = {"per_minute": 600, "burst": 5}
            stage.simulator["organizations"] = [{"name": f"org-{n}", "requests": limit} for n in "ab"]
            stage.simulator["failures"] = {"api_error": 0.05, "rate_limited": 0.05, "overloaded": 0.03}

    def strike(self, stage: Stage) -> None:
        if not self.from_start:
            _set(stage, stage.chance.uniform(*self.hours) * _HOUR_S * stage.chance.choice((-1, 1)))

    def heal(self, stage: Stage) -> None:
        _set(stage, 0.0)


@dataclass(frozen=True, slots=True)
class Suspended(Clock):
    """The machine sleeps: all processes are stopped, and when they go on the clock is hours further."""

    def strike(self, stage: Stage) -> None:
        for actor in stage.alive:
            stage.notes.setdefault(self.name, []).append(actor)
            actor.send(signal.SIGSTOP)

    def heal(self, stage: Stage) -> None:
        if stopped := stage.notes.pop(self.name, []):
            _set(stage, stage.chance.uniform(*self.hours) * _HOUR_S)
            stage.deaths.append(time.monotonic())  # its connections may have been closed for silence
            for actor in stopped:
                actor.send(signal.SIGCONT)


_CLOCK = frozenset({"clock"})
_DATES = (0.0, 86_400.0 * 365, 4_102_444_800.0, 4_133_894_400.0)  # 1970, 1971, 2100, 2100-12-31

register(
    Clock("clock jumps", excludes=_CLOCK, strikes=(1, 3), lasts_s=(0.1, 4.0)),
    Clock("clock jumps by minutes", excludes=_CLOCK, strikes=(1, 3), lasts_s=(0.1, 4.0), hours=(0.0005, 0.05)),
    Clock("clock jumps under limits", excludes=_CLOCK, strikes=(1, 3), lasts_s=(0.1, 6.0), limits=True),
    Clock("clock wrong from the start", excludes=_CLOCK, strikes=(0, 1), lasts_s=(0.5, 3.0), from_start=_DATES),
    Suspended("machine suspended", excludes=_CLOCK, lasts_s=(0.5, 6.0), hours=(0.1, 30.0)),
)
