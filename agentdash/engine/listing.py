"""The list behind one query: the numbers of its tasks in its order, found and sorted in the background.

A million numbers are four megabytes; the rows themselves are read when they are looked at. Threads do the `Work`, the
event loop owns the `Listing`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from array import array
from collections.abc import Callable, Iterable
from typing import Any

from agentdash.engine.numbers import Numbers
from agentdash.engine.store.browse import BrowseReads
from agentdash.engine.store.ordering import ordering
from agentdash.engine.store.search import Needle
from agentdash.errors import StoreError
from agentdash.model import TaskQuery, TaskState

NEAR = 500
"""So many rows at either end of a list are there before the whole of it is sorted."""
SORTING = 0.95
"""How far a search has come when all is found and not yet sorted."""
_FIRST_PART, _LARGEST_PART = 2000, 32768
_QUICK_S, _SLOW_S = 0.02, 0.06
_LEAST_AGE_S, _AGE_FOR_COST = 2.0, 20.0


class Work:
    """Makes the list of a query, in threads. `found` grows as tasks are found; until sorted, in the file's order."""

    def __init__(self, query: TaskQuery, progress: Callable[[], None]) -> None:
        self.query = query
        self.found = Numbers()
        self.searched = 0.0
        self.cancelled = False
        self._needle = Needle(query.text)
        self._progress = progress
        self._lock = threading.Lock()
        self._first = self._last = self._at = 0
        self._size = _FIRST_PART
        self._begun = self._shown = self._covered = 0
        self._ahead: dict[int, tuple[int, array[int]]] = {}

    def prepare(self, reads: BrowseReads) -> bool:
        """Look where to search; returns whether what is found must be sorted then."""
        self._first, self._last = reads.bounds()
        if self.query.state is TaskState.RUNNING:
            self._size = max(1, self._last - self._first + 1)  # one look at the state's index
        return not reads.is_by_seq(self.query)

    def search(self, reads: BrowseReads) -> None:
        """Search part after part until there is none; several threads may do so at once."""
        while not self.cancelled and (part := self._next_part()) is not None:
            number, first, last = part
            started = time.perf_counter()
            seqs = reads.matching(self._needle, self.query.state, first, last)
            if self.query.descending:
                seqs.reverse()
            self._add(number, last - first + 1, seqs, time.perf_counter() - started)

    def sort(self, reads: BrowseReads) -> None:
        """Put what was found into the query's order."""
        self._take(reads.sort(self.query, self.found), len(self.found))

    def order(self, reads: BrowseReads) -> None:
        """All tasks of a query without a text, in its order."""
        self._take(reads.ordered(self.query), reads.number_of(self.query.state))

    def _take(self, parts: Iterable[array[int]], expected: int) -> None:
        found = Numbers(expected)
        for part in parts:
            if self.cancelled:
                return
            found.extend(part)
        self.found = found

    def _next_part(self) -> tuple[int, int, int] | None:
        """The number of the next part, and the first and last task of it: from the end if that is shown first."""
        with self._lock:
            left = self._last - self._first + 1 - self._at
            if left <= 0:
                return None
            size = min(self._size, left)
            first = self._last - self._at - size + 1 if self.query.descending else self._first + self._at
            self._at += size
            self._begun += 1
            return self._begun - 1, first, first + size - 1

    def _add(self, number: int, size: int, seqs: array[int], seconds: float) -> None:
        with self._lock:
            if seconds < _QUICK_S:
                self._size = min(_LARGEST_PART, max(self._size, 2 * size))
            elif seconds > _SLOW_S:
                self._size = max(1, size // 2)
            self._ahead[number] = size, seqs
            while (ready := self._ahead.pop(self._shown, None)) is not None:
                self._shown += 1
                self._covered += ready[0]
                self.found.extend(ready[1])
            self.searched = SORTING * self._covered / (self._last - self._first + 1)
        self._progress()


class Listing:
    """What is known of one query's list. Belongs to the event loop.

    `ends` holds the first rows of the order and of the turned order (True), until all of it is there.
    """

    def __init__(self, query: TaskQuery) -> None:
        self.query = query
        self.seqs = Numbers()
        self.complete = self.dropped = False
        self.error: StoreError | None = None
        self.work: Work | None = None
        self.ends: dict[bool, asyncio.Task[list[int]]] = {}
        self._version = 0
        self._cost = self._made_at = 0.0
        self._changed: asyncio.Event = asyncio.Event()

    @property
    def searched(self) -> float:
        if self.complete:
            return 1.0
        return self.work.searched if self.work else 0.0

    def window(self, start: int, count: int, *, descending: bool) -> array[int]:
        """A part of the list; of one that stands in the other direction, as long as all of it is there."""
        if descending == self.query.descending:
            return self.seqs[start : start + count]
        end = max(0, len(self.seqs) - start)
        return self.seqs[max(0, end - count) : end][::-1]

    def begin(self, work: Work) -> None:
        """`work` makes this list (anew)."""
        self.work = work
        if not self.complete:
            self.seqs = work.found

    def finish(self, work: Work, version: int, started_at: float, now: float) -> None:
        """`work` is done: it read what was there at `version` or later."""
        self.seqs, self.complete, self.work = work.found, True, None
        self._version, self._cost, self._made_at = version, now - started_at, now
        self.ends = {}
        self.tell()

    def drop(self) -> None:
        """It is no longer wanted."""
        self.dropped = True
        if self.work is not None:
            self.work.cancelled = True
        self.seqs = Numbers()
        self.tell()

    def fail(self, error: StoreError) -> None:
        self.error, self.work = error, None
        self.tell()

    def is_stale(self, version: int, now: float) -> bool:
        """Whether to make it anew: a list that costs much is made seldom."""
        age = now - self._made_at
        return self.complete and version != self._version and age > max(_LEAST_AGE_S, _AGE_FOR_COST * self._cost)

    def tell(self) -> None:
        """Wake who waits for more."""
        self._changed.set()

    async def wait_for(self, number: int | None, seconds: float) -> None:
        """Until so many are found, or all (None), but not longer than this."""
        try:
            async with asyncio.timeout(seconds):
                while not self._has(number):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    def _has(self, number: int | None) -> bool:
        ended = self.complete or self.dropped or self.error is not None
        return ended or (number is not None and len(self.seqs) >= number)


def merge(query: TaskQuery, parts: Iterable[list[tuple[int, Any]]], *, turned: bool) -> list[int]:
    """The first tasks of several parts, each with its key, as one list in the query's order."""
    rows = sorted((row for part in parts for row in part), key=lambda row: row[0], reverse=turned)
    rows.sort(key=lambda row: (row[1] is not None, row[1]), reverse=ordering(query).falling != turned)
    return [seq for seq, _ in rows]
