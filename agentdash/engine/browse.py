"""The lists that the dashboard shows, of up to a million tasks: any window of any order, without holding the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentdash.clock import Clock
from agentdash.engine.lane import Lane
from agentdash.engine.listing import NEAR, Listing, Work, merge
from agentdash.engine.log import LOGGER
from agentdash.engine.store.browse import FEW, BrowseReads, Page
from agentdash.engine.store.groups import FailedTasks
from agentdash.engine.store.ordering import ordering
from agentdash.engine.store.rows import CLOSED
from agentdash.engine.store.search import Needle
from agentdash.errors import StoreError
from agentdash.model import ErrorGroup, TaskDetail, TaskQuery, TaskWindow

MAX_ROWS = 1000
_ANSWER_S = 0.08
"""How long an answer may wait for a search or a sort that is going on."""
_END_S = 0.13
"""How long for the end of a list, which is nearly always there by then."""
_WINDOW_CACHE_KIB, _WORK_CACHE_KIB = 4096, 1024
_SEARCHERS = 2


class TaskBrowser:
    """Reads the project's database in threads of its own; it never writes.

    One list is kept at a time: asking for another ends the search or sort that the last one needed. Raises
    `StoreError` where the database cannot be read. `few`: up to how many tasks a list is sorted at each look.
    """

    def __init__(self, database: Path, *, clock: Clock, few: int = FEW) -> None:
        def connect(cache_kib: int) -> BrowseReads:
            return BrowseReads(database, cache_kib=cache_kib, few=few)

        self._clock = clock
        self._windows = Lane("windows", lambda: connect(_WINDOW_CACHE_KIB))
        self._work = Lane("lists", lambda: connect(_WORK_CACHE_KIB), threads=_SEARCHERS)
        self._slow = Lane("groups", lambda: connect(_WORK_CACHE_KIB))
        self._groups: FailedTasks | None = None
        self._listing = Listing(TaskQuery())
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    # -- lists -------------------------------------------------------------------------------------------------------
    async def list_tasks(self, query: TaskQuery, start: int, count: int) -> TaskWindow:
        """The rows `start` … `start + count` (at most a thousand) of the answer to a query.

        While `searched` is below 1 the list is still being made: there may be fewer rows, or none yet, and those found
        so far stand in the order of the file. Ask again.
        """
        if self._closed:
            raise StoreError(CLOSED)
        start, count = max(0, start), max(0, min(count, MAX_ROWS))
        listing = self._listing_of(query)
        try:
            return await self._answer(listing, query, start, count)
        except StoreError:
            if listing.dropped and not self._closed:  # what it waited for was ended, because another list is wanted
                return TaskWindow(query, start, (), 0, 0.0)
            raise

    async def _answer(self, listing: Listing, query: TaskQuery, start: int, count: int) -> TaskWindow:
        if not Needle(query.text).possible:
            return TaskWindow(query, start, (), 0)
        if not query.text and (page := await self._windows.run(lambda reads: reads.page(query, start, count))):
            return TaskWindow(query, start, page.rows, page.total)
        if not listing.complete and not query.text and (window := await self._ends(listing, query, start, count)):
            return window
        return await self._from_list(listing, query, start, count)

    def _listing_of(self, query: TaskQuery) -> Listing:
        """The list of this query; ends what was done for another. One that is there serves both directions."""
        of = self._listing.query
        turned = replace(of, descending=query.descending)
        if self._listing.error is not None or turned != query or (of != query and not self._listing.complete):
            self._drop()
            self._listing = Listing(query)
        return self._listing

    async def _from_list(self, listing: Listing, query: TaskQuery, start: int, count: int) -> TaskWindow:
        if not listing.complete and listing.work is None:
            self._begin(listing, await self._windows.run(lambda reads: reads.version()))
        await listing.wait_for(start + count if query.text else None, _ANSWER_S)
        if listing.error is not None:
            raise listing.error
        seqs = listing.window(start, count, descending=query.descending)
        searched, total = listing.searched, len(listing.seqs)
        page = await self._read(seqs, query)
        if listing.is_stale(page.version, self._clock.monotonic()):
            self._begin(listing, page.version)
        waits_for_sort = not query.text and searched < 1
        return TaskWindow(query, start, page.rows, page.total if waits_for_sort else total, searched)

    async def _ends(self, listing: Listing, query: TaskQuery, start: int, count: int) -> TaskWindow | None:
        """A window near one of the ends of a list that is not sorted yet. None: it is in the middle."""
        page: Page | None
        if ordering(query).key is None:
            page = await self._windows.run(lambda reads: reads.page(query, start, count, slow=True))
            if page is not None:
                self._begin(listing, page.version)
                return TaskWindow(query, start, page.rows, page.total)
        total = (now := await self._read((), query)).total
        if min(start + count, total - start) > NEAR:
            return None
        try:
            async with asyncio.timeout(_END_S):
                if start + count <= NEAR:
                    seqs = (await self._end(listing, turned=query.descending))[start : start + count]
                else:
                    behind = max(0, total - start - count), max(0, total - start)
                    seqs = (await self._end(listing, turned=not query.descending))[slice(*behind)][::-1]
        except TimeoutError:
            return TaskWindow(query, start, (), total, 0.0)
        self._begin(listing, now.version)
        page = await self._read(seqs, query)
        return TaskWindow(query, start, page.rows, total)

    async def _end(self, listing: Listing, *, turned: bool) -> list[int]:
        """One end of a list, read once for all windows in it."""
        if (reading := listing.ends.get(turned)) is None:
            reading = asyncio.create_task(self._read_end(listing, turned=turned), name="agentdash list end")
            listing.ends[turned] = reading
        try:
            return await asyncio.shield(reading)
        except StoreError:
            listing.ends.pop(turned, None)
            raise

    async def _read_end(self, listing: Listing, *, turned: bool) -> list[int]:
        query = listing.query
        seqs = await self._windows.run(lambda reads: reads.known_beginning(query, NEAR, turned=turned))
        if seqs is not None:
            return seqs
        first, last = await self._windows.run(lambda reads: reads.bounds())

        def of_part(reads: BrowseReads, first: int, last: int) -> list[tuple[int, Any]]:
            return [] if listing.dropped else reads.beginning(query, NEAR, turned=turned, first=first, last=last)

        middle = (first + last) // 2  # half of the table each: on two cores that takes half the time
        parts = await asyncio.gather(
            self._work.run(lambda reads: of_part(reads, first, middle)),
            self._work.run(lambda reads: of_part(reads, middle + 1, last)),
        )
        return merge(query, parts, turned=turned)[:NEAR]

    async def _read(self, seqs: Sequence[int], query: TaskQuery) -> Page:
        return await self._windows.run(lambda reads: reads.rows(seqs, query.state))

    # -- what is done in the background ------------------------------------------------------------------------------
    def _begin(self, listing: Listing, version: int) -> None:
        """Make a list (anew), unless that is going on, or it is no longer wanted."""
        if listing.work is not None or listing is not self._listing or self._closed:
            return
        loop = asyncio.get_running_loop()

        def progress() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(listing.tell)

        work = Work(listing.query, progress)
        listing.begin(work)
        task = asyncio.create_task(self._make(listing, work, version), name="agentdash list")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make(self, listing: Listing, work: Work, version: int) -> None:
        started = self._clock.monotonic()
        try:
            if not work.query.text:
                for turned in (False, True):  # who has seen the beginning may want to see the end before all is sorted
                    if ordering(work.query).key is not None and not work.cancelled:
                        await self._end(listing, turned=turned)
                if not work.cancelled:
                    await self._work.run(work.order)
            else:
                must_sort = await self._work.run(work.prepare)
                await asyncio.gather(*(self._work.run(work.search) for _ in range(_SEARCHERS)))
                if must_sort and not work.cancelled:
                    await self._work.run(work.sort)
        except StoreError as error:
            if not work.cancelled:
                work.cancelled = True  # the other thread's part, too
                listing.fail(error)
        except Exception as error:  # noqa: BLE001 - whoever waits for the list is told, and the dashboard goes on
            LOGGER.exception("a list could not be made", extra={"action": "list"})
            listing.fail(StoreError(f"The list could not be made: {type(error).__name__}."))
        else:
            if not work.cancelled:
                listing.finish(work, version, started, self._clock.monotonic())

    def _drop(self) -> None:
        """The list is no longer wanted."""
        if self._listing.work is not None or self._listing.ends:
            self._work.interrupt()
        for reading in self._listing.ends.values():
            reading.add_done_callback(_look_at)
        self._listing.drop()

    # -- tasks and groups --------------------------------------------------------------------------------------------
    async def task_detail(self, task_id: str) -> TaskDetail | None:
        return await self._windows.run(lambda reads: reads.detail(task_id))

    async def error_groups(self) -> tuple[ErrorGroup, ...]:
        """The failed tasks by kind of error, the largest group first."""
        return await self._slow.run(lambda reads: self._failed(reads).groups())

    async def group_ids(self, group: ErrorGroup) -> list[str]:
        """The tasks that `error_groups` counts in a group and that are still failed, in the order of the file."""
        return await self._slow.run(lambda reads: self._failed(reads).ids(group))

    async def export_group(self, group: ErrorGroup, path: Path) -> int:
        """Write the results lines of a group to a new file, for its owner only; returns how many."""
        return await self._slow.run(lambda reads: self._failed(reads).export(group, path))

    def _failed(self, reads: BrowseReads) -> FailedTasks:
        """In the one thread of its lane."""
        if self._groups is None:
            self._groups = FailedTasks(reads)
        return self._groups

    async def close(self) -> None:
        """End what is going on, and every connection."""
        self._closed = True
        self._drop()
        for lane in (self._windows, self._work, self._slow):
            await lane.close()
        if self._tasks:
            await asyncio.wait(self._tasks)


def _look_at(reading: asyncio.Task[list[int]]) -> None:
    """Nobody waits for it any more: its failure must not be told as one that nobody saw."""
    if not reading.cancelled():
        reading.exception()
