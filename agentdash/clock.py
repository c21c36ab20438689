"""Time as something passed in, so that tests move it instead of waiting for it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """Wall-clock time, monotonic time and sleeping."""

    def now(self) -> float:
        """Seconds since the epoch, UTC. May jump; used for what other processes or restarts must understand."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back. Used for durations inside one process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable. Zero or less yields once."""
        ...


class SystemClock:
    """The machine's own time."""

    __slots__ = ()

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


SYSTEM_CLOCK = SystemClock()


def isoformat(timestamp: float) -> str:
    """`timestamp` (seconds since the epoch) as ISO 8601 in UTC with its zone, e.g. `2026-11-21T02:41:00.123Z`."""
    second, millisecond = divmod(int(timestamp * 1000), 1000)
    return f"{_whole_second(second)}.{millisecond:03d}Z"


@lru_cache(maxsize=8)  # a running process writes thousands of times of the same second
def _whole_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
