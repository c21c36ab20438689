"""Threads that read the database beside the event loop, each with a connection of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from agentdash.engine.store.browse import BrowseReads
from agentdash.engine.store.rows import CLOSED
from agentdash.errors import StoreError

T = TypeVar("T")


class Lane:
    """One or a few threads for one kind of reads, so that long ones never stand before short ones.

    Threads and connections are made when they are first needed.
    """

    def __init__(self, name: str, connect: Callable[[], BrowseReads], *, threads: int = 1) -> None:
        self._connect = connect
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"agentdash-{name}")
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._all: list[BrowseReads] = []
        self._closed = False

    async def run(self, work: Callable[[BrowseReads], T]) -> T:
        """Do `work` in a thread. Raises `StoreError` where the database cannot be read, and after the end."""
        if self._closed:
            raise StoreError(CLOSED)
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._do, work)

    def interrupt(self) -> None:
        """End the statements that run now; whoever waits for them gets a `StoreError`."""
        with self._lock:
            for reads in self._all:
                reads.interrupt(for_good=self._closed)

    async def close(self) -> None:
        """End what runs, the threads and the connections."""
        self._closed = True
        self.interrupt()
        await asyncio.to_thread(self._executor.shutdown)  # what waits its turn is refused one by one: `_do`
        for reads in self._all:
            reads.close()

    def _do(self, work: Callable[[BrowseReads], T]) -> T:
        if self._closed:
            raise StoreError(CLOSED)
        reads: BrowseReads | None = getattr(self._mine, "reads", None)
        if reads is None:
            reads = self._mine.reads = self._connect()
            with self._lock:
                self._all.append(reads)
        return work(reads)
