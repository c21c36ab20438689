"""The number of workers in a simulated world: a limit or a knee, answers that take their time, and no clock but the
next event. Minutes of a run take milliseconds and always end in the same way."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdash.engine.concurrency import Change, Concurrency, Observation

LOOK_S = 0.1


def steady(seconds: float) -> Callable[[random.Random, int], float]:
    """Answers that all take the same time."""
    return lambda rng, busy: seconds


def varied(seconds: float) -> Callable[[random.Random, int], float]:
    """Answers of which the longest take many times as long as the shortest."""
    return lambda rng, busy: seconds * min(6.0, 0.1 + rng.expovariate(1 / 0.9))


def crowded(seconds: float, knee: int) -> Callable[[random.Random, int], float]:
    """A machine that does `knee` at once: more than that only take longer."""
    return lambda rng, busy: seconds * max(1.0, busy / knee)


@dataclass
class World:
    """A server that lets `rate` requests a second through, and tells so with its answers if `tells`."""

    control: Concurrency
    answer: Callable[[random.Random, int], float]
    rate: float = math.inf
    burst: float = 1.0
    tells: bool = True
    tasks: float = math.inf
    outages: tuple[tuple[float, float], ...] = ()
    held: tuple[float, float] = (-1.0, -1.0)
    rng: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.now = 0.0
        self.workers = self.control.first
        self.busy = self.sent = self.done = 0
        self.level, self.level_at = self.burst, 0.0
        self.changes: list[tuple[float, int, str]] = []
        self.seen: list[tuple[float, int, int]] = []
        """(time, workers, finished) at each look."""
        self._ends: list[tuple[float, float]] = []

    def run(self, until: float) -> World:
        """Go on until so many seconds after the beginning, or until all is done."""
        look = self.now + LOOK_S
        while self.now < until and self.done < self.tasks:
            self._send()
            at = min(look, self._ends[0][0] if self._ends else math.inf, self._room_at())
            self.now = max(self.now, at)
            while self._ends and self._ends[0][0] <= self.now:
                _, took = heapq.heappop(self._ends)
                self.busy -= 1
                self.done += 1
                self.control.ended(self.now, took)
            if self.now >= look:
                self._send()
                self._look()
                look += LOOK_S
        return self

    def at(self, time: float) -> tuple[int, int]:
        """Workers and finished tasks at a time."""
        _, workers, done = min(self.seen, key=lambda seen: abs(seen[0] - time))
        return workers, done

    def per_second(self, start: float, end: float) -> float:
        """Tasks finished a second between two times."""
        return (self.at(end)[1] - self.at(start)[1]) / (end - start)

    def changes_after(self, time: float) -> list[tuple[float, int, str]]:
        return [change for change in self.changes if change[0] > time]

    def _is_down(self) -> bool:
        return any(start <= self.now < end for start, end in self.outages) or self.held[0] <= self.now < self.held[1]

    def _refill(self) -> None:
        if self.rate < math.inf:
            self.level = min(self.burst, self.level + (self.now - self.level_at) * self.rate)
        self.level_at = self.now

    def _free(self) -> int:
        return int(min(self.workers - self.busy, self.tasks - self.sent))

    def _room_at(self) -> float:
        if self._free() <= 0 or self._is_down():
            return math.inf
        return self.now + max(0.0, 1 - self.level) / self.rate + 1e-9

    def _send(self) -> None:
        self._refill()
        while self._free() > 0 and not self._is_down() and (self.rate == math.inf or self.level >= 1 - 1e-6):
            self.level -= 1
            self.busy += 1
            self.sent += 1
            took = self.answer(self.rng, self.busy)
            heapq.heappush(self._ends, (self.now + took, took))

    def _look(self) -> None:
        pending = self.tasks - self.sent
        change = self.control.decide(
            Observation(
                self.now,
                self.workers,
                waiting=max(0, self._free()),
                pending=int(min(pending, 1e6)),
                rate=self.rate if self.tells and self.done else math.inf,
                is_held=self.held[0] <= self.now < self.held[1],
                outage="overloaded" if any(start <= self.now < end for start, end in self.outages) else None,
            )
        )
        if change is not None:
            self.changes.append((self.now, change.workers, change.reason))
            self.workers = change.workers
        self.seen.append((self.now, self.workers, self.done))


def control(most: int = 256, **more: Any) -> Concurrency:
    return Concurrency(0.0, most=most, **more)


# -- a limit is known --------------------------------------------------------------------------------------------------
def test_it_finds_the_number_that_fills_the_limits_and_no_more() -> None:
    world = World(control(), steady(0.5), rate=80, burst=80).run(120)
    assert 42 <= world.workers <= 52
    assert world.changes[-1][0] < 3
    assert world.per_second(20, 120) == pytest.approx(80, rel=0.02)
    assert world.changes[0][2] == "all busy, the limits allow 80 a second at 0.5 s a request"


def test_it_goes_back_slowly_when_the_limit_falls_and_grows_when_it_rises() -> None:
    world = World(control(), steady(0.5), rate=80).run(30)
    before = world.workers
    world.rate = 20
    world.run(90)
    assert world.workers <= 18
    down = world.changes_after(30)
    assert all(change[1] >= 0.74 * was for was, change in zip([before, *(c[1] for c in down)], down, strict=False))
    assert all(later[0] - sooner[0] >= 4.5 for sooner, later in pairwise(down))
    assert down[-1][2].startswith("the limits allow 20 a second, for which ")
    world.rate = 160
    world.run(120)
    assert world.per_second(105, 120) == pytest.approx(160, rel=0.03)
    assert world.workers <= 110


@settings(max_examples=30, deadline=None)
@given(
    latency=st.floats(0.05, 30),
    rate=st.floats(0.5, 50),
    burst=st.integers(1, 60),
    seed=st.integers(0, 5),
    is_varied=st.booleans(),
)
def test_it_fills_any_limit_soon_and_then_stays(
    latency: float, rate: float, burst: int, seed: int, is_varied: bool
) -> None:
    """Or has as many workers as it may: whatever comes first."""
    most = 400
    answer = varied(latency) if is_varied else steady(latency)
    world = World(control(most), answer, rate=rate, burst=burst, rng=random.Random(seed))
    soon = 30 + 4 * latency
    settled = soon + 60 + 8 * latency  # cuts are small and wait for what the last one brought
    world.run(settled + max(60.0, 10 * latency, 100 / rate))
    possible = (0.85 if is_varied else 0.95) * min(rate, most / latency)
    assert world.per_second(soon, world.now) >= possible - 3 / (world.now - soon)
    if not is_varied:
        assert len(world.changes_after(settled)) <= 1
        assert world.workers <= max(4, 1.5 * rate * latency + 0.2 * rate + 6)


# -- none is known -----------------------------------------------------------------------------------------------------
def test_without_a_limit_it_stops_where_more_workers_bring_nothing() -> None:
    world = World(control(learns_limits=False), crowded(0.5, 20)).run(60)
    assert 16 <= world.workers <= 33
    assert world.per_second(20, 60) == pytest.approx(40, rel=0.05)
    assert world.changes[-1][2] == "16 more brought only 29 % more; the next try in 1 minute"
    tries = world.run(1200).changes_after(60)
    assert [workers for _, workers, _ in tries] == [33, 22] * 4, "there and back"
    assert {reason for _, workers, reason in tries if workers == 33} == {"all busy, no limit is known"}
    waits = [tries[n + 1][0] - tries[n][0] for n in range(1, 6, 2)]
    assert waits == pytest.approx([120, 240, 480], abs=1)


def test_unequal_tasks_are_no_gain_by_chance() -> None:
    knee = crowded(1.0, 30)
    for seed in range(5):
        rng = random.Random(seed)
        world = World(control(learns_limits=False), lambda rng, busy: knee(rng, busy) * varied(1.0)(rng, busy), rng=rng)
        world.run(600)
        assert 20 <= world.at(590)[0] <= 75
        assert world.per_second(100, 600) >= 0.9 * 30


def test_a_limit_above_what_the_machine_can_do_is_not_chased() -> None:
    world = World(control(), crowded(0.05, 30), rate=4000, burst=100).run(50)
    assert 25 <= world.workers <= 48
    assert world.per_second(10, 50) == pytest.approx(600, rel=0.05)


def test_answers_that_come_first_are_the_short_ones() -> None:
    """And yet it does not take a minute to see that there are long ones."""
    for seed in range(3):
        world = World(control(), varied(10.0), rate=10, burst=10, rng=random.Random(seed)).run(200)
        assert world.at(30)[0] >= 80
        assert world.per_second(60, 200) >= 9


def test_without_a_limit_it_grows_as_long_as_that_helps() -> None:
    world = World(control(64, learns_limits=False), steady(0.5)).run(60)
    assert world.workers == 64
    assert [workers for _, workers, _ in world.changes] == [8, 16, 32, 64]
    assert world.changes[0][2] == "all busy, no limit is known"
    assert world.changes[1][2] == "all busy, 4 more brought 100 % more"


def test_a_function_gets_no_more_workers_before_it_has_shown_how_long_it_takes() -> None:
    world = World(control(learns_limits=False), steady(30)).run(100)
    assert world.workers == 4


def test_answers_that_take_long_are_not_waited_for() -> None:
    """What limits there are is told by the first answer, half a minute after it was asked for."""
    world = World(control(400), steady(30), rate=10, burst=10).run(30)
    assert world.workers >= 256
    assert world.changes[0][2] == "all busy, and no answer has told of a limit yet"
    world.run(200)
    assert world.per_second(80, 200) == pytest.approx(10, rel=0.05)


# -- overload, holds, the end ------------------------------------------------------------------------------------------
def test_an_overload_cuts_by_a_third_and_is_remembered() -> None:
    world = World(control(64, learns_limits=False), steady(0.2), outages=((60, 64), (62, 66), (150, 151))).run(75)
    assert world.at(59)[0] == 64
    cut, *after = world.changes_after(60 - LOOK_S)
    assert cut[1:] == (42, "the server asks for less (overloaded)")
    assert all(57 >= workers > 42 for _, workers, _ in after)
    world.run(149)
    assert world.workers == 64, "after a minute it is tried again"
    world.run(152)
    assert world.workers == 42


def test_a_long_outage_leaves_as_many_as_it_began_with() -> None:
    world = World(control(64, first=6, learns_limits=False), steady(0.2), outages=((60, 600),)).run(600)
    assert world.workers == 6
    gaps = [later[0] - sooner[0] for sooner, later in pairwise(world.changes)]
    assert all(gap >= 10 for gap in gaps[-4:])


def test_a_hold_changes_nothing_and_teaches_nothing() -> None:
    world = World(control(), steady(0.5), rate=80, held=(30, 90)).run(95)
    assert not world.changes_after(29)


def test_there_are_no_more_workers_than_tasks_to_begin() -> None:
    world = World(control(), steady(1.0), rate=100, tasks=9).run(10)
    assert world.done == 9
    assert max(workers for _, workers, _ in world.seen) <= 9


def test_a_pace_too_slow_for_a_second_is_told_by_the_minute() -> None:
    world = World(control(), steady(20), rate=0.5).run(200)
    assert world.changes[-1][1:] == (12, "the limits allow 30 a minute, for which 12 are enough at 20 s a request")


# -- whatever it sees --------------------------------------------------------------------------------------------------
@given(
    most=st.integers(1, 300),
    first=st.integers(1, 50),
    learns=st.booleans(),
    looks=st.lists(
        st.tuples(
            st.floats(0.1, 20),
            st.integers(0, 300),
            st.integers(0, 1000),
            st.sampled_from([math.inf, 0.0, 0.01, 1.0, 50.0, 1e6]),
            st.booleans(),
            st.sampled_from([None, None, None, "overloaded"]),
            st.lists(st.floats(0, 100), max_size=30),
        ),
        max_size=60,
    ),
)
def test_it_stays_in_its_bounds_and_makes_no_small_changes(
    most: int, first: int, learns: bool, looks: list[tuple[float, int, int, float, bool, str | None, list[float]]]
) -> None:
    found = Concurrency(0.0, most=most, first=first, learns_limits=learns)
    workers, now = found.first, 0.0
    assert 1 <= workers <= most
    for seconds, waiting, pending, rate, is_held, outage, took in looks:
        now += seconds
        for one in took:
            found.ended(now, one)
        seen = Observation(now, workers, min(waiting, workers), pending, rate, is_held, outage)
        change = found.decide(seen)
        if change is not None:
            assert isinstance(change, Change)
            assert 1 <= change.workers <= most
            assert abs(change.workers - workers) >= 1 + (change.workers > workers)
            assert change.workers <= 2 * workers
            if change.workers > workers:
                assert not is_held
                assert outage is None
                assert change.workers <= workers + pending
            workers = change.workers
