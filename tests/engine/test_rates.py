"""How fast and until when: the arithmetic, with times given by hand."""

from __future__ import annotations

import pytest

from agentdash.engine.rates import HISTORY_S, RateMeter

WALL = 1_700_000_000.0


class Ticks:
    """A meter that is sampled twice a second."""

    def __init__(self, start: float = 50.25) -> None:
        self.meter, self.now, self.finished = RateMeter(), start, 0
        self.tick(0, seconds=0)

    def tick(self, finished: int, *, seconds: float = 0.5, held: bool = False) -> None:
        self.now += seconds
        self.finished += finished
        self.meter.update(self.now, self.finished, wall=WALL + self.now, held=held)


def test_nothing_is_known_at_first() -> None:
    meter = RateMeter()
    assert (meter.per_second, meter.done_at(5), meter.history) == (0.0, None, (0,) * HISTORY_S)
    meter.update(1.0, 100, wall=WALL)
    assert (meter.per_second, meter.done_at(5), sum(meter.history)) == (0.0, None, 0), "those of earlier sessions"


def test_rate_and_end_of_a_steady_run() -> None:
    ticks = Ticks()
    for _ in range(100):
        ticks.tick(4)
    assert ticks.meter.per_second == pytest.approx(8)
    assert ticks.meter.done_at(80) == pytest.approx(WALL + ticks.now + 10)
    assert ticks.meter.done_at(0) is None
    assert ticks.meter.done_at(80) == ticks.meter.done_at(80), "the same between two samples"


def test_a_run_that_stands_still_slows_down() -> None:
    ticks = Ticks()
    for _ in range(60):
        ticks.tick(1)
    for _ in range(30):
        ticks.tick(0)
    assert ticks.meter.per_second == pytest.approx(1, rel=0.05)
    for _ in range(40):
        ticks.tick(0)
    assert ticks.meter.per_second == 0
    assert ticks.meter.done_at(5) is None


def test_a_cooldown_does_not_slow_it_down() -> None:
    ticks = Ticks()
    for _ in range(60):
        ticks.tick(1)
    for _ in range(200):
        ticks.tick(0, held=True)
    assert ticks.meter.per_second == pytest.approx(2)
    until = WALL + ticks.now + 30
    assert ticks.meter.done_at(20, until) == pytest.approx(until + 10)
    assert ticks.meter.done_at(20, WALL) == pytest.approx(WALL + ticks.now + 10), "a wait that is over"
    ticks.tick(1)
    assert ticks.meter.per_second == pytest.approx(2)


def test_what_ends_during_a_cooldown_counts() -> None:
    ticks = Ticks()
    ticks.tick(1)
    ticks.tick(3, held=True)
    assert ticks.meter.per_second == pytest.approx(8)
    assert sum(ticks.meter.history) == 4


def test_history_is_one_number_a_second_oldest_first() -> None:
    ticks = Ticks(start=50.0)
    for second in range(1, 4):
        ticks.tick(second, seconds=0.4)
        ticks.tick(second, seconds=0.6)
    assert ticks.meter.history == (0,) * 56 + (1, 3, 5, 3)
    ticks.tick(0, seconds=10)
    assert ticks.meter.history == (0,) * 46 + (1, 3, 5, 3) + (0,) * 10
    ticks.tick(7, seconds=1000)
    assert ticks.meter.history == (0,) * 59 + (7,)


def test_requeued_tasks_are_no_negative_work() -> None:
    ticks = Ticks()
    ticks.tick(50)
    ticks.tick(-50)
    assert min(ticks.meter.history) == 0
    assert ticks.meter.per_second == 0


def test_a_new_run_is_measured_by_itself() -> None:
    ticks = Ticks()
    for _ in range(20):
        ticks.tick(50)
    ticks.now += 600
    ticks.meter.restart()
    ticks.tick(0)
    assert ticks.meter.per_second == 0
    for _ in range(10):
        ticks.tick(1)
    assert ticks.meter.per_second == pytest.approx(2)
