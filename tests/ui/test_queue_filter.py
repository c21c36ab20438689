"""The queue's tabs and its filter: what they count, what they choose, and the room they have."""

from __future__ import annotations

import pytest
from textual.widgets import Input

from agentdash.model import Counts, TaskQuery, TaskState
from agentdash.ui.panels import filterbar
from agentdash.ui.panels.queue import Queue
from agentdash.ui.panels.statetabs import StateTabs
from tests.ui.moments import HOSTILE
from tests.ui.queue_stage import SIZE, Stage, Store, ids_seen, many, rows_seen, settled, task, until
from tests.ui.screen_text import screen_text, widget_lines


# -- tabs ------------------------------------------------------------------------------------------------------------
async def test_tabs_count_and_choose() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        tabs = app.panel.query_one(StateTabs)
        assert widget_lines(tabs)[0] == "│ 1 all 500  2 pending 200  3 running 100  4 failed 100  5 done 100".lstrip(
            "│"
        )
        app.panel.set_state(3)
        await settled(pilot)
        assert ids_seen(app)[:2] == ["t0003", "t0008"]
        app.panel.next_state(1)
        await settled(pilot)
        assert all("  ✔ " in text and "done" not in text for text in rows_seen(app))  # the tab says the word
        app.panel.next_state(1)  # round the end: there is no cancelled task
        assert tabs.active == 0
        app.panel.next_state(-1)
        assert tabs.active == 4
        await pilot.click(tabs, offset=(15, 0))
        await settled(pilot)
        assert tabs.active == 1
        assert app.queue.query_shown.state is TaskState.PENDING


async def test_the_tab_of_cancelled_tasks_is_there_if_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[bool] = []
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        monkeypatch.setattr(app, "bell", lambda: rung.append(True))
        app.panel.set_state(5)
        assert (app.panel.query_one(StateTabs).active, rung) == (0, [True])
        app.store.tasks[7] = task(7, TaskState.CANCELLED)
        app.tick(1)
        app.panel.next_state(-1)
        await settled(pilot)
        assert "6 cancelled 1" in screen_text(app)
        assert ids_seen(app)[0] == "t0007"
        app.store.tasks[7] = task(7)
        app.tick(1)
        await until(pilot, lambda: "No task was cancelled." in screen_text(app))
        assert "6 cancelled 0" in screen_text(app)  # one stands on it


@pytest.mark.parametrize(
    ("width", "total", "shown"),
    [
        (100, 700, " 1 all 700  2 pending 280  3 running 140  4 failed 140  5 done 140"),
        (60, 700, " 1 all 700  2 pend 280  3 run 140  4 fail 140  5 done 140"),
        (66, 1_000_000, " 1 all 1.0M  2 pend 400k  3 run 200k  4 fail 200k  5 done 200k"),
        (56, 700, " 1 all 700  2 ○ 280  3 ● 140  4 ✖ 140  5 ✔ 140"),
        (46, 700, " all 700  ○ 280  ● 140  ✖ 140  ✔ 140"),
        (36, 1_000_000, " all1.0M ○400k ●200k ✖200k ✔200k"),
    ],
)
async def test_tabs_in_little_room(width: int, total: int, shown: str) -> None:
    async with Stage(Store(many(5))).run_test(size=(width, 12)) as pilot:
        app = await settled(pilot)
        fifth = total // 5
        app.panel.query_one(StateTabs).update(Counts(2 * fifth, fifth, fifth, fifth))
        await pilot.pause()
        assert widget_lines(app.panel.query_one(StateTabs))[0] == shown


# -- filter ----------------------------------------------------------------------------------------------------------
async def test_typing_filters_once_the_user_pauses() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.panel.open_filter()
        await pilot.press(*"t0007")
        await until(pilot, lambda: "1 match" in screen_text(app))
        assert [query.text for query, _, _ in app.store.asked] == ["", "t0007"]
        assert ids_seen(app)[0] == "t0007"
        await pilot.press("backspace", "enter")  # Enter does not wait
        await settled(pilot)
        assert app.queue.has_focus
        assert "10 matches" in screen_text(app)
        app.panel.open_filter()
        await until(pilot, lambda: not app.queue.has_focus)
        await pilot.press("escape")
        await until(pilot, lambda: app.panel.query_one(Queue).has_focus)
        await settled(pilot)
        assert "match" not in screen_text(app)
        assert app.queue.row_count == 500
        assert not app.panel.clear()


async def test_a_search_says_how_far_it_is() -> None:
    store = Store(many())
    async with Stage(store).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        store.searched = 0.4
        app.panel.filter_by("REFUSED", TaskState.FAILED)
        await settled(pilot)
        assert "searched 40 %, 100 matches" in screen_text(app)
        assert app.queue.query_shown == TaskQuery(TaskState.FAILED, "REFUSED")
        assert app.panel.query_one(StateTabs).active == 3
        assert app.queue.has_focus
        store.searched = 1.0
        app.tick(1)
        await until(pilot, lambda: "searched" not in screen_text(app))
        assert app.panel.clear()  # Escape in the list
        await settled(pilot)
        assert app.queue.query_shown == TaskQuery(TaskState.FAILED)


async def test_escape_clears_the_filter_before_the_marks() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        await pilot.press("space")
        app.panel.filter_by("report")
        assert app.panel.clear()
        assert app.queue.marked == 1
        assert app.panel.clear()
        assert app.queue.marked == 0
        assert not app.panel.clear()


async def test_a_filter_that_is_hostile_is_shown_cleaned() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.panel.open_filter()
        app.panel.query_one(Input).value = HOSTILE
        await until(pilot, lambda: "No task matches" in screen_text(app))
        assert "[@click=app.quit]x[/]" in screen_text(app)
        assert all(character.isprintable() or character == "\n" for character in screen_text(app))


async def test_an_empty_filter_closes() -> None:
    async with Stage(Store(many())).run_test(size=SIZE) as pilot:
        app = await settled(pilot)
        app.panel.open_filter()
        await pilot.press("space", "enter")
        assert app.queue.has_focus
        assert not app.panel.query_one(filterbar.FilterBar).display


@pytest.mark.parametrize(("width", "told"), [(100, True), (56, False)])
async def test_the_keys_of_the_filter_are_told_while_one_types(width: int, told: bool) -> None:
    async with Stage(Store(many())).run_test(size=(width, 12)) as pilot:
        app = await settled(pilot)
        app.panel.open_filter()
        await pilot.press(*"t0007")
        await until(pilot, lambda: "1 match" in screen_text(app))
        assert ("1 match  ⏎ keep  esc clear" in screen_text(app)) is told
        await pilot.press("enter")
        await settled(pilot)
        assert "1 match" in screen_text(app)
        assert "keep" not in screen_text(app)  # in the list these keys mean something else
