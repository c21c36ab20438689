"""Twelve hours in the dashboard in some minutes, with ten million events: whether its memory stays flat.

The real app and the parts of the engine that feed it (events, live outputs, the rate), on a clock that is moved by
hand: every quarter of a second of the run happens, some are drawn, with keys pressed all the time. What is measured is
a process of its own. `python -m benchmarks.soak --trace` tells by tracemalloc what has grown.

The first hours fill caches that have a cap (of regions, colours, what was measured of texts). Memory that is flat is
flat from the second half on, and there are then no more widgets than before: those of screens and notices that are gone
are gone as well. If it is not so, `python -m benchmarks.soak` ends with code 3.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widget import Widget

from agentdash.ui.app import DashboardApp
from benchmarks.soak_run import SoakRun

HOURS = 12
EVENTS = 10_000_000
TICK_S = 0.25
_TAKEN_EVERY = 16
"""So many ticks go by from one look of the app to the next: not so many events happen in them that one is lost."""
_MOMENTS = (0.1, 0.5, 1.0)
_NOTICE_S = 0.3
_SHOWN_GROWTH = 12
_FLAT_MB = 2.0
"""What the allocator alone may add from the middle of the run to its end: it was -0.2 to 0.8."""
_MORE_WIDGETS = 5
"""Of the screens and notices of the last moment, which may not be gone yet."""
_FILLING_MB = 3.0
"""The same for a short run, in which caches fill until the end."""
_FLAT, _NOT_FLAT = "flat", 3

_KEYS: dict[int, tuple[str, ...]] = {  # what is pressed at which drawn moment of a round
    1: ("3", "down", "enter"),  # a running task, whose output is followed
    4: ("g",),
    5: ("G",),
    7: ("escape",),
    8: ("e",),
    9: ("down", "r"),
    10: ("n", "escape"),
    12: ("l",),
    13: ("escape",),
    14: ("question_mark",),
    15: ("escape",),
    16: ("R",),
    17: ("y",),
    18: ("u",),
    20: ("slash", "7", "7", "enter"),
    22: ("escape",),
    23: ("4", "s", "S"),
    24: ("space", "space", "escape"),
    26: ("5", "G", "enter"),
    28: ("escape",),
    29: ("1", "g", "ctrl+p"),
    30: ("escape",),
    31: ("K", "plus", "minus"),
    32: ("p",),
    33: ("p",),
    34: ("tab", "z"),
    36: ("z", "tab"),
    37: ("shift+tab", "shift+tab"),
}
_ROUND = 40
_ROUNDS, _QUICK_ROUNDS = 40, 4
_NARROW_EVERY = 5


class SoakApp(DashboardApp):
    """The dashboard without its timer, and with notices that go sooner: their time is the machine's."""

    def set_interval(self, *arguments: Any, **options: Any) -> Any:
        if options.get("name") == "snapshot":
            return None
        return super().set_interval(*arguments, **options)

    def notify(self, message: str, **options: Any) -> None:
        super().notify(message, **{**options, "timeout": _NOTICE_S})


def run(*, quick: bool = False) -> dict[str, Any]:
    """Twelve hours and 10 million events; a tenth of both if quick, where caches fill until the end."""
    command = [sys.executable, "-m", "benchmarks.soak", *(["--quick"] if quick else [])]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != _NOT_FLAT:
        done.check_returncode()
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


async def _soak(rounds: int, share: float) -> dict[str, Any]:
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        soaked = SoakRun(Path(folder))
        app = SoakApp(soaked)
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            measured = await _hours(app, pilot, soaked, rounds, share)
    return {
        **_figures(measured, soaked, mb=_FLAT_MB if share == 1 else _FILLING_MB),
        "moments drawn": rounds * _ROUND,
        "took, s": round(time.perf_counter() - begun),
    }


async def _hours(app: SoakApp, pilot: Pilot[None], soaked: SoakRun, rounds: int, share: float) -> dict[str, _Memory]:
    # Memory is compared after whole rounds of keys: at the same place, with the same screen in front.
    laps = [max(1, round(rounds * moment)) for moment in _MOMENTS]
    moments = {lap: f"{lap / rounds:.0%}" for lap in laps}
    measured: dict[str, _Memory] = {}
    draws = rounds * _ROUND
    ticks, events, tick = round(HOURS * 3600 / TICK_S * share), round(EVENTS * share), 0
    for number in range(1, draws + 1):
        while tick < ticks * number // draws:
            tick += 1
            soaked.step(TICK_S, events * tick // ticks)
            if tick % _TAKEN_EVERY == 0:
                app.tick()
        await _draw(app, pilot, number)
        lap, place = divmod(number, _ROUND)
        if place == 0 and lap in moments:
            measured[moments[lap]] = await _measure(app, pilot)
    return measured


async def _draw(app: SoakApp, pilot: Pilot[None], number: int) -> None:
    lap, place = divmod(number, _ROUND)
    for key in _KEYS.get(place, ()):
        app.simulate_key(key)
        await pilot.pause(0)
    if lap % _NARROW_EVERY == 1 and place in (0, _ROUND // 2):
        await pilot.resize_terminal(*((80, 24) if place == 0 else (120, 40)))
    app.tick()
    await pilot.pause(0)


class _Memory:
    """What the process holds at one moment."""

    def __init__(self) -> None:
        gc.collect()
        with open("/proc/self/statm", encoding="ascii") as file:
            self.resident_mb = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        types = Counter(type(thing) for thing in gc.get_objects())
        self.kinds = Counter({f"{of.__module__}.{of.__name__}": number for of, number in types.items()})
        self.widgets = sum(number for of, number in types.items() if issubclass(of, Widget))
        self.trace = tracemalloc.take_snapshot() if tracemalloc.is_tracing() else None


async def _measure(app: SoakApp, pilot: Pilot[None]) -> _Memory:
    """With the main view in front and every notice gone."""
    deadline = time.monotonic() + 10
    while (len(app._notifications) or app.query("Toast")) and time.monotonic() < deadline:
        await pilot.pause(0.05)
    if len(app.screen_stack) != 2 or app.crash is not None:
        raise RuntimeError(f"the keys have led elsewhere: {app.screen_stack}")
    return _Memory()


def _figures(measured: dict[str, _Memory], soaked: SoakRun, *, mb: float) -> dict[str, Any]:
    """Memory counts as flat if it grew by at most `mb` from the middle on, and no widgets stayed behind."""
    (begin, first), (half, middle), (_, last) = measured.items()
    grown = last.kinds - middle.kinds
    found: dict[str, Any] = {
        "hours of the run": round(soaked.clock.elapsed / 3600, 2),
        "events": soaked.events.seq,
        "events that the dashboard took": soaked.taken,
    }
    for name, memory in measured.items():
        found[f"memory at {name}, MB"] = round(memory.resident_mb, 1)
        found[f"objects at {name}"] = sum(memory.kinds.values())
        found[f"widgets at {name}"] = memory.widgets
    found[f"growth from {begin} to 100%, MB"] = round(last.resident_mb - first.resident_mb, 1)
    found[f"growth from {half} to 100%, MB"] = round(last.resident_mb - middle.resident_mb, 1)
    found[f"what grew after {half}"] = (
        ", ".join(f"{kind} +{more:,}" for kind, more in grown.most_common(4)) or "nothing"
    )
    is_flat = last.resident_mb - middle.resident_mb <= mb and last.widgets <= middle.widgets + _MORE_WIDGETS
    found[_FLAT] = "yes" if is_flat else "no"
    if middle.trace is not None and last.trace is not None:
        for growth in last.trace.compare_to(middle.trace, "lineno")[:_SHOWN_GROWTH]:
            print(growth, file=sys.stderr)
    return found


if __name__ == "__main__":
    if "--trace" in sys.argv:
        tracemalloc.start(5)
    quick = "--quick" in sys.argv
    figures = asyncio.run(_soak(_QUICK_ROUNDS if quick else _ROUNDS, 0.1 if quick else 1.0))
    print(json.dumps(figures, indent=1))
    sys.exit(0 if figures[_FLAT] == "yes" else _NOT_FLAT)
