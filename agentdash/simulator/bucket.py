"""Limits as the public API enforces them: buckets that refill continuously, so bursts fail below the minute's figure.

Pure arithmetic over an injected clock; the server asks it before every answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from agentdash.clock import Clock
from agentdash.errors import UsageError


@dataclass(frozen=True, slots=True)
class Limit:
    """`per_minute` is what is advertised and the refill rate; `burst` the bucket's size (default: 10 s of it)."""

    per_minute: float
    burst: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.per_minute) and self.per_minute >= 0):
            raise UsageError(f"limit: per_minute must be a finite number of at least 0, not {self.per_minute}")
        if self.burst is not None and not (math.isfinite(self.burst) and self.burst >= 0):
            raise UsageError(f"limit: burst must be a finite number of at least 0, not {self.burst}")

    @property
    def capacity(self) -> float:
        return max(1.0, self.per_minute / 6) if self.burst is None else self.burst

    @property
    def per_second(self) -> float:
        return self.per_minute / 60

    def times(self, factor: float) -> Limit:
        """Rate and size both by `factor`."""
        return Limit(self.per_minute * factor, None if self.burst is None else self.burst * factor)


class TokenBucket:
    """One bucket. Starts full.

    A cost above the capacity is admitted from a full bucket and leaves a debt; otherwise it could never be admitted.
    """

    __slots__ = ("_clock", "_level", "_limit", "_updated_at")

    def __init__(self, limit: Limit, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._level = limit.capacity
        self._updated_at = clock.monotonic()

    @property
    def limit(self) -> Limit:
        return self._limit

    def level(self) -> float:
        """What is in the bucket now; negative while in debt."""
        return self._level_at(self._clock.monotonic())

    def _level_at(self, now: float) -> float:
        elapsed = now - self._updated_at
        if elapsed > 0:
            self._level = min(self._limit.capacity, self._level + elapsed * self._limit.per_second)
            self._updated_at = now
        return self._level

    def wait_for(self, cost: float) -> float:
        """Seconds until `cost` would be admitted: 0 now, `inf` if never."""
        if cost <= 0:
            return 0.0
        capacity = self._limit.capacity
        return self._time_to(min(cost, capacity)) if capacity > 0 else math.inf

    def take(self, cost: float) -> None:
        """Remove `cost`; the caller has asked `wait_for` first."""
        self._level = self.level() - max(0.0, cost)

    def full_in(self) -> float:
        """Seconds until the bucket is full again."""
        return self._time_to(self._limit.capacity)

    def change(self, limit: Limit, at: float | None = None) -> None:
        """New rate and size from now on; what is in the bucket stays, up to the new size.

        `at`: a monotonic time since the bucket was last looked at, from which on the change counts.
        """
        self._level = min(self.level() if at is None else self._level_at(at), limit.capacity)
        self._limit = limit

    def _time_to(self, target: float) -> float:
        missing = target - self.level()
        if missing <= 1e-9:  # what float addition of many small refills may leave missing
            return 0.0
        rate = self._limit.per_second
        return missing / rate if rate > 0 else math.inf


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request takes from an organisation's buckets."""

    requests: float = 1
    input_tokens: float = 0
    output_tokens: float = 0


class OrganizationBuckets:
    """The three buckets of an organisation; a request is admitted by all of them or takes from none."""

    __slots__ = ("_clock", "input_tokens", "output_tokens", "requests")

    def __init__(
        self, clock: Clock, requests: Limit | None, input_tokens: Limit | None, output_tokens: Limit | None
    ) -> None:
        self._clock = clock
        self.requests = TokenBucket(requests, clock) if requests else None
        self.input_tokens = TokenBucket(input_tokens, clock) if input_tokens else None
        self.output_tokens = TokenBucket(output_tokens, clock) if output_tokens else None

    @property
    def unlimited(self) -> bool:
        return self.requests is None and self.input_tokens is None and self.output_tokens is None

    def change(
        self,
        requests: Limit | None,
        input_tokens: Limit | None,
        output_tokens: Limit | None,
        at: float | None = None,
    ) -> None:
        """New limits at run time. `None` removes one. `at`: as in `TokenBucket.change`."""
        self.requests = self._changed(self.requests, requests, at)
        self.input_tokens = self._changed(self.input_tokens, input_tokens, at)
        self.output_tokens = self._changed(self.output_tokens, output_tokens, at)

    def _changed(self, bucket: TokenBucket | None, limit: Limit | None, at: float | None) -> TokenBucket | None:
        if limit is None:
            return None
        if bucket is None:
            return TokenBucket(limit, self._clock)
        if limit != bucket.limit:
            bucket.change(limit, at)
        return bucket

    def admit(self, cost: Cost) -> tuple[str, float] | None:
        """Take `cost` and return None, or take nothing and return what is short and the seconds until it would do."""
        charges = (
            ("requests", self.requests, cost.requests),
            ("input tokens", self.input_tokens, cost.input_tokens),
            ("output tokens", self.output_tokens, cost.output_tokens),
        )
        short: tuple[str, float] | None = None
        for name, bucket, amount in charges:
            wait = bucket.wait_for(amount) if bucket is not None else 0.0
            if wait > 0 and (short is None or wait > short[1]):
                short = (name, wait)
        if short is not None:
            return short
        for _, bucket, amount in charges:
            if bucket is not None:
                bucket.take(amount)
        return None
