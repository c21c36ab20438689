"""What a list of tasks reads: windows into orders of up to a million tasks, on connections that write nothing.

Every call is one moment of the database. What takes long is one long step of SQLite, during which the interpreter lock
is free, or a stream of small ones.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from agentdash.engine.numbers import Numbers
from agentdash.engine.store.codes import RUNNING
from agentdash.engine.store.ordering import RECENT, RUNNING_SINCE, Ordering, condition, has_own_index, ordering, source
from agentdash.engine.store.rows import RowReads
from agentdash.engine.store.search import Needle
from agentdash.model import Counts, TaskQuery, TaskRow, TaskSort, TaskState

FEW = 10_000
"""So many tasks are sorted each time they are looked at: it takes a few milliseconds."""
_SORTED_AT_ONCE = 20_000
_CHUNK = 4096
_LOOKED_UP = 10_000


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one moment: `total` is how many tasks the list has, `version` tells whether anything changed since."""

    rows: tuple[TaskRow, ...]
    total: int
    version: int


class BrowseReads(RowReads):
    """The windows and orders of lists. `few`: up to how many tasks are sorted at each look."""

    def __init__(self, path: Path, *, cache_kib: int, few: int = FEW) -> None:
        super().__init__(path, cache_kib=cache_kib)
        self._few = few

    # -- windows -----------------------------------------------------------------------------------------------------
    def page(self, query: TaskQuery, start: int, count: int, *, slow: bool = False) -> Page | None:
        """A window into the list as it is now; None where no index and no small number makes that quick.

        `slow`: in the order of the file also where half of it may have to be read for that.
        """
        with self.moment():
            counts = self.counts()
            natural = slow and ordering(query).key is None
            if not (natural or has_own_index(query) or self._are_few(query.state, counts)):
                return None
            total = number_of(counts, query.state)
            return Page(self.read_rows(self._span(query, start, count, counts)), total, self.version())

    def rows(self, seqs: Sequence[int], state: TaskState | None = None) -> Page:
        """These tasks as they are now, in this order. `total` is how many there are of the state."""
        with self.moment():
            return Page(self.read_rows(seqs), number_of(self.counts(), state), self.version())

    def _span(self, query: TaskQuery, start: int, count: int, counts: Counts) -> list[int]:
        """The numbers of the tasks in a window, read from the end that is nearer."""
        total = number_of(counts, query.state)
        count = min(count, total - start)
        if count <= 0:
            return []
        if query.state is None and query.sort is TaskSort.ORDER:
            first, last = self.bounds()
            if last - first + 1 == total:  # no gaps: its place is its number
                at = last - start - count + 1 if query.descending else first + start
                return list(range(at, at + count))[:: -1 if query.descending else 1]
        behind = total - start - count
        from_end = behind < start
        turned = query.descending != from_end
        seqs = self._seqs(
            f"SELECT seq FROM {self._source(query, counts)} WHERE {condition(query.state)}"
            f" ORDER BY {ordering(query).terms(turned=turned)} LIMIT ? OFFSET ?",
            count,
            behind if from_end else start,
        )
        return seqs[::-1] if from_end else seqs

    def _source(self, query: TaskQuery, counts: Counts) -> str:
        if query.state is None and query.sort is TaskSort.ID:
            return "tasks"
        if query.state is TaskState.PENDING and query.sort is TaskSort.ORDER:
            return source(query.state, few=True)
        return source(query.state, few=self._are_few(query.state, counts))

    def _are_few(self, state: TaskState | None, counts: Counts) -> bool:
        whole_table = state in (None, TaskState.SUCCEEDED)  # no index holds these alone
        return (counts.total if whole_table else number_of(counts, state)) <= self._few

    def number_of(self, state: TaskState | None) -> int:
        return number_of(self.counts(), state)

    # -- beginnings of long orders -----------------------------------------------------------------------------------
    def bounds(self) -> tuple[int, int]:
        """The first and the last task's number; (1, 0) if there is none."""
        first, last = self._one("SELECT (SELECT min(seq) FROM tasks), (SELECT max(seq) FROM tasks)")
        return (1, 0) if first is None else (first, last)

    def beginning(self, query: TaskQuery, number: int, *, turned: bool, first: int, last: int) -> list[tuple[int, Any]]:
        """The first tasks of an order, of those with these numbers, each with its key."""
        order = ordering(query)
        reading = f"SELECT seq, {order.key} AS k FROM {source(query.state, few=False)}"
        reading += f" WHERE {condition(query.state)} AND seq BETWEEN ? AND ?"
        if turned and query.sort is not TaskSort.ID:
            # Read backwards: else each further task of the same key would push another out of those that are kept.
            reading = f"SELECT seq, k FROM ({reading} ORDER BY seq DESC LIMIT -1)"
        terms = Ordering("k", order.falling).terms(turned=turned)
        return self._all(f"{reading} ORDER BY {terms} LIMIT ?", first, last, number)

    def known_beginning(self, query: TaskQuery, number: int, *, turned: bool) -> list[int] | None:
        """The first tasks of an order, where another order that has an index tells them; else None."""
        with self.moment():
            if query.sort is TaskSort.ID:
                return self._early_ids(query.state, number, turned=turned)
            if query.sort is TaskSort.RECENT and query.state in (None, TaskState.SUCCEEDED):
                return self._recent(query.state, number, turned=turned)
            return None

    def _early_ids(self, state: TaskState | None, number: int, *, turned: bool) -> list[int] | None:
        """By id, if the tasks with the first ids hold as many of the state."""
        first = f"SELECT seq, state FROM tasks ORDER BY id{' DESC' if turned else ''} LIMIT {_LOOKED_UP}"
        seqs = self._seqs(f"SELECT seq FROM ({first}) WHERE {condition(state)} LIMIT ?", number)
        return seqs if len(seqs) == min(number, number_of(self.counts(), state)) else None

    def _recent(self, state: TaskState | None, number: int, *, turned: bool) -> list[int] | None:
        """By time, from the order in which the results were written."""
        counts = self.counts()
        waiting = counts.pending if state is None else 0  # they have no time: after all others
        before = min(number, waiting) if turned else 0
        timed = min(number - before, number_of(counts, state) - waiting)
        seqs = self._timed(state, timed, turned=turned)
        if len(seqs) < timed:
            return None
        if turned:
            return self._waiting(before, turned=True) + seqs
        return seqs + self._waiting(min(number - timed, waiting), turned=False)

    def _waiting(self, number: int, *, turned: bool) -> list[int]:
        order = Ordering().terms(turned=turned)
        return self._seqs(f"SELECT seq FROM tasks NOT INDEXED WHERE state = 0 ORDER BY {order} LIMIT ?", number)

    def _timed(self, state: TaskState | None, number: int, *, turned: bool) -> list[int]:
        """By time, of so many results at that end that a few which were written out of turn don't matter."""
        ends = f"SELECT seq FROM results ORDER BY ordinal{'' if turned else ' DESC'} LIMIT ?"
        running = f" UNION ALL SELECT seq, {RUNNING_SINCE} FROM tasks INDEXED BY tasks_running WHERE state = {RUNNING}"
        terms = Ordering("k", falling=True).terms(turned=turned)
        return self._seqs(
            f"SELECT seq FROM (SELECT seq, {RECENT} AS k FROM tasks WHERE seq IN ({ends}) AND {condition(state)}"
            f"{running if state is None else ''}) ORDER BY {terms} LIMIT ?",
            4 * number + 1000,
            number,
        )

    # -- whole orders ------------------------------------------------------------------------------------------------
    def ordered(self, query: TaskQuery) -> Iterator[array[int]]:
        """The numbers of all tasks of a state in the order of the query, in parts."""
        order = ordering(query).terms(turned=query.descending)
        sql = f"SELECT seq FROM {self._source(query, self.counts())} WHERE {condition(query.state)} ORDER BY {order}"
        rows = self.select(sql)
        while part := [seq for (seq,) in islice(rows, _CHUNK)]:
            yield array("I", part)

    def sort(self, query: TaskQuery, seqs: Numbers) -> Iterator[array[int]]:
        """Some tasks in the order of the query, in parts."""
        if len(seqs) <= _SORTED_AT_ONCE:
            order = ordering(query).terms(turned=query.descending)
            listed = "SELECT seq FROM tasks NOT INDEXED WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY"
            yield array("I", self._seqs(f"{listed} {order}", json.dumps(list(seqs[:]))))
            return
        found = bytearray(self.bounds()[1] + 1)
        for start in range(0, len(seqs), _CHUNK):
            for seq in seqs[start : start + _CHUNK]:
                found[seq] = 1
        for part in self.ordered(query):
            yield array("I", [seq for seq in part if seq < len(found) and found[seq]])  # new ones are not in it

    def is_by_seq(self, query: TaskQuery) -> bool:
        """Whether the query's order is that of the file, at the moment."""
        if query.state is TaskState.PENDING and query.sort is TaskSort.ORDER:
            ends = [
                self._all(
                    "SELECT waits_for > 0, priority, locks IS NULL FROM tasks INDEXED BY tasks_ready WHERE state = 0"
                    f" ORDER BY {ordering(query).terms(turned=turned)} LIMIT 1"
                )
                for turned in (False, True)
            ]
            return ends[0] == ends[1]
        return ordering(query).key is None

    def matching(self, needle: Needle, state: TaskState | None, first: int, last: int) -> array[int]:
        """The tasks that match, of those with these numbers, in the order of the file."""
        found = self._all(needle.query(state), *needle.parameters(), first, last)
        return array("I", sorted(json.loads(found[0][0])))


def number_of(counts: Counts, state: TaskState | None) -> int:
    """How many tasks a list has."""
    return counts.total if state is None else int(getattr(counts, state.value))
