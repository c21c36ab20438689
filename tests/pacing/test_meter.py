"""Each rule of the mirror of one bucket, in one small example."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.lateness import Lateness
from agentdash.engine.meter import Meter

NOW = 1000.0


def told(per_minute: float = 1200, remaining: float = 19, *, unit: float = 1.0, cost: float = 1.0) -> Meter:
    """A meter that one answer has told its limit: one request was sent, and that much was left behind it."""
    meter = Meter(NOW, unit=unit)
    meter.spend(NOW, cost)
    meter.learn(NOW, per_minute, remaining, NOW, cost, 0.0)
    return meter


def guessed(*, passed: int = 20, seconds: float = 1.0, speed: float = 30.0) -> Meter:
    """A meter whose limit nobody told: so many went through in so long, then one was rejected."""
    meter = Meter(NOW)
    for _ in range(passed):
        meter.spend(NOW, 1)
    meter.guess(NOW + seconds, seconds, speed)
    return meter


def refused(meter: Meter, now: float = NOW, *, after: int = 1, remaining: float | None = None) -> None:
    """So many are sent at once, and the last one is rejected."""
    for _ in range(after - 1):
        meter.spend(now, 1)
    meter.refuse(now, 1, meter.spend(now, 1), remaining)


def emptied_by(meter: Meter, requests: int, now: float, seconds: float) -> None:
    """So many more pass in so long, evenly; then one is rejected."""
    for number in range(requests):
        meter.spend(now + seconds * number / requests, 1)
    refused(meter, now + seconds)


# -- what may go -------------------------------------------------------------------------------------------------------
def test_before_anything_is_known_all_may_go() -> None:
    meter = Meter(NOW)
    assert not meter.is_known
    assert meter.level(NOW) == math.inf
    assert meter.spend(NOW, 1000) == math.inf
    assert meter.ready_at(NOW, 1000) == NOW
    meter.give_back(NOW, 10)
    assert meter.spent == 990


def test_the_first_answer_tells_rate_and_size() -> None:
    meter = told(1200, 19)
    assert (meter.rate, meter.size, meter.level(NOW)) == (20, 20, 19)


def test_a_limit_without_what_is_left_is_taken_for_a_bucket_of_one_second() -> None:
    meter = Meter(NOW)
    meter.learn(NOW, 1200, None, NOW, 1, 0)
    assert (meter.rate, meter.size) == (20, 20)


def test_it_refills_at_the_rate_and_no_further_than_its_size() -> None:
    meter = told(1200, 9)
    assert meter.size == 10
    for _ in range(8):
        meter.spend(NOW, 1)
    assert meter.level(NOW) == pytest.approx(1, abs=0.2)
    assert meter.level(NOW + 0.25) == pytest.approx(6, abs=0.2)
    assert meter.level(NOW + 60) == 10
    assert meter.level(NOW - 5) == meter.level(NOW)  # a moment before what was seen last


def test_ready_when_the_bucket_holds_the_cost_and_a_little_more() -> None:
    meter = told(60, 9)
    assert meter.ready_at(NOW, 1) == NOW
    for _ in range(8):
        meter.spend(NOW, 1)
    left = meter.level(NOW)
    at = meter.ready_at(NOW, 1)
    assert 1 - left < at - NOW <= 1 - left + 1  # at one a second: the guard is at most one request
    assert meter.level(at) >= 1
    assert meter.ready_at(at, 1) == at
    assert meter.ready_at(NOW, 0) == NOW


def test_what_is_larger_than_the_bucket_goes_when_that_is_full() -> None:
    meter = told(60_000, 5_000, unit=1000, cost=5_000)
    assert meter.size == 10_000
    assert meter.ready_at(NOW, 50_000) == pytest.approx(NOW + 5)


def test_debt_is_waited_for() -> None:
    meter = told(600, 9)
    meter.spend(NOW, 30)
    assert meter.level(NOW) < -20
    assert meter.ready_at(NOW, 1) > NOW + 2


def test_what_is_given_back_is_there_again_but_never_more_than_the_size() -> None:
    meter = told(60, 9)
    meter.spend(NOW, 4)
    level = meter.level(NOW)
    meter.give_back(NOW, 3)
    assert meter.level(NOW) == pytest.approx(level + 3)
    meter.give_back(NOW, 300)
    assert meter.level(NOW) == meter.size
    meter.give_back(NOW, -4)
    assert meter.level(NOW) == meter.size - 4


def test_a_full_bucket_of_one_loses_what_arrives_late() -> None:
    """The next may not follow one interval after the last was sent: that one may have been late, and this one not."""
    meter = told(60, 0)
    interval = meter.ready_at(NOW, 1) - NOW
    meter.spend(NOW + 10, 1)
    assert meter.ready_at(NOW + 10, 1) - (NOW + 10) > interval


# -- learn -------------------------------------------------------------------------------------------------------------
def test_others_that_use_the_limit_too_are_seen_in_what_is_left() -> None:
    meter = told(1200, 199)
    meter.spend(NOW, 1)
    meter.learn(NOW, 1200, 100, NOW, 1, 0.0)
    assert meter.level(NOW) == pytest.approx(100, abs=1.5)


def test_what_was_sent_since_and_the_refill_are_room_for_doubt() -> None:
    """The answer to a request of ten seconds ago may have been written then or now."""
    meter = told(1200, 199)
    meter.learn(NOW + 10, 1200, 50, NOW, 1, 40.0)
    assert meter.level(NOW + 10) == pytest.approx(200)  # 50 then, 40 sent since, and 200 refilled


def test_more_left_than_was_thought_raises_level_and_size() -> None:
    meter = told(1200, 19)
    meter.spend(NOW, 15)
    meter.learn(NOW, 1200, 100, NOW, 15, 0.0)
    assert meter.size == 100
    assert meter.level(NOW) == 100


def test_what_is_left_after_requests_on_their_way_does_not_raise_it_too_far() -> None:
    meter = told(1200, 19)
    for _ in range(15):
        meter.spend(NOW, 1)
    meter.learn(NOW, 1200, 19, NOW, 1, 15.0)  # the server has not seen them yet
    assert meter.level(NOW) < 5


@pytest.mark.parametrize(("remaining", "level"), [(18_000, 18_500), (19_000, 18_600), (20_000, 19_500)])
def test_tokens_are_told_in_thousands(remaining: float, level: float) -> None:
    """18,600 left is told as 19,000, and 19,499 too: within half a thousand nothing is known better."""
    meter = told(600_000, 20_000, unit=1000, cost=1000)
    meter.spend(NOW, 1400)
    assert meter.level(NOW) == 18_600
    meter.learn(NOW, 600_000, remaining, NOW, 1400, 0.0)
    assert meter.level(NOW) == level


def test_a_limit_that_falls_and_one_that_rises() -> None:
    meter = told(1200, 19)
    meter.learn(NOW, 600, 15, NOW, 1, 0.0)
    assert meter.rate == 10
    assert meter.size == 20
    meter.learn(NOW, 2400, 15, NOW, 1, 0.0)
    assert meter.rate == 40
    assert meter.size > 20  # a higher limit may come with a larger bucket
    meter.learn(NOW, 6, 3, NOW, 1, 0.0)
    assert meter.rate == pytest.approx(0.1)
    assert meter.size == 6  # no bucket holds more than a minute's


def test_a_limit_that_is_told_after_it_was_guessed() -> None:
    meter = guessed()
    meter.learn(NOW + 1, 600, 3, NOW + 1, 1, 0.0)
    assert (meter.limit, meter.rate) == (10, 10)


# -- refuse ------------------------------------------------------------------------------------------------------------
def test_a_refusal_empties_the_mirror() -> None:
    meter = told(1200, 19)
    before = meter.spend(NOW, 1)
    meter.refuse(NOW + 0.01, 1, before, 0)
    assert meter.level(NOW + 0.01) == 0
    assert meter.ready_at(NOW + 0.01, 1) > NOW + 0.05


def test_a_bucket_that_was_full_and_refuses_is_smaller_than_believed() -> None:
    meter = told(1200, 99)
    refused(meter, after=10)
    assert meter.rate == 20
    assert 8 <= meter.size <= 11


def test_with_nothing_left_the_rate_is_measured_from_what_passed() -> None:
    meter = told(1200, 19)
    refused(meter, after=20)
    size = meter.size
    # Empty at first, it lets 15 through in 1.25 seconds: the server refills at less than it says.
    emptied_by(meter, 15, NOW, 1.25)
    assert meter.rate == pytest.approx(12, rel=0.05)
    assert meter.size == size
    assert meter.limit == 20


def test_soon_after_another_nothing_can_be_measured_and_it_slows_down_a_little() -> None:
    meter = told(1200, 19)
    refused(meter, after=20)
    emptied_by(meter, 2, NOW, 0.2)
    assert 15 < meter.rate < 20


def test_a_tiny_bucket_learns_how_late_requests_are_and_keeps_its_rate() -> None:
    meter = told(1200, 0)
    assert meter.size == 1
    before = meter.spend(NOW + 0.05, 1)
    lateness = meter.lateness.seconds
    meter.refuse(NOW + 0.05, 1, before, None)
    assert meter.rate == 20
    assert meter.lateness.seconds > lateness
    for number in range(4):
        meter.refuse(NOW + 0.1 * number, 1, 1.0, None)
    assert meter.lateness.seconds <= 0.5 / 20, "no later than half an interval"
    most = meter.lateness.seconds
    for number in range(2000):
        meter.spend(NOW + 10 + number, 1)
    assert meter.lateness.seconds < most


def test_lateness_is_of_the_machine_and_shared() -> None:
    lateness = Lateness()
    first, second = Meter(NOW, lateness=lateness), Meter(NOW, lateness=lateness)
    for meter in (first, second):
        meter.spend(NOW, 1)
        meter.learn(NOW, 1200, 0, NOW, 1, 0.0)
    alone = told(1200, 0)
    for _ in range(5):
        first.refuse(NOW, 1, 1.0, None)
    for meter in (second, alone):
        meter.spend(NOW + 10, 1)
    assert second.ready_at(NOW + 10, 1) > alone.ready_at(NOW + 10, 1)


def test_headers_that_promise_room_and_refuse_are_not_believed_again() -> None:
    liar, honest = told(1200, 1200), told(1200, 1200)
    for meter, remaining in ((liar, 1200.0), (honest, 0.0)):
        refused(meter, after=21, remaining=remaining)
        meter.learn(NOW, 1200, 1200, NOW, 1, 0.0)
    assert liar.size <= 25
    assert liar.level(NOW) < 1
    assert honest.size == 1200


def test_a_request_larger_than_was_estimated_does_not_slow_the_limit_down() -> None:
    meter = told(600_000, 10_000, unit=1000, cost=10_000)
    before = meter.spend(NOW, 9_000)
    meter.refuse(NOW, 9_000, before, 10_000)  # ten thousand were left: it must have been larger itself
    assert meter.rate == 10_000
    assert meter.size == 20_000


def test_what_went_through_is_a_size_the_bucket_has() -> None:
    meter = told(60_000, 2_000, unit=1000, cost=2_000)
    meter.passed(3_000, 9_000)
    assert meter.size == 9_000


# -- limits that nobody told -------------------------------------------------------------------------------------------
def test_a_guess_takes_the_rate_for_high_and_some_of_what_passed_for_a_burst() -> None:
    meter = guessed(passed=30, seconds=2.0, speed=20.0)
    assert meter.is_known
    assert meter.limit is None
    assert meter.rate == 15
    assert 10 <= meter.size <= 20
    assert meter.level(NOW + 2) == 0


def test_between_two_refusals_all_was_refill() -> None:
    meter = guessed(passed=40, seconds=1.0, speed=40.0)
    emptied_by(meter, 80, NOW + 1, 4.0)  # 20 a second, and so 20 of the first 40 were the bucket
    assert meter.rate == pytest.approx(20, rel=0.06)
    assert meter.size == pytest.approx(20, abs=1)


def test_few_that_pass_after_a_pause_are_all_that_the_bucket_holds() -> None:
    meter = guessed(passed=20, seconds=1.0, speed=20.0)
    emptied_by(meter, 3, NOW + 3, 0.05)
    assert meter.size <= 4


def test_a_rate_that_was_guessed_grows_only_while_somebody_waits_for_it() -> None:
    waited, idle = guessed(), guessed()
    rate = waited.rate
    now = NOW + 1
    for _ in range(200):
        now = waited.ready_at(now, 1)
        waited.spend(now, 1)
    for number in range(200):  # one a second: there is always room
        idle.spend(NOW + 2 + number, 1)
    assert waited.rate > rate * 1.02
    assert idle.rate == rate


def test_an_advertised_rate_grows_back_to_what_is_advertised_and_no_further() -> None:
    meter = told(1200, 19)
    refused(meter, after=20)
    emptied_by(meter, 2, NOW, 0.2)
    now, slow = NOW + 0.2, meter.rate
    for _ in range(3000):
        now = meter.ready_at(now, 1)
        meter.spend(now, 1)
    assert slow < 20 == meter.rate


# -- shares and memory -------------------------------------------------------------------------------------------------
def test_half_of_a_limit_is_half_of_its_rate_its_size_and_what_is_in_it() -> None:
    meter = told(1200, 19)
    meter.set_share(NOW, 0.5)
    assert (meter.rate, meter.size, meter.level(NOW)) == (10, 10, 9.5)
    meter.learn(NOW, 1200, 10, NOW, 1, 0.0)
    assert meter.rate == 10
    assert meter.level(NOW) <= 6
    meter.set_share(NOW, 1.0)
    assert (meter.rate, meter.size) == (20, 20)


def test_a_share_that_is_known_before_the_limit() -> None:
    meter = Meter(NOW)
    meter.set_share(NOW, 0.25)
    meter.spend(NOW, 1)
    meter.learn(NOW, 1200, 39, NOW, 1, 0.0)
    assert meter.rate == 5
    assert meter.size == pytest.approx(10, abs=1)


def test_what_is_recalled_has_refilled_since() -> None:
    meter = Meter(NOW)
    meter.recall(NOW, 600, 20, 5, 0.5, is_advertised=True)
    assert (meter.limit, meter.rate, meter.size, meter.level(NOW)) == (10, 10, 20, 10)
    old = Meter(NOW)
    old.set_share(NOW, 0.5)
    old.recall(NOW, 600, 20, 5, 3600, is_advertised=True)
    assert (old.rate, old.size, old.level(NOW)) == (5, 10, 10)


@pytest.mark.parametrize(
    ("per_minute", "size", "level"),
    [(0, 1, 0), (-5, 1, 0), (math.nan, 1, 0), (math.inf, 1, 0), (60, 0, 0), (60, -1, 0), (60, math.nan, 0),
     (60, math.inf, 0), (60, 1, math.nan), (60, 1, -math.inf)],
)  # fmt: skip
def test_nonsense_is_not_recalled(per_minute: float, size: float, level: float) -> None:
    meter = Meter(NOW)
    with pytest.raises(ValueError, match="no limit"):
        meter.recall(NOW, per_minute, size, level, 1.0, is_advertised=True)
    assert not meter.is_known


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["spend", "learn", "refuse", "give_back", "share", "passed"]),
            st.floats(0, 5),
            st.floats(0, 300),
        ),
        max_size=40,
    ),
    st.sampled_from([1.0, 1000.0]),
)
def test_whatever_happens_its_numbers_can_be_reckoned_with(events: list[tuple[str, float, float]], unit: float) -> None:
    meter = told(1200 * unit, 19 * unit, unit=unit, cost=unit)
    now = NOW
    for kind, seconds, number in events:
        now += seconds
        amount = number * unit
        if kind == "spend":
            meter.spend(now, amount if unit > 1 else 1)
        elif kind == "learn":
            meter.learn(now, 600 * unit + amount, amount, now - seconds, unit, number)
        elif kind == "refuse":
            meter.refuse(now, unit, meter.spend(now, unit), amount)
        elif kind == "give_back":
            meter.give_back(now, amount)
        elif kind == "share":
            meter.set_share(now, 1 / (1 + int(number) % 4))
        else:
            meter.passed(unit, amount)
        assert 0 < meter.rate < math.inf
        assert meter.unit <= meter.size < math.inf
        assert meter.level(now) <= meter.size + 1e-6
        assert now <= meter.ready_at(now, unit) < math.inf


def test_a_refusal_of_what_was_sent_before_anything_was_known_teaches_only_that_it_is_empty() -> None:
    meter = told(1200, 9)
    meter.refuse(NOW + 0.1, 1, math.inf, None)
    assert meter.level(NOW + 0.1) == 0
    assert 1 <= meter.size <= 10


def test_the_lateness_of_a_slow_pool_does_not_stop_a_fast_one() -> None:
    lateness = Lateness()
    slow, fast = Meter(NOW, lateness=lateness), Meter(NOW, lateness=lateness)
    for meter, per_minute, left in ((slow, 60, 0), (fast, 6000, 19)):
        meter.spend(NOW, 1)
        meter.learn(NOW, per_minute, left, NOW, 1, 0.0)
    for _ in range(20):
        slow.refuse(NOW, 1, 1.0, None)
    now, sent = NOW + 1, 0
    while now < NOW + 11:
        now = fast.ready_at(now, 1)
        fast.spend(now, 1)
        sent += 1
    assert sent > 900


def test_a_size_that_is_recalled_survives_the_next_measurement() -> None:
    meter = Meter(NOW)
    meter.recall(NOW, 1200, 20, 0, 0, is_advertised=False)
    emptied_by(meter, 40, NOW, 2.0)
    assert meter.size > 15
    assert meter.rate == pytest.approx(20, rel=0.05)


def test_a_size_that_was_found_by_rejections_is_tried_larger_after_a_minute_without_one() -> None:
    """A 429 that had nothing to do with the limit must not make bursts small for the rest of the night."""
    meter = Meter(0.0)
    meter.learn(0.0, 600, 600, 0.0, 1.0, 0.0)
    before = [meter.spend(0.0, 1.0) for _ in range(5)][-1]
    meter.refuse(0.1, 1.0, before, 590)
    found = meter.size
    now = 0.1
    while now < 59:
        now += 0.5
        meter.spend(now, 1.0)
    assert meter.size == found
    for _ in range(3):
        now += 61
        meter.spend(now, 1.0)
    assert meter.size == found + 3
