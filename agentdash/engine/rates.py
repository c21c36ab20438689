"""How fast a run is and when it will be done: from the finished tasks of the last seconds."""

from __future__ import annotations

from collections import deque

_WINDOW_S = 30.0


class RateMeter:
    """Tasks a second over a sliding window. Fed with (monotonic time, tasks finished so far)."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def update(self, now: float, finished: int) -> None:
        """Take one sample."""
        self._samples.append((now, finished))
        while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()

    @property
    def per_second(self) -> float:
        """Tasks a second; 0 before there are two samples."""
        if len(self._samples) < 2:
            return 0.0
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return max(0.0, (after - before) / (end - start)) if end > start else 0.0

    def eta_s(self, unfinished: int) -> float | None:
        """Seconds until all are done at this rate; None while nothing moves."""
        rate = self.per_second
        return unfinished / rate if rate > 0 and unfinished else (0.0 if not unfinished else None)
