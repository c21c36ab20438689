"""The rate-limit headers: what a server says of its buckets, which need not be what is in them."""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import Final

from agentdash.clock import Clock
from agentdash.simulator.bucket import Cost, OrganizationBuckets, TokenBucket
from agentdash.simulator.config import Remaining
from agentdash.simulator.wire import rfc3339

LONGEST_WAIT_S: Final = 86_400
_ROUNDED_ABOVE: Final = 10_000
_MINUTE_S: Final = 60.0
_LYING_STEP_S, _LYING_SPAN_S = 37, 61


class Standing:
    """One organisation's `anthropic-ratelimit-*` headers, and what was admitted in the last minute."""

    def __init__(self, buckets: OrganizationBuckets, clock: Clock) -> None:
        self._buckets = buckets
        self._clock = clock
        self._admitted: deque[tuple[float, Cost]] = deque()
        self._used = Cost(0)
        self._lies = 0

    def admitted(self, cost: Cost) -> None:
        """Count `cost` towards this minute; needed only while `remaining` is `minute`."""
        self._forget()
        self._admitted.append((self._clock.monotonic(), cost))
        self._used = _sum(self._used, cost, 1)

    def headers(self, remaining: Remaining) -> bytes:
        """The documented lines; `tokens` is input and output together."""
        now = self._clock.now()
        left_of = partial(self._left, remaining)
        if remaining == "minute":
            self._forget()
        elif remaining == "lies":
            self._lies += 1
        buckets, used = self._buckets, self._used
        lines: list[str] = []
        if buckets.requests is not None:
            lines.append(_lines("requests", *left_of(buckets.requests, used.requests), now))
        tokens: list[tuple[int, int, float]] = []
        for name, bucket, amount in (
            ("input-tokens", buckets.input_tokens, used.input_tokens),
            ("output-tokens", buckets.output_tokens, used.output_tokens),
        ):
            if bucket is not None:
                limit, left, full_in = left_of(bucket, amount)
                tokens.append((limit, round(left, -3) if limit >= _ROUNDED_ABOVE else left, full_in))
                lines.append(_lines(name, *tokens[-1], now))
        if tokens:
            limits, lefts, waits = zip(*tokens, strict=True)
            lines.append(_lines("tokens", sum(limits), sum(lefts), max(waits), now))
        return "".join(lines).encode()

    def _left(self, remaining: Remaining, bucket: TokenBucket, used: float) -> tuple[int, int, float]:
        """Limit a minute, what is said to remain, seconds until that is said to be full."""
        limit = int(bucket.limit.per_minute)
        match remaining:
            case "bucket":
                return limit, max(0, int(bucket.level())), bucket.full_in()
            case "minute":
                return limit, max(0, int(limit - used)), self._minute_ends_in()
            case "lies":
                return limit, limit, -float(self._lies * _LYING_STEP_S % _LYING_SPAN_S)

    def _minute_ends_in(self) -> float:
        """Seconds until nothing was admitted in the minute before."""
        return self._admitted[-1][0] + _MINUTE_S - self._clock.monotonic() if self._admitted else 0.0

    def _forget(self) -> None:
        earliest = self._clock.monotonic() - _MINUTE_S
        while self._admitted and self._admitted[0][0] <= earliest:
            self._used = _sum(self._used, self._admitted.popleft()[1], -1)


def _sum(one: Cost, other: Cost, sign: int) -> Cost:
    return Cost(
        one.requests + sign * other.requests,
        one.input_tokens + sign * other.input_tokens,
        one.output_tokens + sign * other.output_tokens,
    )


def _lines(name: str, limit: int, left: int, full_in: float, now: float) -> str:
    reset = rfc3339(math.ceil(now + min(full_in, LONGEST_WAIT_S)))
    return (
        f"anthropic-ratelimit-{name}-limit: {limit}\r\n"
        f"anthropic-ratelimit-{name}-remaining: {left}\r\n"
        f"anthropic-ratelimit-{name}-reset: {reset}\r\n"
    )
