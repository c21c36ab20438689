"""Numbers and times as words, the same in the commands and in the dashboard. Pure, and without anything installed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

_UNITS = ((1e3, "k"), (1e6, "M"), (1e9, "G"))
_FIRST_SHORT = 10_000


def amount(number: float) -> str:
    """`950`, `9,999`, `12.3k`, `310k`, `4.5M`: tokens at a glance."""
    if round(number) < _FIRST_SHORT:
        return f"{number:,.0f}"
    for size, letter in _UNITS:
        value = number / size
        if value < 999.5:
            return f"{value:.1f}{letter}" if round(value, 1) < 100 else f"{value:.0f}{letter}"
    return f"{number / 1e12:,.1f}T"


def dollars(amount_usd: float) -> str:
    """`$4.18`, `$12,346.00`, and `$0.0042` where cents would say nothing."""
    return f"${amount_usd:,.2f}" if amount_usd >= 0.1 or not amount_usd else f"${amount_usd:,.4f}"


def count(number: int, noun: str) -> str:
    """`1 task`, `1,200 tasks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def work(worktree: Mapping[str, Any]) -> str:
    """What a task has done in its worktree: `agentdash/t1, +12 −3 in 2 files`."""
    branch, files = worktree.get("branch"), worktree.get("files")
    added, removed = worktree.get("insertions"), worktree.get("deletions")
    parts = [str(branch)] if branch else []
    if isinstance(files, int) and isinstance(added, int) and isinstance(removed, int):
        parts.append(f"+{added:,} −{removed:,} in {count(files, 'file')}" if files else "no changes")
    if worktree.get("uncommitted"):
        parts.append("some of it in no commit")
    if error := worktree.get("error"):
        parts.append(str(error))
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """`0:07`, `12:40`, `3:05:00`, `2 d 4:00:00`."""
    whole = max(0, round(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour}:{minute:02}:{second:02}"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def local_time(timestamp: float | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """A moment as the user's clock shows it; `–` for none, and for one that no calendar has."""
    if not timestamp:
        return "–"
    try:
        return datetime.fromtimestamp(timestamp).astimezone().strftime(form)
    except (OSError, OverflowError, ValueError):
        return "–"
