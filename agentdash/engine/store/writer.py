"""One thread that owns the writing connection and commits many requests at once (group commit).

With `synchronous=FULL` a commit costs a sync of the disk; fifty settlements that arrive during one share the next.
Requests of one kind in a batch run as one set-based statement, so the thread takes the interpreter lock a few times a
batch, not a few times a task, and SQLite works beside the event loop instead of against it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from agentdash.engine.store.codes import STATE_COLUMNS
from agentdash.engine.store.faults import translate
from agentdash.engine.store.transitions import check_transition
from agentdash.engine.waiting import Write
from agentdash.errors import StoreError
from agentdash.model import TaskState, Totals

MAX_BATCH = 1000
_FAULTS_OF_ONE = frozenset(
    {0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}
)
"""Primary error codes that a single request may cause (0: Python refused to bind a value)."""
_BUSY_SLICE_S = 0.25

_TOTAL_FIELDS = tuple(f.name for f in fields(Totals))


@dataclass(slots=True)
class Transaction:
    """The open transaction: its connection, and the sums that are written once at its end."""

    connection: sqlite3.Connection
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    totals: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def move(self, before: TaskState | None, after: TaskState, number: int = 1) -> None:
        """Count `number` tasks that went from one state to another (None: they are new).

        Raises `TransitionError` for a change that the table does not hold.
        """
        if before is not None:
            check_transition(before, after)
            self.counts[before.value] -= number
        self.counts[after.value] += number

    def spend(self, totals: Totals) -> None:
        """Add what an attempt used."""
        for name in _TOTAL_FIELDS:
            if value := getattr(totals, name):
                self.totals[name] += value

    def flush(self) -> None:
        changes = {name: value for name, value in (self.counts | self.totals).items() if value}
        if changes:
            assignments = ", ".join(f"{name} = {name} + ?" for name in changes)
            self.connection.execute(f"UPDATE totals SET {assignments}", tuple(changes.values()))


assert set(STATE_COLUMNS) == {state.value for state in TaskState}

Batch = Callable[[Transaction, Sequence[Any]], Sequence[Any]]
"""Runs all requests of one kind; returns one result each, in order."""


@dataclass(slots=True)
class _Request:
    run: Batch
    item: Any
    future: asyncio.Future[Any] | concurrent.futures.Future[Any]
    loop: asyncio.AbstractEventLoop | None
    alone: bool = False


class GroupCommitWriter:
    """Takes requests from any thread or loop and answers them after a durable commit.

    `busy_limit_s`: how long another program may hold the database before `StoreWriteError` is raised.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, *, busy_limit_s: float) -> None:
        self._connection = connection
        self._path = path
        self._busy_limit_s = busy_limit_s
        self._requests: queue.SimpleQueue[list[_Request] | None] = queue.SimpleQueue()
        self._gathered: dict[asyncio.AbstractEventLoop, list[_Request]] = {}
        self._closed = False
        self._closing = threading.Lock()
        self.busy_since: float | None = None
        self.commits = 0
        self._thread = threading.Thread(target=self._serve, name="agentdash-store", daemon=True)
        self._thread.start()

    def submit(self, run: Batch, item: Any, *, alone: bool = False) -> Write[Any]:
        """Queue a request from the running event loop.

        Requests of one turn of the loop go to the thread together: fifty workers whose tasks end at once wait for one
        commit, and the thread does not fight the loop for the interpreter lock meanwhile. `alone`: in a transaction of
        its own, because `item` can be read only once and so not be tried again after a neighbour failed.
        """
        if self._closed:
            raise StoreError("the store is closed")
        loop = asyncio.get_running_loop()
        future: Write[Any] = Write(loop=loop)
        gathered = self._gathered.get(loop)
        if gathered is None:
            gathered = self._gathered[loop] = []
            loop.call_soon(self._hand_over, loop)
        gathered.append(_Request(run, item, future, loop, alone))
        return future

    def submit_and_wait(self, run: Batch, item: Any) -> Any:
        """Queue a request and block until it is committed; for callers without an event loop."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        with self._closing:  # after the end mark nobody would answer
            if self._closed:
                raise StoreError("the store is closed")
            self._requests.put([_Request(run, item, future, None)])
        return future.result()

    def close(self) -> None:
        """Commit what is queued, then end the thread."""
        if not self._closed:
            with self._closing:
                self._closed = True
                for loop in list(self._gathered):
                    self._hand_over(loop)
                self._requests.put(None)
            self._thread.join()

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        if gathered := self._gathered.pop(loop, None):
            self._requests.put(gathered)

    def _serve(self) -> None:
        closing = False
        while not closing:
            batch: list[_Request] = []
            requests = self._requests.get()
            while requests is not None:
                batch += requests
                if len(batch) >= MAX_BATCH:
                    break
                try:
                    requests = self._requests.get_nowait()
                except queue.Empty:
                    break
            closing = requests is None
            for part in _parts(batch):
                self._answer(part)

    def _answer(self, batch: list[_Request]) -> None:
        try:
            outcomes: list[tuple[Any, BaseException | None]] = [(r, None) for r in self._commit(batch)]
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the request
            # One bad request must not fail its neighbours. A broken disk fails them all alike.
            if len(batch) > 1 and not _fails_all(error):
                for request in batch:
                    self._answer([request])
                return
            outcomes = [(None, error)] * len(batch)
        _resolve(batch, outcomes)

    def _commit(self, batch: list[_Request]) -> list[Any]:
        groups: dict[Batch, list[int]] = {}
        for index, request in enumerate(batch):
            groups.setdefault(request.run, []).append(index)
        results: list[Any] = [None] * len(batch)
        try:
            self._begin()
            transaction = Transaction(self._connection)
            for run, indexes in groups.items():
                answers = run(transaction, [batch[i].item for i in indexes])
                for index, answer in zip(indexes, answers, strict=True):
                    results[index] = answer
            transaction.flush()
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._rollback()
            if isinstance(error, sqlite3.Error):
                raise translate(error, self._path) from error
            raise
        self.commits += 1
        return results

    def _begin(self) -> None:
        started = time.monotonic()
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                self.busy_since = self.busy_since or started
                if time.monotonic() - started > self._busy_limit_s:
                    raise
            else:
                self.busy_since = None
                return

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                # SQLite rolls back by itself after an I/O error; the next BEGIN tells if it did not.
                return


def _parts(batch: list[_Request]) -> list[list[_Request]]:
    """A batch, without what wants a transaction of its own."""
    if not any(request.alone for request in batch):
        return [batch] if batch else []
    together: list[_Request] = []
    parts = [together]
    for request in batch:
        if request.alone:
            together = []
            parts += [[request], together]
        else:
            together.append(request)
    return [part for part in parts if part]


def _fails_all(error: Exception) -> bool:
    """Whether the database or the disk is at fault, and not what one request asked for."""
    cause = error.__cause__
    return isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 0) & 0xFF not in _FAULTS_OF_ONE


def _resolve(batch: Sequence[_Request], outcomes: Sequence[tuple[Any, BaseException | None]]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop | None, list[tuple[Any, Any, BaseException | None]]] = {}
    for request, (result, error) in zip(batch, outcomes, strict=True):
        by_loop.setdefault(request.loop, []).append((request.future, result, error))
    for loop, answers in by_loop.items():
        if loop is None:
            _set(answers)
        elif not loop.is_closed():
            try:
                loop.call_soon_threadsafe(_set, answers)
            except RuntimeError:
                continue  # the loop closed in between: nobody is left to wait


def _set(answers: Sequence[tuple[Any, Any, BaseException | None]]) -> None:
    for future, result, error in answers:
        if future.done():  # a blocking caller gave up; the write stands
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
