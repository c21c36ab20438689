"""The servers of the pacing tests: organisations with real bucket arithmetic, honest and other headers, and the time
that nobody can do better than."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from agentdash.engine.cost import ONE_REQUEST, Cost
from agentdash.engine.limitheaders import INPUT_TOKENS, OUTPUT_TOKENS, REQUESTS, LimitReading, Standing
from agentdash.simulator.bucket import Cost as Charge
from agentdash.simulator.bucket import Limit, OrganizationBuckets

Headers = Literal["bucket", "minute", "none", "lies"]
RetryAfter = Literal["seconds", "none", "long"]
LONG_S = 60.0
"""What a server says that names far too long a wait."""


@dataclass(slots=True)
class WorldClock:
    """Time that is set by the next event."""

    time: float = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


@dataclass(frozen=True, slots=True)
class Org:
    """One organisation's limits, and how its server tells them.

    `headers`: what is left of the bucket ("bucket"), of the minute's figure ("minute"), always everything ("lies"), or
    nothing at all. `retry_after`: as the API says it, not at all, or `LONG_S` however short it could be. `changes`:
    (seconds after the start, factor on the limits from then on).
    """

    requests: Limit | None = None
    input_tokens: Limit | None = None
    output_tokens: Limit | None = None
    headers: Headers = "bucket"
    retry_after: RetryAfter = "seconds"
    changes: tuple[tuple[float, float], ...] = ()

    @property
    def limits(self) -> tuple[Limit | None, Limit | None, Limit | None]:
        return self.requests, self.input_tokens, self.output_tokens


@dataclass(frozen=True, slots=True)
class Task:
    """What a request takes, and what was thought that it would take."""

    input_tokens: float = 0.0
    output_tokens: float = 0.0
    estimate: Cost = ONE_REQUEST


@dataclass(slots=True, eq=False)
class Server:
    """One organisation's side. The times are those of the world's clock."""

    org: Org
    clock: WorldClock
    buckets: OrganizationBuckets = field(init=False)
    admitted_at: list[float] = field(default_factory=list)
    rejected_at: list[float] = field(default_factory=list)
    _minute: deque[tuple[float, float, float]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.buckets = OrganizationBuckets(self.clock, *self.org.limits)

    def change(self, factor: float) -> None:
        """Other limits from now on; no bucket becomes larger than it was at first."""
        requests, input_tokens, output_tokens = (_times(limit, factor) for limit in self.org.limits)
        self.buckets.change(requests, input_tokens, output_tokens)

    def arrive(self, task: Task) -> tuple[float | None, LimitReading]:
        """None or the seconds until it would be admitted; and the headers."""
        now = self.clock.time
        short = self.buckets.admit(Charge(1, task.input_tokens, task.output_tokens))
        if short is None:
            self.admitted_at.append(now)
            self._minute.append((now, task.input_tokens, task.output_tokens))
            return None, self._reading()
        self.rejected_at.append(now)
        return short[1], self._reading()

    def _reading(self) -> LimitReading:
        if self.org.headers == "none":
            return LimitReading()
        while self._minute and self._minute[0][0] < self.clock.time - 60:
            self._minute.popleft()
        used = (float(len(self._minute)), sum(m[1] for m in self._minute), sum(m[2] for m in self._minute))
        standings = {}
        buckets = (self.buckets.requests, self.buckets.input_tokens, self.buckets.output_tokens)
        for number, (name, bucket) in enumerate(zip((REQUESTS, INPUT_TOKENS, OUTPUT_TOKENS), buckets, strict=True)):
            if bucket is None:
                continue
            limit = float(int(bucket.limit.per_minute))
            left = float(max(0, int(bucket.level())))
            if self.org.headers == "minute":
                left = max(0.0, limit - used[number])
            elif self.org.headers == "lies":
                left = limit
            if number and limit >= 10_000:
                left = float(round(left, -3))
            standings[name] = Standing(limit, left)
        return LimitReading("org", None, standings)


def ideal(orgs: Sequence[Org], tasks: Sequence[Task]) -> float:
    """Seconds that nobody can do better: buckets full at the start, and never an idle moment."""
    needs = (len(tasks), sum(t.input_tokens for t in tasks), sum(t.output_tokens for t in tasks))
    best = 0.05
    for number, need in enumerate(needs):
        limits = [(limit, org) for org in orgs if (limit := org.limits[number]) is not None]
        if len(limits) == len(orgs):
            best = max(best, _time_for(need, limits))
    return best


def _time_for(need: float, limits: Sequence[tuple[Limit, Org]]) -> float:
    low, high = 0.0, 1e7
    for _ in range(60):
        middle = (low + high) / 2
        given = 0.0
        for limit, org in limits:
            steps = [(0.0, 1.0), *org.changes, (math.inf, 1.0)]
            given += limit.capacity
            for (begin, factor), (end, _) in itertools.pairwise(steps):
                given += max(0.0, min(middle, end) - begin) * limit.per_second * factor
        low, high = (low, middle) if given >= need else (middle, high)
    return high


def _times(limit: Limit | None, factor: float) -> Limit | None:
    return Limit(limit.per_minute * factor, limit.capacity * min(1.0, factor)) if limit is not None else None
