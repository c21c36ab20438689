"""A clock that stands still until a test moves it."""

from __future__ import annotations


class FakeClock:
    """`agentdash.clock.Clock` for tests: wall clock and monotonic clock move together, sleeping moves them."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += max(0.0, seconds)

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        self.time += seconds
