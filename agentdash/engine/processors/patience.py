"""How long an answer is waited for: in time in which this process ran.

A process that was stopped (Ctrl+Z, SIGSTOP, a frozen container) finds its timers over and its answers waiting in the
sockets, and a plain timeout gives up answers that are there and paid for.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

_STOPPED_S = 0.1
"""A timer that is later than this was not let run."""


class Patience:
    """A context like `asyncio.timeout_at`: `TimeoutError` when the time is over, but that a wait begins anew where the
    process was stopped meanwhile.

    `ends` bounds all waits together, and moves on by the whole of a wait in which the process was stopped: how much of
    that it ran is not known. Monotonic seconds of the running loop.
    """

    def __init__(self, at: float, *, ends: float) -> None:
        self.ends = ends
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        self._since = self._wait_s = self._at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.wait_until(at)

    async def __aenter__(self) -> Patience:
        await self._timeout.__aenter__()
        self._arm()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._disarm()
        await self._timeout.__aexit__(kind, error, traceback)  # raises what there is to raise

    @property
    def is_over(self) -> bool:
        """Whether the time is over, and the body about to be told."""
        return self._timeout.expired()

    def wait_until(self, at: float) -> None:
        """Wait until then at the longest, or `ends`; cheap, so that it may be moved with every event."""
        self._since = self._loop.time()
        self._wait_s = at - self._since
        self._at = min(at, self.ends)
        if self._timer is not None and self._at < self._timer.when():
            self._arm()

    def _arm(self) -> None:
        self._disarm()
        self._timer = self._loop.call_at(self._at, self._look)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        timer, self._timer = self._timer, None
        now = self._loop.time()
        late = now - timer.when() if timer is not None else 0.0
        if late > _STOPPED_S:
            self.ends += now - self._since
            self.wait_until(now + self._wait_s)
        if now < self._at:
            self._arm()
        elif not self._timeout.expired():
            self._timeout.reschedule(now)
