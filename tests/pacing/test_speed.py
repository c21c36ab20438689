"""The speed of a burst while no limit is known: a loop that is busy keeps to it too, and nobody saves it up."""

from __future__ import annotations

import pytest

from agentdash.engine.limitheaders import LimitReading, Standing
from agentdash.engine.pacing import FIRST_SPEED, PoolPacer

NOW = 1000.0
FAST = 2000.0


def pacer(speed: float = FAST) -> PoolPacer:
    fast = PoolPacer(NOW)
    fast.sent(NOW)
    fast.speed = speed
    return fast


def told(pacer: PoolPacer, per_minute: float) -> None:
    """An answer says the limit; the speed stays."""
    speed = pacer.speed
    pacer.read(NOW, pacer.sent(NOW), LimitReading("org", None, {"requests": Standing(per_minute, per_minute)}))
    pacer.speed = speed


def let_go(pacer: PoolPacer, now: float) -> int:
    """Send what may go at this moment."""
    number = 0
    while pacer.next_at(now) <= now:
        pacer.sent(now)
        number += 1
    return number


def looks(pacer: PoolPacer, every_s: float, seconds: float) -> list[int]:
    return [let_go(pacer, NOW + every_s * turn) for turn in range(1, round(seconds / every_s) + 1)]


@pytest.mark.parametrize("every_s", [0.001, 0.002, 0.0045])
def test_a_loop_that_looks_seldom_sends_as_much_as_one_that_looks_always(every_s: float) -> None:
    sent = sum(looks(pacer(), every_s, 0.09))
    assert 0.95 * FAST * 0.09 <= sent <= 1.2 * FAST * 0.09, "the speed itself grows a little meanwhile"


def test_what_goes_out_together_is_what_the_speed_lets_go_in_five_milliseconds() -> None:
    assert max(looks(pacer(), 0.05, 1.0)) <= 0.005 * 2 * FAST + 2, "and it never catches up for longer"
    rested = pacer()
    assert let_go(rested, NOW + 3600) <= 0.005 * FAST + 2


def test_at_the_first_speeds_requests_go_one_by_one() -> None:
    assert max(looks(pacer(FIRST_SPEED), 0.05, 0.5)) == 1
    assert let_go(pacer(FIRST_SPEED), NOW + 3600) == 1


def test_where_a_limit_is_known_its_bursts_are_spaced_to_the_last() -> None:
    known = pacer()
    told(known, 6_000_000)
    assert max(looks(known, 0.002, 0.1)) == 1


def test_the_speed_does_not_grow_of_requests_that_waited_for_nothing() -> None:
    idle = pacer()
    for turn in range(1, 50):
        assert idle.next_at(NOW + 0.1 * turn) <= NOW + 0.1 * turn
        idle.sent(NOW + 0.1 * turn)
    assert idle.speed == FAST
