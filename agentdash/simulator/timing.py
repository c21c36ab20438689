"""The server's own time: a clock that may be wrong, and how old the run is."""

from __future__ import annotations

from agentdash.clock import Clock


class ShiftedClock:
    """A clock whose time of day is `offset_s` seconds off (above 0: ahead). Durations and waits are right."""

    __slots__ = ("_clock", "_offset_s")

    def __init__(self, clock: Clock, offset_s: float) -> None:
        self._clock = clock
        self._offset_s = offset_s

    def now(self) -> float:
        return self._clock.now() + self._offset_s

    def monotonic(self) -> float:
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


class Stopwatch:
    """What storms and changes of limits are timed by: seconds since the server's start, or since its first request."""

    __slots__ = ("_clock", "_started_at")

    def __init__(self, clock: Clock, *, waits: bool = False) -> None:
        self._clock = clock
        self._started_at = None if waits else clock.monotonic()

    def begin(self) -> None:
        """A request has come; only the first one of a stopwatch that waits counts."""
        if self._started_at is None:
            self._started_at = self._clock.monotonic()

    def age(self) -> float:
        """Seconds; 0 until it has begun."""
        return 0.0 if self._started_at is None else self._clock.monotonic() - self._started_at

    def moment(self, age: float) -> float:
        """The clock's monotonic time at `age`."""
        return (self._clock.monotonic() if self._started_at is None else self._started_at) + age
