"""The pure delay, and the backoff that all workers of a server share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash import AdaptiveBackoff
from agentdash.engine.backoff import ServiceBackoff, backoff_delay
from tests.support.virtual_loop import ManualClock, run_virtual

counts = st.one_of(st.integers(0, 200), st.just(10**9), st.integers(0, 10**12))
seconds = st.floats(0, 1e6)


@given(counts, seconds, seconds)
def test_the_delay_is_clamped_for_any_number_of_failures(failures: int, base: float, extra: float) -> None:
    delay = backoff_delay(failures, base, base + extra)
    assert 0 <= delay <= base + extra
    assert backoff_delay(failures + 1, base, base + extra) >= delay


def test_the_delay_doubles_from_the_base() -> None:
    assert [backoff_delay(n, 1, 60) for n in range(9)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff_delay(-1, 1, 60) == 0


@given(counts, st.floats(0, 1000), st.floats(0, 1000), st.floats(0, 1), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_its_share_and_the_maximum(
    failures: int, base: float, extra: float, jitter: float, drawn: float
) -> None:
    backoff = AdaptiveBackoff(base, base + extra, jitter, rng=lambda: drawn)
    backoff.consecutive_failures = failures
    delay = backoff.get_delay()
    bare = backoff_delay(failures, base, base + extra)
    assert 0 <= delay <= base + extra
    assert bare * (1 - jitter) - 1e-6 <= delay <= bare * (1 + jitter) + 1e-6


def test_success_and_failure() -> None:
    backoff = AdaptiveBackoff(jitter_factor=0)
    assert (backoff.base_delay, backoff.max_delay) == (1.0, 60.0)
    assert backoff.get_delay() == 0
    for expected in (1, 2, 4):
        backoff.record_failure()
        assert backoff.get_delay() == expected
    backoff.record_success()
    assert backoff.get_delay() == 0


@pytest.mark.parametrize(
    ("base", "most", "jitter"),
    [(-1, 60, 0.1), (2, 1, 0.1), (1, 60, -0.1), (1, 60, 1.1), (float("nan"), 60, 0.1), (1, float("nan"), 0.1),
     (1, 60, float("nan")), (float("inf"), float("inf"), 0.1), (1, float("inf"), 0.1)],
)  # fmt: skip
def test_values_out_of_range_are_refused(base: float, most: float, jitter: float) -> None:
    with pytest.raises(ValueError, match="need 0 <="):
        AdaptiveBackoff(base, most, jitter)


def test_wait_sleeps_the_delay() -> None:
    clock = ManualClock()
    backoff = AdaptiveBackoff(base_delay=4, jitter_factor=0, clock=clock)
    backoff.record_failure()
    before = clock.time
    run_virtual(backoff.wait())
    assert clock.time - before == 4


class Draws:
    """Random numbers that differ from each other, in a known order."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> float:
        self.number += 1
        return (self.number * 0.37) % 1


def shared(clock: ManualClock) -> ServiceBackoff:
    return ServiceBackoff(threshold=3, base_delay=8, max_delay=60, clock=clock, rng=Draws())


def test_lone_failures_hold_nobody() -> None:
    clock = ManualClock()
    service = shared(clock)
    for _ in range(1000):
        service.record_failure(clock.monotonic(), "529")
        service.record_failure(clock.monotonic(), "529")
        assert service.start_for("worker-0") is None
        assert not service.is_down
        service.record_success()


def test_three_in_a_row_hold_everybody_and_one_wave_counts_once() -> None:
    clock = ManualClock()
    service = shared(clock)
    sent_at = clock.monotonic()
    clock.time += 1
    for _ in range(64):
        service.record_failure(sent_at, "529")
    assert service.is_down
    assert service.backoff.consecutive_failures == 1
    assert service.reason == "529"
    assert service.until is not None
    assert 8 * 0.9 <= service.until - clock.monotonic() <= 8 * 1.1


def test_a_few_probe_within_the_wait_and_the_others_are_spread_behind_it() -> None:
    clock = ManualClock()
    service = shared(clock)
    for _ in range(3):
        service.record_failure(clock.monotonic(), "529")
    until, now = service.until, clock.monotonic()
    assert until is not None
    starts = {f"worker-{n}": service.start_for(f"worker-{n}") for n in range(20)}
    drawn = sorted(start for start in starts.values() if start is not None)
    assert len(set(drawn)) == 20
    assert [start < until for start in drawn] == [True] * 5 + [False] * 15
    assert drawn[0] > now
    assert drawn[-1] <= until + (until - now) / 2
    for worker, start in starts.items():
        assert service.start_for(worker) == start  # it keeps what it drew
    clock.time += drawn[-1] - now + 0.001
    assert all(service.start_for(worker) is None for worker in starts)


def test_a_probe_that_fails_within_the_wait_makes_no_new_one_and_takes_its_turn_behind() -> None:
    clock = ManualClock()
    service = shared(clock)
    for _ in range(3):
        service.record_failure(clock.monotonic(), "529")
    until = service.until
    assert until is not None
    asked = 0
    while clock.monotonic() < until:
        start = service.start_for("worker-0")
        if start is None:
            asked += 1
            service.record_failure(clock.monotonic(), "529", worker="worker-0")
            start = service.start_for("worker-0")
        assert start is not None
        assert service.until in (until, None)
        clock.time += max(0.001, start - clock.monotonic())
    assert 1 <= asked <= 5
    service.record_failure(clock.monotonic(), "529", worker="worker-0")
    assert service.until is not None
    assert service.until - clock.monotonic() > 8 * 1.5  # now it is longer


def test_the_next_failure_after_the_wait_lengthens_it() -> None:
    clock = ManualClock()
    service = shared(clock)
    for _ in range(3):
        service.record_failure(clock.monotonic(), "529")
    waits = []
    for _ in range(10):
        assert service.until is not None
        clock.time += service.until - clock.monotonic() + 1e-6
        service.record_failure(clock.monotonic(), "529")
        assert service.until is not None
        waits.append(service.until - clock.monotonic())
    assert waits[0] > 8 * 1.5
    assert all(wait <= 60 for wait in waits)
    assert waits[-1] > 60 * 0.85


def test_it_is_down_for_many_when_more_than_one_task_has_met_it() -> None:
    clock = ManualClock()
    service = shared(clock)
    for _ in range(10):
        service.record_failure(clock.monotonic(), "cut", task=1)
    assert (service.is_down, service.is_down_for_many) == (True, False)
    service.record_failure(clock.monotonic(), "cut", task=2)
    assert service.is_down_for_many
    service.record_success()
    service.record_failure(clock.monotonic(), "cut", task=3)
    assert not service.is_down_for_many


def test_the_first_answer_frees_everybody() -> None:
    clock = ManualClock()
    service = shared(clock)
    for _ in range(5):
        service.record_failure(clock.monotonic(), "529")
    assert service.start_for("worker-0") is not None
    service.record_success()
    assert service.start_for("worker-0") is None
    assert service.start_for("worker-1") is None
    assert (service.is_down, service.reason, service.until) == (False, None, None)


def test_a_rate_limit_without_a_key_of_ours_closes_the_service_until_it_says() -> None:
    """A user's function brings its own client: its 429 must hold all workers, and one wave counts once."""
    clock = ManualClock()
    service = shared(clock)
    now = clock.monotonic()
    service.record_limited(now, 5.0)
    service.record_limited(now, 3.0)  # the latest deadline wins
    assert service.start_for("worker-0") == now + 5.0
    assert not service.is_down
    clock.time += 5
    assert service.start_for("worker-0") is None


@pytest.mark.parametrize("said", [None, 0.0])
def test_a_rate_limit_that_says_nothing_backs_off(said: float | None) -> None:
    clock = ManualClock()
    service = shared(clock)
    waits = []
    for _ in range(8):
        sent_at = clock.monotonic()
        for _ in range(64):
            service.record_limited(sent_at, said)
        start = service.start_for("worker-0")
        assert start is not None
        waits.append(start - sent_at)
        clock.time += start - sent_at
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    service.record_success()
    service.record_limited(clock.monotonic(), None)
    assert service.start_for("worker-0") == clock.monotonic() + 1
