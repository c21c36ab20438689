"""What can go wrong with a list of tasks: a database that is gone or none, a read that breaks, an end at any moment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agentdash.clock import SYSTEM_CLOCK
from agentdash.engine.browse import TaskBrowser
from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.browse import BrowseReads
from agentdash.errors import StoreError
from agentdash.model import TaskQuery, TaskSort
from tests.store.browsing import browsing, finished

pytest_plugins = ["tests.store.browse_fixtures"]
pytestmark = pytest.mark.usefixtures("patience")


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
