"""Searching the tasks: what is found, in which order, and how it is shown while the search goes on."""

from __future__ import annotations

import asyncio

import pytest

from agentdash.clock import SYSTEM_CLOCK
from agentdash.engine.browse import TaskBrowser
from agentdash.engine.store import SqliteTaskStore
from agentdash.model import TaskQuery, TaskSort, TaskState
from tests.store.browsing import browsing, finished, listed
from tests.support.stored import spec

pytest_plugins = ["tests.store.browse_fixtures"]
pytestmark = pytest.mark.usefixtures("patience")


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
