"""Until when further tasks may begin: cost, time at work, and the wall clock, on clocks that the test moves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdash import ParallelSessionManager, TaskStateManager
from agentdash.config import Settings
from agentdash.engine.allowance import Allowance
from agentdash.engine.policy import RetryPolicy, after_failure, interrupted, success
from agentdash.engine.store import Claim, MemoryTaskStore
from agentdash.model import Answer, Attempt, Failure, FailureClass, LimitsView, Spent, Usage

NOON = 1_800_000_000.0 - 1_800_000_000.0 % 86_400 + 43_200


class TwoClocks:
    """The wall clock and the monotonic one, which differ."""

    def __init__(self) -> None:
        self.wall, self.ticks = NOON, 50.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    async def sleep(self, seconds: float) -> None:
        self.pass_by(seconds)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds


class Session:
    """A queue in memory, whose tasks the test begins and ends, under limits."""

    def __init__(self, tasks: int = 100, **limits: Any) -> None:
        self.clock = TwoClocks()
        self.store = MemoryTaskStore()
        self.manager = TaskStateManager(self.store, clock=self.clock)
        self.manager.add_tasks([{"id": f"t{n}"} for n in range(tasks)])
        self.pool = ParallelSessionManager(4, clock=self.clock)
        self.pool.max_workers = 4
        self.allowance = Allowance(
            Settings(**limits),
            store=self.store,
            manager=self.manager,
            pool=self.pool,
            events=self.pool.events,
            clock=self.clock,
        )
        self.allowance.begin(drains=False)

    async def begin(self) -> Claim:
        task = self.manager.get_next_pending_task()
        assert task is not None
        claim = await self.manager.claim(task, "worker-0")
        assert claim is not None
        return claim

    async def end(self, claim: Claim, cost: float | None, *, fails: bool = False) -> None:
        attempt = Attempt(claim.task.fence, "worker-0", None, None, 0, 0, "x")
        failure = Failure(FailureClass.TASK, "ValueError", "no", cost_usd=cost)
        settlement = (
            after_failure(claim, attempt, failure, RetryPolicy(max_attempts=1))
            if fails
            else success(claim, attempt, Answer("x", cost_usd=cost))
        )
        self.allowance.learn(claim, settlement)
        await self.manager.settle(claim, settlement)

    def texts(self) -> list[str]:
        return [event.text for event in self.pool.events.since(0) if event.kind == "allowance"]


# -- cost --------------------------------------------------------------------------------------------------------------
async def test_what_runs_is_expected_to_cost_what_tasks_have_cost() -> None:
    session = Session(max_cost=1.0)
    for _ in range(6):
        await session.end(await session.begin(), 0.1)
    running = [await session.begin() for _ in range(3)]
    assert session.allowance.may_begin(), "0.6 spent, and three that run"
    running.append(await session.begin())
    assert not session.allowance.may_begin(), "0.6 and 0.4"
    session.allowance.look()
    assert session.allowance.reached == "", "they may cost less"
    assert session.allowance.holds() == "the running tasks may use up the limit of $1.00"
    for claim in running[:3]:
        await session.end(claim, 0.01)
    assert session.allowance.may_begin(), "they did"


async def test_when_nothing_runs_any_more_and_none_may_begin_the_run_is_paused() -> None:
    session = Session(max_cost=25.0)
    for _ in range(24):
        await session.end(await session.begin(), 1.04)
    session.allowance.look()
    assert session.pool.is_paused
    assert session.allowance.reached == "the limit of $25.00 is reached ($24.96 spent)"
    assert session.texts() == ["the limit of $25.00 is reached ($24.96 spent): no further task begins"]
    assert session.allowance.report()["reached"] == "max_cost"


async def test_when_it_is_spent_the_run_is_paused_though_tasks_still_run() -> None:
    session = Session(max_cost=1.0)
    still = await session.begin()
    await session.end(await session.begin(), 1.2)
    session.allowance.look()
    assert session.allowance.reached == "the limit of $1.00 is reached ($1.20 spent)"
    await session.end(still, 0.3)
    assert session.allowance.reached == "the limit of $1.00 is reached ($1.50 spent)"


async def test_a_failed_task_has_cost_something_as_well() -> None:
    session = Session(max_cost=1.0)
    await session.end(await session.begin(), 1.1, fails=True)
    assert not session.allowance.may_begin()


async def test_while_nothing_is_known_a_tasks_own_limit_is_what_it_will_cost() -> None:
    session = Session(max_cost=2.0, max_task_cost=0.5)
    for _ in range(4):
        assert session.allowance.may_begin()
        await session.begin()
    assert not session.allowance.may_begin()
    dear = Session(max_cost=2.0, max_task_cost=5.0)
    assert dear.allowance.may_begin(), "one may always begin"


async def test_the_last_tasks_do_not_pause_a_run_that_is_done() -> None:
    session = Session(tasks=1, max_cost=1.0)
    claim = await session.begin()
    await session.end(claim, 9.0)
    session.allowance.look()
    assert session.allowance.reached == ""
    assert session.allowance.may_begin(), "a worker that would begin one finds that there is none"


async def test_an_unknown_price_is_told_once_and_only_where_it_matters() -> None:
    session = Session(max_cost=1.0)
    for _ in range(3):
        session.allowance.unpriced(Answer("x", {"model": "some-model"}))
    assert session.texts() == ["the price of some-model is not known: they count as $0.00 towards the limit"]
    programs = Session(max_task_cost=1.0)
    programs.allowance.unpriced(Answer("x"))
    assert programs.texts() == ["what these tasks cost is not known: they count as $0.00 towards the limit"]
    free = Session(max_duration="1h")
    free.allowance.unpriced(Answer("x"))
    assert free.texts() == []


@settings(max_examples=60, deadline=None)
@given(
    costs=st.lists(st.floats(0.01, 1.0), min_size=60, max_size=60),
    limit=st.floats(0.5, 10.0),
    workers=st.integers(1, 8),
)
async def test_the_limit_is_overshot_by_what_ran_unexpectedly_at_most(
    costs: list[float], limit: float, workers: int
) -> None:
    """Each task may cost more than the average: that, and no more, is what the limit can be missed by."""
    session = Session(tasks=60, max_cost=limit)
    running: list[Claim] = []
    left = iter(costs)
    while True:
        session.allowance.look()
        if session.pool.is_paused and not running:
            break
        if len(running) < workers and session.manager.store.counts().pending and session.allowance.may_begin():
            running.append(await session.begin())
            continue
        if not running:
            break
        await session.end(running.pop(0), next(left))
    spent = session.store.totals().cost_usd
    assert spent < limit + workers * max(costs)
    if session.store.counts().pending:
        assert spent > limit - max(costs), "nor is it given up early"


@settings(max_examples=30, deadline=None)
@given(limit=st.floats(0.5, 10.0), workers=st.integers(1, 8))
async def test_tasks_that_cost_the_same_miss_the_limit_by_half_a_task(limit: float, workers: int) -> None:
    session = Session(tasks=300, max_cost=limit)
    await session.end(await session.begin(), 0.1)
    running: list[Claim] = []
    while not (session.pool.is_paused and not running):
        if len(running) < workers and session.allowance.may_begin():
            running.append(await session.begin())
        else:
            if running:
                await session.end(running.pop(0), 0.1)
            session.allowance.look()
    assert abs(session.store.totals().cost_usd - limit) <= 0.05 + 1e-6


# -- time --------------------------------------------------------------------------------------------------------------
def test_time_at_work_is_counted_and_time_paused_by_hand_is_not() -> None:
    session = Session(max_duration="2h30m")
    session.clock.pass_by(3600)
    session.allowance.stand()
    session.pool.pause()
    session.clock.pass_by(86_400)
    assert session.allowance.view() == LimitsView(left_s=5400.0)
    session.allowance.stand()
    session.pool.resume()
    session.clock.pass_by(5399)
    assert session.allowance.may_begin()
    session.clock.pass_by(1)
    assert not session.allowance.may_begin()
    session.allowance.look()
    assert session.pool.is_paused
    assert session.allowance.reached == "the limit of 2h30m is reached"


def test_between_two_runs_of_a_session_its_time_stands() -> None:
    session = Session(max_duration=60)
    session.clock.pass_by(40)
    session.allowance.end()
    session.clock.pass_by(3600)
    session.allowance.begin(drains=False)
    assert session.allowance.report()["duration_left_s"] == 20


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0, 1e8])
def test_a_clock_that_is_put_right_changes_nothing_of_the_time_at_work(jump: float) -> None:
    session = Session(max_duration="1h")
    session.clock.pass_by(600)
    session.clock.wall += jump
    assert session.allowance.report()["duration_left_s"] == 3000
    view = session.allowance.view()
    assert view.ends_at == session.clock.now() + 3000
    session.clock.pass_by(3000)
    assert not session.allowance.may_begin()


def test_a_moment_is_one_of_the_wall_clock() -> None:
    session = Session(stop_after="2099-01-01T00:00Z", max_duration="9h")
    assert session.allowance.may_begin()
    assert session.allowance.view().ends_at == session.clock.now() + 9 * 3600, "what comes first"
    session.clock.wall = session.allowance.stop_at or 0.0
    assert not session.allowance.may_begin()
    session.allowance.look()
    assert session.allowance.reached.startswith("the time to stop, ")
    session.clock.wall -= 3600
    assert session.allowance.reached, "it was reached, and the run is paused"


def test_a_time_of_day_is_the_next_one_when_the_session_begins() -> None:
    session = Session(stop_after="11:00Z")
    assert session.allowance.stop_at == NOON + 23 * 3600
    session.clock.pass_by(22 * 3600)
    assert session.allowance.may_begin()
    session.clock.pass_by(3600)
    assert not session.allowance.may_begin()


# -- going on ----------------------------------------------------------------------------------------------------------
async def test_going_on_lifts_the_limit_that_was_reached_and_no_other() -> None:
    session = Session(max_cost=1.0, max_duration="1h")
    await session.end(await session.begin(), 1.5)
    session.allowance.look()
    assert session.allowance.lift() == "the limit of $1.00 is reached ($1.50 spent)"
    session.pool.resume()
    assert session.allowance.reached == ""
    assert session.texts()[-1] == "the run goes on without its limit of what it may cost"
    assert session.allowance.view().max_cost is None
    assert session.allowance.may_begin()
    session.clock.pass_by(3600)
    session.allowance.look()
    assert session.allowance.reached == "the limit of 1h is reached"
    assert session.allowance.lift()
    session.pool.resume()
    session.clock.pass_by(1e6)
    assert session.allowance.may_begin()
    assert session.allowance.lift() == "", "there is nothing to lift"


async def test_the_view_stays_equal_while_nothing_happens() -> None:
    session = Session(max_cost=1.0, max_duration="1h", stop_after="23:00Z")
    before = session.allowance.view()
    session.clock.pass_by(5)
    session.clock.wall += 0.01  # the clocks do not run alike
    assert session.allowance.view() == before


async def test_what_was_spent_by_a_task_that_is_stopped_counts() -> None:
    session = Session(max_cost=1.0)
    claim = await session.begin()
    await session.manager.settle(claim, interrupted(claim, NOON, spent=Spent(Usage(100, 20), 1.1)))
    assert session.store.totals().cost_usd == 1.1
    assert session.store.totals().input_tokens == 100
    assert not session.allowance.may_begin()
