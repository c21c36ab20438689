"""The last bulk action, for as long as it can be taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from agentdash.clock import Clock
from agentdash.engine.events import EventLog
from agentdash.engine.manager import TaskStateManager
from agentdash.errors import StoreError
from agentdash.model import UndoView

UNDO_S = 10.0


class LastAction:
    """Remembers in words what the store remembers in rows, and forgets both when the time is over."""

    def __init__(self, manager: TaskStateManager, events: EventLog, clock: Clock) -> None:
        self._manager = manager
        self._events = events
        self._clock = clock
        self._view: UndoView | None = None
        self._cancelled: frozenset[str] = frozenset()
        self._timer: asyncio.Task[None] | None = None

    @property
    def view(self) -> UndoView | None:
        """What can be taken back now."""
        return self._view if self._view is not None and self._clock.now() < self._view.until else None

    @contextmanager
    def doing(self) -> Iterator[None]:
        """While a bulk action is written nothing is forgotten: the store might have taken the new one by then."""
        self._stop_timer()
        try:
            yield
        finally:
            self._start_timer()

    def remember(self, text: str, cancelled: Collection[str] = ()) -> None:
        """Something was done that can be taken back; `cancelled` are the ids of tasks that shall not run."""
        self._view = UndoView(text, self._clock.now() + UNDO_S)
        self._cancelled = frozenset(cancelled)

    async def undo(self) -> tuple[int, int]:
        """Take it back; (put back, gone on), which is nothing when the time is over."""
        view = self.view
        if view is None:
            return 0, 0
        self._stop_timer()
        self._view = None
        # Those that are just being stopped: how they end is decided when they do.
        self._manager.withdraw_cancel(self._cancelled)
        restored, gone_on = await self._manager.store.undo()
        self._manager.reorder()
        rest = f", {gone_on:,} had gone on" if gone_on else ""
        self._events.emit("undone", f"undone ({view.text}): {restored:,} put back{rest}")
        return restored, gone_on

    async def close(self) -> None:
        """Forget it; the store is about to close."""
        timer = self._timer
        self._stop_timer()
        if timer is not None:
            await asyncio.gather(timer, return_exceptions=True)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _start_timer(self) -> None:
        if self._view is not None and self._timer is None:
            self._timer = asyncio.create_task(self._forget_at(self._view.until), name="agentdash-undo")

    async def _forget_at(self, until: float) -> None:
        await self._clock.sleep(max(0.0, until - self._clock.now()))
        self._view, self._cancelled, self._timer = None, frozenset(), None
        with suppress(StoreError):  # it only takes up memory; a broken store is told by others
            await self._manager.store.drop_undo()
