"""Lists of tasks: any window of any query, against a plain model over all tasks of a real store."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentdash.engine.store import SqliteTaskStore
from agentdash.model import TaskQuery, TaskSort, TaskState
from tests.store.browsing import PIECES, Made, browsing, finished, listed, make, row_of
from tests.support.clock import FakeClock
from tests.support.stored import NOW, claim, run, spec

pytest_plugins = ["tests.store.browse_fixtures"]
pytestmark = pytest.mark.usefixtures("patience")

made = st.builds(
    Made,
    prompt=st.text(alphabet=PIECES, min_size=1, max_size=12),
    state=st.sampled_from(TaskState),
    priority=st.integers(-1, 1),
    tries=st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 1)),
    claimed=st.integers(0, 5).map(float),
    finished=st.integers(0, 5).map(float),
    worker=st.integers(1, 12),
    error=st.none() | st.text(alphabet=PIECES, max_size=8),
    batch=st.booleans(),
)
words = st.text(alphabet=PIECES, min_size=1, max_size=3)
queries = st.builds(
    TaskQuery,
    state=st.none() | st.sampled_from(TaskState),
    text=st.just("") | words | st.sampled_from(["worker-1", "KER", "-1", "1", "boom: ", "\0", "\ud800", "prompt"]),
    sort=st.sampled_from(TaskSort),
    descending=st.booleans(),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    tasks=st.lists(made, max_size=14),
    looks=st.lists(st.tuples(queries, st.integers(0, 16), st.integers(0, 16)), min_size=1, max_size=12),
    few=st.sampled_from([0, 5, 10_000]),
)
def test_every_window_of_every_query_is_as_the_model_says(
    tasks: list[Made], looks: list[tuple[TaskQuery, int, int]], few: int
) -> None:
    async def check(folder: str) -> None:
        store = SqliteTaskStore(folder)
        await make(store, tasks)
        async with browsing(store, few=few) as browser:
            for query, start, count in looks:
                expected = listed(store, query)
                window = await finished(browser, query, start, count)
                assert (window.query, window.start, window.total) == (query, start, len(expected))
                assert list(window.rows) == [row_of(store, r) for r in expected[start : start + count]]
        await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(folder))


@pytest.mark.parametrize("state", [None, TaskState.PENDING, TaskState.SUCCEEDED, TaskState.FAILED])
@pytest.mark.parametrize("sort", TaskSort)
async def test_long_lists_are_the_same_before_and_after_they_are_sorted(
    filled: SqliteTaskStore, state: TaskState | None, sort: TaskSort
) -> None:
    """The ends are answered before all is sorted; each look here may meet either."""
    for descending in (False, True):
        query = TaskQuery(state, "", sort, descending)
        ids = [record.id for record in listed(filled, query)]
        places = [0, 30, len(ids) - 25, max(0, len(ids) - 90), len(ids) // 2, len(ids) - 5, len(ids), len(ids) + 50]
        async with browsing(filled, few=0) as browser:
            for start in places * 2:
                window = await finished(browser, query, start, 40)
                assert [row.id for row in window.rows] == ids[start : start + 40], start
                assert window.total == len(ids)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("state", [None, TaskState.SUCCEEDED])
async def test_by_time_those_without_one_come_last(
    sqlite: SqliteTaskStore, state: TaskState | None, descending: bool
) -> None:
    """Both kinds are in one window: pending tasks have no time, running ones stand before all."""
    states = [TaskState.PENDING, TaskState.SUCCEEDED, TaskState.RUNNING, TaskState.FAILED, TaskState.SUCCEEDED] * 4
    times = [n * 7 % 11 for n in range(len(states))]
    await make(
        sqlite,
        [Made("p", s, 0, (1, 0, 0), n, n + 3, 1, None, False) for s, n in zip(states, times, strict=True)],
    )
    query = TaskQuery(state, "", TaskSort.RECENT, descending)
    ids = [record.id for record in listed(sqlite, query)]
    for start in (0, 3, 11, 17):  # each answered by a browser that has nothing sorted yet
        async with browsing(sqlite, few=0) as browser:
            window = await browser.list_tasks(query, start, 6)
            assert [row.id for row in window.rows] == ids[start : start + 6]
            assert window.searched == 1


async def test_who_asks_for_what_takes_long_gets_half_an_answer_at_once(
    filled: SqliteTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentdash.engine.browse._ANSWER_S", 0.0)
    monkeypatch.setattr("agentdash.engine.browse._END_S", 0.0)
    async with browsing(filled, few=0) as browser:
        for query in (TaskQuery(sort=TaskSort.TRIES), TaskQuery(text="of t2999")):
            early = await browser.list_tasks(query, 0, 10)
            assert (early.rows, early.searched) == ((), 0.0)
            whole = await finished(browser, query, 0, 10)
            assert [row.id for row in whole.rows] == [r.id for r in listed(filled, query)][:10]


async def test_a_list_that_was_made_serves_both_directions(filled: SqliteTaskStore) -> None:
    async with browsing(filled, few=0) as browser:
        query = TaskQuery(sort=TaskSort.TRIES)
        await finished(browser, query, 1500, 10)
        turned = await browser.list_tasks(replace(query, descending=True), 1490, 10)  # the middle, without waiting
        assert turned.searched == 1
        assert [row.id for row in turned.rows] == [r.id for r in listed(filled, query)][1500:1510][::-1]


async def test_tasks_that_were_taken_out_by_hand_leave_gaps_that_do_not_show(filled: SqliteTaskStore) -> None:
    filled.run_and_wait(lambda tx: tx.connection.execute("DELETE FROM tasks WHERE seq IN (1000, 2000)").rowcount)
    filled.run_and_wait(lambda tx: tx.connection.execute("UPDATE totals SET pending = pending - 2").rowcount)
    ids = [record.id for record in filled.tasks()]
    async with browsing(filled) as browser:
        for start in (0, 990, 1990, 2990):
            window = await browser.list_tasks(TaskQuery(), start, 20)
            assert [row.id for row in window.rows] == ids[start : start + 20]


async def test_a_list_follows_changes_but_not_more_often_than_it_is_worth(filled: SqliteTaskStore) -> None:
    clock = FakeClock()
    async with browsing(filled, clock=clock, few=0) as browser:
        query = TaskQuery(TaskState.FAILED, sort=TaskSort.RECENT)
        before = await finished(browser, query, 0, 1000)
        async with asyncio.timeout(20):
            while browser._listing.work is not None:  # the whole order is made behind the first answer
                await browser.list_tasks(query, 0, 1)
        await run(filled, "t2000", TaskState.FAILED, now=NOW + 5000)
        assert (await browser.list_tasks(query, 0, 1000)).total == before.total
        clock.advance(3)
        async with asyncio.timeout(20):
            while (await browser.list_tasks(query, 0, 1)).total == before.total:
                pass
        assert (await browser.list_tasks(query, 0, 1)).rows[0].id == "t2000"
        clock.advance(100)
        await browser.list_tasks(query, 0, 1)  # nothing changed: nothing is made anew
        assert browser._listing.work is None


async def test_rows_are_live_also_where_their_list_is_older(filled: SqliteTaskStore) -> None:
    async with browsing(filled, clock=FakeClock()) as browser:
        query = TaskQuery(TaskState.PENDING, "prompt of t2000")
        assert [row.state for row in (await finished(browser, query, 0, 5)).rows] == [TaskState.PENDING]
        await claim(filled, "t2000", worker="worker-3")
        window = await browser.list_tasks(query, 0, 5)
        assert [(row.state, row.worker) for row in window.rows] == [(TaskState.RUNNING, "worker-3")]


async def test_windows_stay_whole_while_others_write(filled: SqliteTaskStore) -> None:
    async def write() -> None:
        for n in range(1000, 1200):
            await run(filled, f"t{n}", TaskState.SUCCEEDED if n % 2 else TaskState.FAILED)

    async with browsing(filled, few=100) as browser:
        writing = asyncio.create_task(write())
        looks = 0
        while not writing.done():
            for state in (None, *TaskState):
                for query in (TaskQuery(state), TaskQuery(state, sort=TaskSort.RECENT), TaskQuery(state, "t11")):
                    window = await browser.list_tasks(query, 0, 50)
                    ids = [row.id for row in window.rows]
                    assert len(ids) == len(set(ids))
                    assert len(ids) <= window.total
                    looks += 1
                    if not query.text and query.sort is TaskSort.ORDER:
                        assert all(state in (None, row.state) for row in window.rows)
        await writing
        assert looks > 18
        counts = filled.counts()
        assert (await browser.list_tasks(TaskQuery(TaskState.FAILED), 0, 1)).total == counts.failed
        assert (await browser.list_tasks(TaskQuery(), 0, 1)).total == counts.total


# -- one task --------------------------------------------------------------------------------------------------------
async def test_everything_about_a_task(sqlite: SqliteTaskStore) -> None:
    await sqlite.add([spec("a", "x" * 5_000_000), spec("b")])
    await run(sqlite, "a", TaskState.FAILED, error="no 5", attempts=2, crashes=1)
    async with browsing(sqlite) as browser:
        detail = await browser.task_detail("a")
        assert detail is not None
        assert detail.payload == {"prompt": "x" * 5_000_000}
        assert (detail.row.text, detail.row.error, detail.row.tries) == ("x" * 200, "Boom: no 5", 3)
        assert (detail.attempts, detail.service_failures, detail.crashes, detail.claimed_at) == (2, 0, 1, NOW)
        assert [attempt.error_message for attempt in detail.history] == ["no 5"]
        assert detail.result is not None
        assert detail.result["custom_id"] == "a"
        other = await browser.task_detail("b")
        assert other is not None
        assert (other.result, other.history) == (None, ())
        assert await browser.task_detail("c") is None
        assert await browser.task_detail("\ud800") is None
        assert await browser.task_detail("a\0") is None
