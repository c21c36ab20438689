"""When the queue asks for rows again. Pure: it neither waits nor reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agentdash.model import TaskQuery

LEAST_S = 0.2
"""Rows that may have changed are not asked for more often than that: once a tick, which is a little longer."""

LIVE_S = 1.0
"""A list that is ordered by what happens now is put into another order not more often than that: it is to be read."""

HOLD_S = 3.0
"""So long it keeps its order after the user has gone to one of its rows."""

_TIMES = 10
_AFTER_FAULT_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """Rows `start` … `start + count` of the answer to a query."""

    query: TaskQuery
    start: int
    count: int

    def covers(self, rows: range) -> bool:
        """Whether all these rows were asked for."""
        return self.start <= rows.start and rows.stop <= self.start + self.count

    def touches(self, rows: range) -> bool:
        """Whether some of these rows were asked for."""
        return self.start < rows.stop and rows.start < self.start + self.count


class Asking:
    """One request at a time. Rows that are not there are asked for at once; those that may have changed (`stale`) once
    a tick, or after ten times what the last answer took: reading costs a tenth of the time at most."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.stale = True
        self._monotonic = monotonic
        self._current: Request | None = None
        self._last: Request | None = None
        self._began_at = 0.0
        self._next_at = float("-inf")
        self._held_until = float("-inf")

    def hold(self) -> None:
        """A hand is on the list: a live one keeps its order for a while."""
        self._held_until = self._monotonic() + HOLD_S

    @property
    def is_held(self) -> bool:
        """Whether a hand is on the list."""
        return self._monotonic() < self._held_until

    def release(self) -> None:
        """Something was done to its tasks: show it at once."""
        self._held_until = self._next_at = self._began_at = float("-inf")
        self.stale = True

    def next(self, query: TaskQuery, rows: range, *, live: bool = False) -> Request | None:
        """The request to make now for these rows, if any. One for another query that is under way is then outdated.

        `live`: what the query is ordered by changes all the time.
        """
        if not rows or (self._current is not None and self._current.query == query):
            return None
        is_there = self._last is not None and self._last.query == query and self._last.covers(rows)
        wait_until = max(self._next_at, self._began_at + LIVE_S, self._held_until) if live else self._next_at
        if is_there and (not self.stale or self._monotonic() < wait_until):
            return None
        self.stale = False
        self._began_at = self._monotonic()
        page = len(rows)
        start = max(0, rows.start - page)
        self._current = self._last = Request(query, start, rows.stop + page - start)
        return self._current

    def ended(self, request: Request, *, failed: bool = False) -> None:
        """An answer has come, or none ever will."""
        if self._current is not request:
            return
        self._current = None
        now = self._monotonic()
        pause = max(_TIMES * (now - self._began_at), _AFTER_FAULT_S if failed else 0.0)
        self._next_at = max(self._began_at + LEAST_S, now + pause)
        self.stale = self.stale or failed
