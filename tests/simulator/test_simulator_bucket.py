"""The bucket's arithmetic, for any sequence of requests and pauses."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.errors import UsageError
from agentdash.simulator.bucket import Cost, Limit, OrganizationBuckets, TokenBucket

limits = st.builds(Limit, st.floats(1, 100_000), st.floats(1, 10_000))
steps = st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 500)), min_size=1, max_size=60)


class Moved:
    """A clock moved by assignment."""

    time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("a bucket never sleeps")


@given(limit=limits, steps=steps)
def test_admits_no_more_than_burst_and_refill(limit: Limit, steps: list[tuple[float, float]]) -> None:
    clock = Moved()
    bucket = TokenBucket(limit, clock)
    admitted = 0.0
    for pause, wanted in steps:
        clock.time += pause
        cost = min(wanted, limit.capacity)
        if bucket.wait_for(cost) == 0:
            bucket.take(cost)
            admitted += cost
        assert bucket.level() <= limit.capacity
        assert admitted <= limit.capacity + limit.per_second * clock.time + 1e-6 * (1 + admitted)


@given(limit=limits, steps=steps)
def test_the_stated_wait_is_enough_and_not_too_long(limit: Limit, steps: list[tuple[float, float]]) -> None:
    clock = Moved()
    bucket = TokenBucket(limit, clock)
    for _, cost in steps:
        wait = bucket.wait_for(cost)
        if wait > 1e-6:
            clock.time += wait * 0.99
            assert bucket.wait_for(cost) > 0
            clock.time += wait * 0.011 + 1e-6
        assert bucket.wait_for(cost) == 0
        bucket.take(cost)


@given(limit=limits, cost=st.floats(0.1, 50_000))
def test_an_oversized_request_is_admitted_from_a_full_bucket_and_paid_back(limit: Limit, cost: float) -> None:
    clock = Moved()
    bucket = TokenBucket(limit, clock)
    assert bucket.wait_for(cost) == 0
    bucket.take(cost)
    assert bucket.level() == pytest.approx(limit.capacity - cost)
    clock.time += bucket.full_in()
    assert bucket.level() == pytest.approx(limit.capacity)


@given(before=limits, after=limits, pause=st.floats(0, 60))
def test_a_changed_limit_neither_fills_nor_overfills(before: Limit, after: Limit, pause: float) -> None:
    clock = Moved()
    bucket = TokenBucket(before, clock)
    bucket.take(before.capacity)
    clock.time += pause
    level = bucket.level()
    bucket.change(after)
    assert bucket.level() == min(level, after.capacity)


@given(costs=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=1, max_size=40))
def test_a_refused_request_takes_from_no_bucket(costs: list[tuple[int, int]]) -> None:
    clock = Moved()
    buckets = OrganizationBuckets(clock, Limit(60, 10), Limit(600, 500), Limit(600, 400))
    assert buckets.requests is not None
    for input_tokens, output_tokens in costs:
        before = _levels(buckets)
        short = buckets.admit(Cost(1, input_tokens, output_tokens))
        if short is not None:
            assert short[1] > 0
            assert _levels(buckets) == before
        else:
            assert buckets.requests.level() == pytest.approx(before[0] - 1)


def _levels(buckets: OrganizationBuckets) -> list[float]:
    return [bucket.level() for bucket in (buckets.requests, buckets.input_tokens, buckets.output_tokens) if bucket]


def test_a_burst_fails_well_below_the_minute_and_refills_continuously() -> None:
    clock = Moved()
    bucket = TokenBucket(Limit(60), clock)
    for _ in range(10):
        assert bucket.wait_for(1) == 0
        bucket.take(1)
    assert bucket.wait_for(1) == pytest.approx(1.0)
    clock.time += 1.0
    assert bucket.wait_for(1) == 0


def test_a_limit_of_zero_never_admits() -> None:
    assert TokenBucket(Limit(0, 0), Moved()).wait_for(1) == math.inf


@pytest.mark.parametrize("arguments", [{"per_minute": -1}, {"per_minute": math.nan}, {"per_minute": 1, "burst": -1}])
def test_impossible_limits_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Limit(**arguments)
