"""How the dashboard writes numbers, times and states: pure, so that a table of examples tests it.

Nothing here cleans text from outside: whoever draws does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from agentdash.figures import local_time

NONE: Final = "–"
"""Stands for a figure that there is none of."""


class Look(NamedTuple):
    """How a state is shown: by a glyph, so that it needs no colour, and by a style's name."""

    glyph: str
    style: str = ""


class Piece(NamedTuple):
    """Some text in one style."""

    text: str
    style: str = ""


_LONGEST_S: Final = 1e9
_OTHER: Final = Look("·")
_RUN: Final = {
    "starting": Look("◌", "accent"),
    "running": Look("●", "accent"),
    "paused": Look("‖", "warn"),
    "draining": Look("▽", "warn"),
    "stalled": Look("✖", "bad"),
    "finished": Look("✔", "good"),
}
RUN_FAILED: Final = Look("✖", "bad")
"""A run that has finished, but not with every task."""

_WORKER: Final = {
    "running": Look("●", "accent"),
    "idle": Look("○", "dim"),
    "waiting": Look("◌", "dim"),
    "paused": Look("‖", "dim"),
    "probing": Look("◔", "warn"),
    "backoff": Look("◐", "warn"),
    "parked": Look("✖", "bad"),
}
_TASK: Final = {
    "pending": Look("○", "dim"),
    "running": Look("●", "accent"),
    "succeeded": Look("✔", "good"),
    "failed": Look("✖", "bad"),
    "cancelled": Look("⊘", "dim"),
}
_CREDENTIAL: Final = {
    "ready": Look("●", "good"),
    "cooling": Look("◐", "warn"),
    "exhausted": Look("◌", "bad"),
    "invalid": Look("✖", "bad"),
}
_LOCK: Final = {
    "held": Look("●", "good"),
    "overdue": Look("◔", "warn"),
    "stale": Look("✖", "bad"),
    "foreign": Look("◆", "accent"),
}
_EVENT: Final = {
    **dict.fromkeys(("limited", "backoff", "restarted", "skipped", "allowance"), Look("◐", "warn")),
    **dict.fromkeys(("failed", "invalid", "parked", "stalled", "fault"), Look("✖", "bad")),
    **dict.fromkeys(("quota", "credential", "compromised"), Look("✖", "bad")),
    "rotated": Look("★", "accent"),
    "recovered": Look("✔", "good"),
}
UNWELL: Final = frozenset({"backoff", "probing", "parked"})
"""The states of a worker that has to recover."""


def run_look(status: str) -> Look:
    """How the state of a run is shown."""
    return _RUN.get(status, _OTHER)


def worker_look(state: str) -> Look:
    """How the state of a worker is shown."""
    return _WORKER.get(state, _OTHER)


def task_look(state: str) -> Look:
    """How the state of a task is shown."""
    return _TASK.get(state, _OTHER)


def task_word(state: str) -> str:
    """What the state of a task is called: one word for it on every screen."""
    return "done" if state == "succeeded" else state


def credential_look(state: str) -> Look:
    """How the state of a key is shown."""
    return _CREDENTIAL.get(state, _OTHER)


def lock_look(state: str) -> Look:
    """How the state of a lock is shown."""
    return _LOCK.get(state, _OTHER)


def event_look(kind: str) -> Look:
    """How a kind of event is shown."""
    return _EVENT.get(kind, _OTHER)


# -- times -----------------------------------------------------------------------------------------------------------
def span(seconds: float) -> str:
    """A time that has passed, in at most 7 cells: `0.4s`, `12s`, `1:05`, `2:03:10`, `14h 3m`, `3d 4h`."""
    if not math.isfinite(seconds):
        return NONE
    tenths = _tenths(seconds)
    if tenths < 100:
        return f"{tenths // 10}.{tenths % 10}s"
    return f"{tenths // 10}s" if tenths < 600 else _clock(tenths // 10)


def brief(seconds: float) -> str:
    """The same in at most 5 cells, for columns: `0.4s`, `12s`, `1:05`, `2h03`, `14h`, `3d`."""
    if not math.isfinite(seconds):
        return NONE
    hours, minute = divmod(_tenths(seconds) // 600, 60)
    if hours < 1:
        return span(seconds)
    if hours < 24:
        return f"{hours}h{minute:02}" if hours < 10 else f"{hours}h"
    return f"{hours // 24}d" if hours < 24_000 else ">999d"


def age(since: float | None, now: float) -> str:
    """How long ago that was, for a column; `–` if it never was."""
    return brief(now - since) if since else NONE


def remaining(until: float | None, now: float) -> str:
    """A countdown, `0:41`: it shows 0:00 only when the time has come; `–` if there is none."""
    if until is None or not math.isfinite(until - now):
        return NONE
    return _clock(max(0, math.ceil(until - now)))


def clock_time(timestamp: float | None) -> str:
    """`14:02:11`, as the user's clock shows it."""
    return local_time(timestamp, "%H:%M:%S")


def moment(timestamp: float | None, now: float) -> str:
    """A time to come: `14:00`, and on another day `21 Nov`."""
    day, today = local_time(timestamp, "%Y-%m-%d"), local_time(now, "%Y-%m-%d")
    if timestamp is None or day == NONE:
        return NONE
    if day == today:
        return local_time(timestamp, "%H:%M")
    return f"{datetime.fromtimestamp(timestamp).astimezone().day} {local_time(timestamp, '%b')}"


def _tenths(seconds: float) -> int:
    # Rounded to milliseconds first: what is 2.0999999 between two clocks' readings was 2.1.
    return round(min(max(0.0, seconds), _LONGEST_S) * 1000) // 100


def _clock(whole: int) -> str:
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days > 999:
        return ">999d"
    if days:
        return f"{days}d {hour}h" if days < 100 else f"{days}d"
    if hours > 9:
        return f"{hours}h {minute}m"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


# -- figures ---------------------------------------------------------------------------------------------------------
def compact(number: float) -> str:
    """A count in at most 4 cells, for columns: `950`, `1.2k`, `310k`, `4.5M`."""
    for size, letter in ((1, ""), (1e3, "k"), (1e6, "M"), (1e9, "G")):
        value = number / size
        if value < 999.5:
            return f"{value:.1f}{letter}" if letter and round(value, 1) < 10 else f"{value:.0f}{letter}"
    return "many"


def cost(dollars: float) -> str:
    """`$4.18`, `$12,346`."""
    return f"${dollars:,.0f}" if dollars >= 10_000 else f"${dollars:,.2f}"


def whole_cost(dollars: float) -> str:
    """The same, without cents where there are none: `$25`, `$0.50`."""
    return f"${dollars:,.0f}" if dollars == round(dollars) else cost(dollars)


def rate(per_second: float) -> str:
    """`79.6/s`, `1,204/s`, and where it is slow `3.0/min` or `2.5/h`."""
    if per_second >= 1000:
        return f"{per_second:,.0f}/s"
    for number, unit in ((per_second, "s"), (per_second * 60, "min"), (per_second * 3600, "h")):
        if number >= 0.1:
            return f"{number:.1f}/{unit}"
    return "0/s"


def percent(done: int, total: int) -> str:
    """`60 %`, with a decimal where one per cent is many tasks; 100 only when all is done."""
    if not total:
        return "0 %"
    thousandths = done * 1000 // total
    return f"{thousandths / 10:.1f} %" if total >= 10_000 and thousandths < 1000 else f"{thousandths // 10} %"


def short_worker(worker: str | None) -> str:
    """`worker-12` → `w12`; any other name as it is."""
    if not worker:
        return NONE
    head, _, number = worker.rpartition("-")
    return f"w{number}" if head == "worker" and number.isdecimal() else worker


# -- drawings --------------------------------------------------------------------------------------------------------
_HEIGHTS: Final = "▂▃▅▆▇"


def sparkline(history: Sequence[int], cells: int) -> str:
    """The newest values as a row of blocks that the largest of them fills, the newest at the right; ▁ is nothing."""
    values = history[-cells:] if cells > 0 else ()
    most = max(values, default=0)
    top = len(_HEIGHTS)
    return "".join(_HEIGHTS[min(top, math.ceil(value / most * top)) - 1] if value > 0 else "▁" for value in values)


def bar(cells: int, total: int, *, good: int = 0, bad: int = 0, gone: int = 0) -> list[Piece]:
    """A bar of so many cells: what went well ━, was cancelled ╌, failed ╍, and what is left ─, in steps of half a cell.

    It is full only when nothing is left, and a failure is always seen.
    """
    halves = 2 * cells * min(total, good + bad + gone) // total if total > 0 else 0
    whole, half = divmod(halves, 2)
    if bad and cells > 0 and not whole:
        whole, half = 1, 0
    failed = min(whole, max(1, whole * bad // (good + bad + gone))) if bad else 0
    cancelled = min(whole - failed, whole * gone // (good + bad + gone)) if gone else 0
    pieces = (
        Piece("━" * (whole - failed - cancelled), "good"),
        Piece("╌" * cancelled, "dim"),
        Piece("╍" * failed, "bad"),
        Piece("╾" * half, "bad" if failed and not good else "good"),
        Piece("─" * (cells - whole - half), "dim"),
    )
    return [piece for piece in pieces if piece.text]
