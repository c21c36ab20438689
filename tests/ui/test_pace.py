"""When the dashboard looks at the run and shows it: news at once, ages once a second, and little work between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from agentdash.model import Snapshot
from agentdash.ui.pace import TICK_S, Pace, is_news
from tests.ui.moments import LOCKS, NOW, moment

MINUTE = round(60 / TICK_S)
STILL = moment(locks=LOCKS)


class Clockwork:
    """Lets the timer run: which of its moments were looks, and which were shown."""

    def __init__(self, *, is_still: bool = True) -> None:
        self.pace = Pace()
        self.is_still = is_still
        self.seen: Snapshot | None = None
        self.looks: list[float] = []
        self.shows: list[float] = []
        self.now = 1000.0

    def tick(self, snapshot: Snapshot) -> None:
        self.now += TICK_S
        if self.pace.may_skip(self.now, is_still=self.is_still):
            return
        self.looks.append(self.now)
        if self.pace.wants(snapshot, self.seen, self.now, is_still=self.is_still):
            self.seen = snapshot
            self.shows.append(self.now)
            self.pace.has_shown(self.now)


def beaten(snapshot: Snapshot, number: int) -> Snapshot:
    """The same a little later: its locks were touched, the run has taken longer."""
    locks = tuple(replace(lock, heartbeat_at=NOW + number) for lock in snapshot.locks)
    return replace(snapshot, locks=locks, totals=replace(snapshot.totals, elapsed_s=12.0 + number))


def test_ages_grow_once_a_second_while_nothing_happens_but_beats() -> None:
    clockwork = Clockwork()
    for number in range(MINUTE):
        clockwork.tick(beaten(STILL, number))
    between = [later - earlier for earlier, later in zip(clockwork.shows, clockwork.shows[1:], strict=False)]
    assert between == pytest.approx([1.0] * 59)
    assert len(clockwork.looks) <= MINUTE * 0.72


def test_a_timer_that_comes_a_little_early_or_late_skips_no_second() -> None:
    clockwork = Clockwork()
    for number in range(MINUTE):
        clockwork.now += 0.04 if number % 2 else -0.04
        clockwork.tick(STILL)
    assert len(clockwork.shows) >= 59


def test_news_is_shown_at_the_next_look_and_that_is_two_moments_away_at_most() -> None:
    for quiet in range(30, 36):
        clockwork = Clockwork()
        for _ in range(quiet):
            clockwork.tick(STILL)
        news, since = replace(STILL, event_seq=7), clockwork.now
        for _ in range(2):
            clockwork.tick(news)
        assert clockwork.seen is news
        assert clockwork.shows[-1] - since <= 2 * TICK_S + 0.001
        clockwork.tick(STILL)
        assert clockwork.looks[-1] == clockwork.now  # and then every moment is looked at for a while


def test_every_moment_is_shown_where_more_moves_than_ages() -> None:
    clockwork = Clockwork(is_still=False)
    for _ in range(MINUTE):
        clockwork.tick(STILL)
    assert len(clockwork.shows) == MINUTE


@pytest.mark.parametrize(
    "change",
    [
        lambda s: replace(s, event_seq=s.event_seq + 1),
        lambda s: replace(s, counts=replace(s.counts, running=s.counts.running - 1)),
        lambda s: replace(s, paused=True),
        lambda s: replace(s, totals=replace(s.totals, input_tokens=s.totals.input_tokens + 1)),
        lambda s: replace(s, workers=(replace(s.workers[0], task="another"), *s.workers[1:])),
        lambda s: replace(s, locks=(replace(s.locks[0], state="overdue"), *s.locks[1:])),
        lambda s: replace(s, locks=s.locks[:1]),
        lambda s: replace(s, waiting_for="the SDK"),
    ],
)
def test_whatever_else_changes_is_news(change: Callable[[Snapshot], Snapshot]) -> None:
    assert is_news(change(STILL), STILL)


def test_what_changes_by_itself_is_none() -> None:
    assert not is_news(moment(locks=LOCKS), STILL)
    assert beaten(STILL, 1) != STILL
    assert not is_news(beaten(STILL, 1), STILL)
