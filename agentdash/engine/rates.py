"""How fast a run is and when it will be done: from the finished tasks of the last seconds."""

from __future__ import annotations

import math
from collections import deque

_WINDOW_S = 30.0
HISTORY_S = 60


class RateMeter:
    """Tasks a second over a sliding window of time in which work was possible.

    While every key cools, or the run is paused, and nothing runs, the window stands still: that says nothing about how
    fast the run is when it may go on. So the rate neither falls in a cooldown nor has to climb again after it.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()  # (seconds in which work was possible, finished so far)
        self._seconds: deque[int] = deque([0] * HISTORY_S, maxlen=HISTORY_S)
        self._second: int | None = None
        self._sampled_at: tuple[float, float] | None = None
        self._working_s = 0.0
        self._limited_s = 0.0
        self._is_paced = False

    def pace(self, seconds: float, *, is_paced: bool) -> None:
        """What the limits make of it: what is pending takes at least so long (infinite: nobody knows); `is_paced` if
        they are what holds it up, so that it takes just as long."""
        self._limited_s = seconds if seconds < math.inf else 0.0
        self._is_paced = is_paced and seconds < math.inf

    def update(self, now: float, finished: int, *, wall: float = 0.0, held: bool = False) -> None:
        """Take one sample. `now` is monotonic, `wall` the same moment since the epoch, `finished` all so far.

        `held`: nothing could be done since the last sample.
        """
        before = self._samples[-1][1] if self._samples else finished
        if self._sampled_at is not None and not held:
            self._working_s += max(0.0, now - self._sampled_at[0])
        self._sampled_at = (now, wall)
        if held and self._samples:
            self._samples[-1] = (self._samples[-1][0], finished)
        else:
            self._samples.append((self._working_s, finished))
        while len(self._samples) > 2 and self._working_s - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()
        self._count(now, max(0, finished - before))

    def restart(self) -> None:
        """A new run begins: how fast the last one was, and the time between the two, says nothing about it."""
        self._samples.clear()
        self._sampled_at = None

    @property
    def per_second(self) -> float:
        """Tasks a second; 0 before there are two samples."""
        if len(self._samples) < 2:
            return 0.0
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return max(0.0, (after - before) / (end - start)) if end > start else 0.0

    @property
    def history(self) -> tuple[int, ...]:
        """The tasks finished in each of the last 60 seconds, oldest first; the last one is not over yet."""
        return tuple(self._seconds)

    def done_at(self, unfinished: int, waiting_until: float | None = None) -> float | None:
        """When all will be done (seconds since the epoch): at this rate from now on, or from the end of a wait on.

        Now is the last sample, so that the answer stays the same between two. None while nothing moves.
        """
        rate = self.per_second
        if self._sampled_at is None or not unfinished or (rate <= 0 and not self._is_paced):
            return None
        wall = self._sampled_at[1]
        by_limits = wall + self._limited_s
        if self._is_paced:
            return by_limits
        return max(by_limits, max(wall, waiting_until or wall) + unfinished / rate)

    def _count(self, now: float, finished: int) -> None:
        """Add to the present second, after as many empty ones as have gone by."""
        second = math.floor(now)
        if self._second is not None:
            self._seconds.extend([0] * min(max(0, second - self._second), HISTORY_S))
        self._second = second
        self._seconds[-1] += finished
