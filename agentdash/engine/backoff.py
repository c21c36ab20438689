"""How long to wait after failures: a pure, clamped delay, and its form that all workers of a server share."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from agentdash.clock import SYSTEM_CLOCK, Clock

_LIMITED_BASE_S = 1.0
_LIMITED_MAX_S = 60.0
_PROBES = 5
"""How many workers try within one wait for a server that is down."""
_SPREAD = 0.5
"""Over how much of the wait the others are spread behind its end."""
_MAX_EXPONENT = 62  # 2.0 ** 62 is far beyond any delay and far below overflow


def backoff_delay(failures: int, base_delay: float, max_delay: float) -> float:
    """Seconds to wait after `failures` failures in a row: none, then base, doubled each time, at most `max_delay`."""
    if failures <= 0:
        return 0.0
    return min(base_delay * 2.0 ** min(failures - 1, _MAX_EXPONENT), max_delay)


class AdaptiveBackoff:
    """Exponential delay with jitter that adapts to the failures in a row.

    `base_delay` and `max_delay` are seconds; `jitter_factor` 0 to 1 spreads the delay by that share both ways, never
    beyond `max_delay`. Raises `ValueError` for values out of range.
    """

    def __init__(
        self,
        base_delay: float = 1.0,
        max_delay: float = 60.0,
        jitter_factor: float = 0.1,
        *,
        clock: Clock = SYSTEM_CLOCK,
        rng: Callable[[], float] = random.random,
    ) -> None:
        if not (0 <= base_delay <= max_delay < math.inf and 0 <= jitter_factor <= 1):
            raise ValueError("need 0 <= base_delay <= max_delay (finite) and 0 <= jitter_factor <= 1")
        self.base_delay = base_delay
        self.max_delay = max_delay
        self.jitter_factor = jitter_factor
        self.consecutive_failures = 0
        self._clock = clock
        self._rng = rng

    def get_delay(self) -> float:
        """Seconds to wait now: 0 after a success, never more than `max_delay`. Drawn anew at each call."""
        delay = backoff_delay(self.consecutive_failures, self.base_delay, self.max_delay)
        spread = delay * self.jitter_factor * (2 * self._rng() - 1)
        return min(max(0.0, delay + spread), self.max_delay)

    def record_failure(self) -> None:
        """Lengthen the delay."""
        self.consecutive_failures += 1

    def record_success(self) -> None:
        """Back to no delay."""
        self.consecutive_failures = 0

    async def wait(self) -> None:
        """Wait for the present delay."""
        await self._clock.sleep(self.get_delay())


class ServiceBackoff:
    """One server's backoff, shared by all workers that ask it.

    Failures that stand alone among answers hold nobody up. When `threshold` come with no answer between them, the
    server is taken to be down: all workers wait, but for a few probes at random moments of the wait (full jitter), and
    the first answer frees them all. So a server that is back is found after a fraction of the wait, which doubles with
    each one that was in vain, and is asked a few times in each however many workers there are. Requests that were on
    their way before a wait began cannot lengthen it: one wave of failures counts once.
    """

    def __init__(
        self,
        *,
        threshold: int = 3,
        base_delay: float = 1.0,
        max_delay: float = 60.0,
        clock: Clock = SYSTEM_CLOCK,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.backoff = AdaptiveBackoff(base_delay, max_delay, clock=clock, rng=rng)
        self.reason: str | None = None
        self._threshold = threshold
        self._clock = clock
        self._rng = rng
        self._failures_in_a_row = 0
        self._since = 0.0
        self._until = 0.0
        self._failing: set[int] = set()
        self._probes = 0
        self._limited_in_a_row = 0
        self._limited_since = -math.inf
        self._limited_until = 0.0
        self._starts: dict[str, float] = {}

    @property
    def is_down(self) -> bool:
        """Whether the server is taken to be down: failures came in a row and no answer since."""
        return self.backoff.consecutive_failures > 0

    @property
    def is_calm(self) -> bool:
        """Whether nobody has to wait for it at all."""
        return not self.is_down and self._limited_until <= self._clock.monotonic()

    @property
    def until(self) -> float | None:
        """Monotonic time at which the present wait ends, None if there is none."""
        until = max(self._until, self._limited_until)
        return until if until > self._clock.monotonic() else None

    @property
    def is_down_for_many(self) -> bool:
        """Whether it is down, and more than one task has met that: then no task is the cause."""
        return self.is_down and len(self._failing) > 1

    def record_failure(self, sent_at: float, reason: str, task: int = 0, worker: str = "") -> None:
        """A request that was sent at `sent_at` (monotonic) met an overloaded, broken or unreachable server."""
        self._failures_in_a_row += 1
        self._starts.pop(worker, None)
        if len(self._failing) < 2:
            self._failing.add(task)
        now = self._clock.monotonic()
        if self._failures_in_a_row < self._threshold or sent_at < self._since or now < self._until:
            return
        self.backoff.record_failure()
        self.reason = reason
        self._since = now
        self._until = now + self.backoff.get_delay()
        self._probes = 0
        self._starts.clear()

    def record_limited(self, sent_at: float, retry_after: float | None) -> None:
        """A rate limit that belongs to no credential of ours (a user's function brings its own client).

        Everybody waits until it says, the latest deadline wins; where it says nothing the wait doubles, once a wave.
        """
        now = self._clock.monotonic()
        if sent_at > self._limited_since:
            self._limited_in_a_row += 1
            self._limited_since = now
        wait = retry_after or backoff_delay(self._limited_in_a_row, _LIMITED_BASE_S, _LIMITED_MAX_S)
        self._limited_until = max(self._limited_until, now + wait)
        self.reason = "rate limit"

    def record_success(self) -> None:
        """The server answered: everybody may go on."""
        self._failures_in_a_row = 0
        self._failing.clear()
        self._limited_in_a_row = 0
        self.reason = None
        if self.backoff.consecutive_failures:
            self.backoff.record_success()
            self._until = self._since = 0.0

    def start_for(self, worker: str, *, probing: bool = False) -> float | None:
        """When (monotonic) a worker may try again, None if it may now. One that probes waits for a rate limit only.

        Each worker draws one moment and keeps it until it has failed: the first few within the rest of the wait, as
        probes; the others one by one after its end. The first of those that fails makes a new wait, with new draws.
        """
        now = self._clock.monotonic()
        if self._limited_until > now:
            return self._limited_until
        if not self.is_down or probing:
            return None
        start = self._starts.get(worker)
        if start is None:
            wait = self._until - self._since
            if self._probes < _PROBES and now < self._until:
                self._probes += 1
                start = now + (self._until - now) * self._rng()
            else:
                start = max(now, self._until) + wait * _SPREAD * self._rng()
            self._starts[worker] = start
        return start if start > now else None
