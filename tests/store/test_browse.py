"""Lists of tasks: any window of any query, against a plain model over all tasks of a real store."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from json.encoder import encode_basestring
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.browse import TaskBrowser
from agentdash.engine.preview import preview
from agentdash.engine.store import SqliteTaskStore, TaskRecord
from agentdash.engine.store.browse import FEW, BrowseReads
from agentdash.errors import StoreError
from agentdash.model import TaskQuery, TaskRow, TaskSort, TaskSpec, TaskState, TaskWindow
from tests.support.clock import FakeClock
from tests.support.stored import NOW, claim, end, run, spec, specs

PIECES = "aAbB%_\\\"\n'éÉ1-: {}"
FAR = NOW + 10**6


@dataclass(frozen=True)
class Made:
    """A task as a test wants it."""

    prompt: str
    state: TaskState
    priority: int
    tries: tuple[int, int, int]
    claimed: float
    finished: float
    worker: int
    error: str | None
    batch: bool


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


@pytest.fixture(autouse=True, scope="module")
def patience() -> Iterator[None]:
    """On a busy machine half an answer is right as well; here each is waited for, so that there is one to compare."""
    with pytest.MonkeyPatch.context() as patch:
        for constant in ("_ANSWER_S", "_END_S"):
            patch.setattr(f"agentdash.engine.browse.{constant}", 20.0)
        yield


@asynccontextmanager
async def browsing(
    store: SqliteTaskStore, *, clock: Clock = SYSTEM_CLOCK, few: int = FEW
) -> AsyncIterator[TaskBrowser]:
    browser = TaskBrowser(store.path, clock=clock, few=few)
    try:
        yield browser
    finally:
        await browser.close()


async def finished(browser: TaskBrowser, query: TaskQuery, start: int, count: int) -> TaskWindow:
    """The answer when nothing goes on any more."""
    async with asyncio.timeout(20):
        window = await browser.list_tasks(query, start, count)
        while window.searched < 1:
            window = await browser.list_tasks(query, start, count)
    return window


async def make(store: SqliteTaskStore, tasks: list[Made]) -> None:
    """Add tasks and bring each into its state."""
    lines = []
    for number, task in enumerate(tasks):
        plain = spec(f"T{number % 3}-{number}", task.prompt, priority=task.priority)
        params = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": task.prompt}]}
        body = json.dumps({"params": params}, ensure_ascii=False, separators=(",", ":"))
        lines.append(TaskSpec(plain.id, body, plain.body_hash, plain.priority) if task.batch else plain)
    await store.add(lines)
    for line, task in zip(lines, tasks, strict=True):
        if task.state is TaskState.PENDING and task.error is None:
            continue
        held = await claim(store, line.id, worker=f"worker-{task.worker}", now=NOW + task.claimed)
        if task.state is not TaskState.RUNNING:
            attempts, service, crashes = task.tries
            await store.settle(
                held,
                end(held, task.state, attempts=attempts, service_failures=service, crashes=crashes, error=task.error,
                    available_at=FAR if task.state is TaskState.PENDING else 0.0, now=NOW + task.finished),
            )  # fmt: skip


# -- the model ---------------------------------------------------------------------------------------------------------
def lower(text: str) -> str:
    """As LIKE compares: ASCII letters only."""
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)


def matches(store: SqliteTaskStore, record: TaskRecord, text: str) -> bool:
    if not text:
        return True
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        return False
    body = (store.payload(record.id) or "").removeprefix('{"prompt":"')
    fields = [record.id]
    if record.error_type is not None and record.state is not TaskState.RUNNING:
        fields.append(f"{record.error_type}: {record.error_message}")
    if record.worker is not None and record.state is not TaskState.PENDING:
        fields.append(record.worker)
    needle = lower(text)
    return any(needle in lower(field) for field in fields) or lower(encode_basestring(text)[1:-1]) in lower(body)


def since(record: TaskRecord) -> float | None:
    if record.state is TaskState.PENDING:
        return None
    return record.claimed_at if record.state is TaskState.RUNNING else record.finished_at


def tries(record: TaskRecord) -> int:
    return record.attempts + record.service_failures + record.crashes


def recent(record: TaskRecord) -> tuple[int, float, int]:
    """What runs, the longest first, then what was finished, the last first, then what has no time."""
    if record.state is TaskState.RUNNING:
        return (0, record.claimed_at or 0, record.seq)
    return (1, -record.finished_at, record.seq) if record.finished_at is not None else (2, 0, record.seq)


def listed(store: SqliteTaskStore, query: TaskQuery) -> list[TaskRecord]:
    found = [r for r in store.tasks([query.state] if query.state else []) if matches(store, r, query.text)]
    if query.sort is TaskSort.ID:
        found.sort(key=lambda r: r.id)
    elif query.sort is TaskSort.TRIES:
        found.sort(key=lambda r: (-tries(r), r.seq))
    elif query.sort is TaskSort.RECENT:
        found.sort(key=recent)
    elif query.state is TaskState.PENDING:
        found.sort(key=lambda r: (-r.priority, r.seq))
    elif query.state is TaskState.RUNNING:
        found.sort(key=lambda r: (r.claimed_at or 0, r.seq))
    return found[::-1] if query.descending else found


def row_of(store: SqliteTaskStore, r: TaskRecord) -> TaskRow:
    shows = r.state in (TaskState.PENDING, TaskState.FAILED, TaskState.CANCELLED) and r.error_type is not None
    return TaskRow(
        r.seq, r.id, r.state, r.priority, tries(r), None if r.state is TaskState.PENDING else r.worker, since(r),
        r.available_at, preview(store.payload(r.id) or ""), f"{r.error_type}: {r.error_message}" if shows else None,
    )  # fmt: skip


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


@pytest.fixture
async def filled(sqlite: SqliteTaskStore) -> SqliteTaskStore:
    """3,000 tasks, 900 of them finished in another order than that of the file, some of those failed."""
    await sqlite.add(specs(3000))
    order = [n * 7 % 901 for n in range(1, 901)]
    held = await asyncio.gather(*(claim(sqlite, f"t{n}", worker=f"worker-{n % 9}", now=NOW) for n in order))
    states = [TaskState.FAILED if at % 10 == 0 else TaskState.SUCCEEDED for at in range(len(held))]
    ends = [end(one, states[at], attempts=at % 4, now=NOW + at) for at, one in enumerate(held)]
    assert all(await asyncio.gather(*(sqlite.settle(*pair) for pair in zip(held, ends, strict=True))))
    return sqlite


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


# -- searching ---------------------------------------------------------------------------------------------------------
async def test_a_new_question_ends_the_old_search(filled: SqliteTaskStore) -> None:
    async with browsing(filled) as browser:
        asked = [asyncio.create_task(browser.list_tasks(TaskQuery(text=f"of t{n}"), 0, 40)) for n in range(20)]
        asked.append(asyncio.create_task(browser.list_tasks(TaskQuery(sort=TaskSort.TRIES), 0, 40)))
        last = asyncio.create_task(finished(browser, TaskQuery(text="of t2999"), 0, 40))
        assert [row.id for row in (await last).rows] == ["t2999"]
        for window in await asyncio.gather(*asked):
            assert window.searched <= 1
        assert len(browser._tasks) == 0


async def test_what_is_found_first_is_shown_first_from_either_end(
    filled: SqliteTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentdash.engine.listing._FIRST_PART", 50)
    monkeypatch.setattr("agentdash.engine.listing._LARGEST_PART", 50)
    for descending in (False, True):
        async with browsing(filled) as browser:
            query = TaskQuery(text="PROMPT of", descending=descending)
            window = await browser.list_tasks(query, 0, 3)
            assert [row.id for row in window.rows] == (
                ["t3000", "t2999", "t2998"] if descending else ["t1", "t2", "t3"]
            )
            fractions = [window.searched]
            while window.searched < 1:
                window = await browser.list_tasks(query, 0, 3)
                fractions.append(window.searched)
            assert fractions == sorted(fractions)
            assert window.total == 3000


async def test_what_is_found_among_pending_tasks_stands_by_priority(sqlite: SqliteTaskStore) -> None:
    await sqlite.add(spec(f"t{n}", priority=n % 3) for n in range(9))
    async with browsing(sqlite) as browser:
        window = await finished(browser, TaskQuery(TaskState.PENDING, "prompt of"), 0, 9)
        assert [row.id for row in window.rows] == ["t2", "t5", "t8", "t1", "t4", "t7", "t0", "t3", "t6"]


@pytest.mark.parametrize("text", ['SAY "hi"', "\nback\\sl", "100%", "_", "é", '"hi"\n'])
async def test_a_text_is_found_as_it_was_written(sqlite: SqliteTaskStore, text: str) -> None:
    await sqlite.add([spec("a", 'say "hi"\nback\\slash 100% _é'), spec("b", "say hi back/slash 100 É")])
    async with browsing(sqlite) as browser:
        assert [row.id for row in (await finished(browser, TaskQuery(text=text), 0, 9)).rows] == ["a"]


async def test_a_long_text_and_no_text_at_all_are_no_trouble(sqlite: SqliteTaskStore) -> None:
    long = "%_\\x" * 20_000
    await sqlite.add([spec("a", long), spec("b")])
    async with browsing(sqlite) as browser:
        assert [row.id for row in (await finished(browser, TaskQuery(text=long), 0, 9)).rows] == ["a"]
        assert (await finished(browser, TaskQuery(TaskState.FAILED, "x"), 0, 9)).total == 0
    empty = TaskBrowser(sqlite.path, clock=SYSTEM_CLOCK)
    await empty.close()
    await empty.close()


async def test_a_search_that_sorts_many(filled: SqliteTaskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agentdash.engine.store.browse._SORTED_AT_ONCE", 10)
    async with browsing(filled) as browser:
        query = TaskQuery(TaskState.SUCCEEDED, "of t1", TaskSort.TRIES, descending=True)
        expected = [record.id for record in listed(filled, query)]
        window = await finished(browser, query, 0, 1000)
        assert ([row.id for row in window.rows], window.total) == (expected, len(expected))


# -- one task, and what can go wrong -----------------------------------------------------------------------------------
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


async def test_a_database_that_is_gone_is_an_error_and_is_not_made_anew(tmp_path: Path) -> None:
    browser = TaskBrowser(tmp_path / "state.db", clock=SYSTEM_CLOCK)
    for _ in range(2):
        with pytest.raises(StoreError):
            await browser.list_tasks(TaskQuery(), 0, 10)
        with pytest.raises(StoreError):
            await browser.list_tasks(TaskQuery(text="a"), 0, 10)
    with pytest.raises(StoreError):
        await browser.error_groups()
    await browser.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_database_that_is_none_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"not a database" * 500)
    browser = TaskBrowser(path, clock=SYSTEM_CLOCK)
    with pytest.raises(StoreError, match="corrupt"):
        await browser.list_tasks(TaskQuery(), 0, 10)
    await browser.close()


async def test_a_list_that_breaks_in_the_middle_says_so_and_is_tried_again(
    filled: SqliteTaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with browsing(filled) as browser:
        with monkeypatch.context() as patch:
            patch.setattr(BrowseReads, "matching", lambda *_: 1 // 0)
            with pytest.raises(StoreError, match="ZeroDivisionError"):
                await finished(browser, TaskQuery(text="of t2999"), 0, 5)
        assert (await finished(browser, TaskQuery(text="of t2999"), 0, 5)).total == 1


async def test_nothing_can_be_asked_after_the_end(filled: SqliteTaskStore) -> None:
    browser = TaskBrowser(filled.path, clock=SYSTEM_CLOCK)
    await browser.list_tasks(TaskQuery(text="of t2999"), 0, 5)
    await browser.close()
    for ask in (browser.list_tasks(TaskQuery(), 0, 5), browser.task_detail("t1"), browser.error_groups()):
        with pytest.raises(StoreError, match="closed"):
            await ask


async def test_the_end_comes_in_the_middle_of_everything(filled: SqliteTaskStore) -> None:
    browser = TaskBrowser(filled.path, clock=SYSTEM_CLOCK, few=0)
    asked = [
        asyncio.create_task(browser.list_tasks(TaskQuery(text="of t29"), 0, 5)),
        asyncio.create_task(browser.list_tasks(TaskQuery(sort=TaskSort.TRIES), 0, 5)),
        asyncio.create_task(browser.error_groups()),
    ]
    await asyncio.sleep(0)
    await browser.close()
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        assert not isinstance(outcome, BaseException) or isinstance(outcome, StoreError)
