"""Workers without a task: each waits to be told, or until it is time to look by itself."""

from __future__ import annotations

import asyncio


class Waiters:
    """They are told whether there may be work (True), or just fewer tasks left (False)."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[bool], None] = {}

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    async def wait(self, timeout: float | None) -> bool | None:
        """Wait to be told; returns what, None when the time is over (seconds; None: never)."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            return None
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.wake_one(is_work=waiter.result())  # what this one was told is for somebody who stays
            raise
        finally:
            self._waiting.pop(waiter, None)

    def wake_all(self, *, is_work: bool = True) -> None:
        """Tell everybody."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(is_work)
        self._waiting.clear()

    def wake_one(self, *, is_work: bool = False) -> None:
        """Tell one: that a task has ended and left no work, so one of hundreds that wait looks whether it was the last;
        or that there is work for one."""
        while self._waiting:
            waiter, _ = self._waiting.popitem()
            if not waiter.done():
                waiter.set_result(is_work)
                return
