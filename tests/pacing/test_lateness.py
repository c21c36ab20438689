"""Moments of several pools: kept apart, without slowing them down."""

from __future__ import annotations

from itertools import pairwise

import pytest

from agentdash.engine.lateness import Lateness


def moments(lateness: Lateness, pools: int, interval_s: float, rounds: int) -> list[list[float]]:
    """Each pool asks for a moment an interval after its last one; all of them begin at once."""
    given = [[0.0] for _ in range(pools)]
    for _ in range(rounds):
        for own in sorted(given, key=lambda own: own[-1]):
            own.append(lateness.moment(own[-1] + interval_s))
    return given


def test_a_pool_alone_has_each_of_its_moments_when_it_may_go() -> None:
    lateness = Lateness()
    assert [lateness.moment(0.01 * number) for number in range(50)] == [0.01 * number for number in range(50)]


def test_pools_that_begin_together_end_up_apart_and_lose_no_time() -> None:
    given = moments(Lateness(), 4, 0.05, 200)
    last = sorted(own[-1] for own in given)
    assert all(later - earlier >= 0.0049 for earlier, later in pairwise(last)), last
    assert all(own[-1] <= 200 * 0.05 + 4 * 0.005 for own in given), "only the first of them gave way"


@pytest.mark.parametrize("pools", [10, 40, 200])
def test_many_pools_are_not_slowed_down(pools: int) -> None:
    given = moments(Lateness(), pools, 0.05, 200)
    assert max(own[-1] for own in given) <= 1.02 * 200 * 0.05


def test_a_moment_before_the_last_one_stays_where_it_is_if_that_is_far() -> None:
    lateness = Lateness()
    assert lateness.moment(1.0) == 1.0
    assert lateness.moment(0.9) == 0.9
    assert lateness.moment(0.999) > 1.0
