"""When rows are asked for again: how often, one request at a time, and not while a hand is on the list."""

from __future__ import annotations

import pytest

from agentdash.model import TaskQuery, TaskSort
from agentdash.ui.panels.asking import HOLD_S, LEAST_S, LIVE_S, Asking
from tests.support.clock import FakeClock

LIVE = TaskQuery(sort=TaskSort.RECENT)


def test_asking_costs_a_tenth_of_the_time_at_most() -> None:
    clock = FakeClock(0.0)
    asking, query, rows = Asking(clock.monotonic), TaskQuery(), range(8)
    first = asking.next(query, rows)
    assert first is not None
    clock.advance(0.5)
    asking.ended(first)
    asking.stale = True
    clock.advance(4.9)
    assert asking.next(query, rows) is None
    clock.advance(0.2)
    assert asking.next(query, rows) is not None


def answered(asking: Asking, *, live: bool) -> bool:
    """Whether the rows are asked for again now; if so, the answer comes at once."""
    asking.stale = True
    if (request := asking.next(LIVE, range(8), live=live)) is None:
        return False
    asking.ended(request)
    return True


@pytest.mark.parametrize(("live", "every"), [(True, LIVE_S), (False, LEAST_S)])
def test_a_live_list_is_put_into_another_order_once_a_second(live: bool, every: float) -> None:
    clock = FakeClock(0.0)
    asking = Asking(clock.monotonic)
    assert answered(asking, live=live)
    clock.advance(every - 0.01)
    assert not answered(asking, live=live)
    clock.advance(0.02)
    assert answered(asking, live=live)


def test_a_live_list_keeps_its_order_while_a_hand_is_on_it() -> None:
    clock = FakeClock(0.0)
    asking = Asking(clock.monotonic)
    assert answered(asking, live=True)
    clock.advance(5)
    asking.hold()
    clock.advance(HOLD_S - 0.01)
    assert not answered(asking, live=True)
    assert answered(asking, live=False)  # lists that stand still anyhow need no hold
    clock.advance(LIVE_S)
    assert answered(asking, live=True)
    asking.hold()
    further = asking.next(LIVE, range(100, 108), live=True)  # rows that are not there are asked for at once
    assert further is not None
    asking.ended(further)
    asking.release()
    assert answered(asking, live=True)


def test_asking_drops_what_is_outdated() -> None:
    asking = Asking(FakeClock().monotonic)
    first = asking.next(TaskQuery(), range(8))
    assert first is not None
    assert asking.next(TaskQuery(), range(100, 108)) is None  # one at a time
    second = asking.next(TaskQuery(text="x"), range(8))  # but a new query at once
    assert second is not None
    asking.ended(first)
    assert asking.next(TaskQuery(text="x"), range(50, 58)) is None  # the first one's end is not the second's
    asking.ended(second)
    third = asking.next(TaskQuery(text="x"), range(50, 58))
    assert third is not None
    assert (third.start, third.count) == (42, 24)
    asking.ended(third, failed=True)
    assert asking.stale
    assert asking.next(TaskQuery(), range(0)) is None  # nothing can be seen
