"""When the dashboard looks at the run, and when it shows what it saw. Pure: it neither waits nor reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from agentdash.model import Snapshot

TICK_S: Final = 1 / 3
"""From one moment at which the run may be looked at to the next. Three of them are a second, as ages are shown in."""

IDLE_TICK_S: Final = 0.85
"""What has not changed stays as it is for so long, hence until the third moment: all that moves then are ages and
countdowns."""

_PATIENT_LOOKS = 10


class Pace:
    """Shows what is new at once, and once a second where nothing is; looks less often when nothing happens."""

    def __init__(self) -> None:
        self._shown_at = float("-inf")
        self._in_vain = 0

    def may_skip(self, monotonic: float, *, is_still: bool) -> bool:
        """Whether this moment can pass without a look: nothing has happened for a while, and no age is due."""
        self._in_vain = self._in_vain + 1 if is_still else 0
        return self._in_vain > _PATIENT_LOOKS and self._in_vain % 2 == 1 and not self._is_due(monotonic)

    def wants(self, snapshot: Snapshot, shown: Snapshot | None, monotonic: float, *, is_still: bool) -> bool:
        """Whether to show this snapshot after that one."""
        if not is_still or shown is None or is_news(snapshot, shown):
            self._in_vain = 0
            return True
        return self._is_due(monotonic)

    def has_shown(self, monotonic: float) -> None:
        """What there is has been shown."""
        self._shown_at = monotonic

    def _is_due(self, monotonic: float) -> bool:
        return monotonic - self._shown_at >= IDLE_TICK_S


def is_news(snapshot: Snapshot, before: Snapshot) -> bool:
    """Whether more has changed than what does so by itself while tasks run: the beats of their locks, the run's age."""
    if snapshot == before:
        return False
    if (snapshot.counts, snapshot.event_seq) != (before.counts, before.event_seq):
        return True
    return _at_rest(snapshot) != _at_rest(before)


def _at_rest(snapshot: Snapshot) -> Snapshot:
    locks = tuple(replace(lock, heartbeat_at=None) for lock in snapshot.locks)
    return replace(snapshot, locks=locks, totals=replace(snapshot.totals, elapsed_s=0.0))
