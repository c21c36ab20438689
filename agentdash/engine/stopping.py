"""How a run ends, and how it is asked to: a drain that can be taken back, and an abort that cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum

from agentdash.clock import Clock
from agentdash.engine.pool import ParallelSessionManager


class End(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    DRAINED = "drained"
    STALLED = "stalled"
    LIMITED = "limited"
    """A limit of what the session may use up is reached; tasks are left."""


class Stopping:
    """What was asked of one run. `until` is when a drain becomes an abort (seconds since the epoch).

    `on_change` is called when somebody asks: a run that waits for tasks ends.
    """

    def __init__(
        self, pool: ParallelSessionManager, timeout_s: float, clock: Clock, on_change: Callable[[], None]
    ) -> None:
        self.is_asked = False
        self.until: float | None = None
        self._is_final = False
        self._pool = pool
        self._timeout_s = timeout_s
        self._clock = clock
        self._on_change = on_change
        self._timer: asyncio.Task[None] | None = None

    def drain(self) -> None:
        """Let the running tasks end, at the latest when the timeout is over. Asking again changes nothing."""
        self.is_asked = True
        self._pool.drain()
        if self._timer is None:
            self.until = self._clock.now() + self._timeout_s
            self._timer = asyncio.create_task(self._abort_later(), name="agentdash-drain")
        self._on_change()

    @property
    def can_be_taken_back(self) -> bool:
        """Whether a drain was asked for, and no abort."""
        return self.is_asked and not self._is_final

    def take_back(self) -> None:
        """Go on as if no drain had been asked for."""
        self.is_asked, self.until = False, None
        self._stop_timer()

    def abort(self) -> None:
        """Stop at once; running tasks go back to pending."""
        self.is_asked = self._is_final = True
        self._pool.abort()
        self._on_change()

    def reset(self) -> None:
        """The run has ended: the next one begins with nothing asked of it."""
        self.is_asked, self._is_final, self.until = False, False, None
        self._stop_timer()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    async def _abort_later(self) -> None:
        await self._clock.sleep(self._timeout_s)
        self.abort()
