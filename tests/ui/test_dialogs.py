"""The question before something big, and the help: their keys, their mouse, and what hostile text does to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Button

from agentdash.text import clean
from agentdash.ui.screens.confirm import ConfirmDialog
from agentdash.ui.screens.help import HelpScreen
from tests.ui.moments import HOSTILE
from tests.ui.screen_text import screen_lines, screen_text, until

SIZES = ((60, 20), (80, 24), (120, 40), (200, 60))


class Stage(App[None]):
    """Opens a screen and keeps its answer."""

    def __init__(self, screen: Screen[bool] | Screen[None]) -> None:
        super().__init__()
        self.opened = screen
        self.answers: list[object] = []

    def on_mount(self) -> None:
        _ = self.push_screen(self.opened, self.answers.append)


@asynccontextmanager
async def opened(
    screen: Screen[bool] | Screen[None], size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[Stage, Pilot[None]]]:
    """The screen, drawn."""
    stage = Stage(screen)
    async with stage.run_test(size=size) as pilot:
        await until(pilot, lambda: stage.screen is screen and bool(screen_text(stage).strip()))
        yield stage, pilot


def question() -> ConfirmDialog:
    return ConfirmDialog("Cancel 1,204 tasks?", detail="Running ones are stopped.", confirm_label="Cancel tasks")


# -- the question ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (("enter",), False),
        (("escape",), False),
        (("n",), False),
        (("ctrl+c",), False),
        (("y",), True),
        (("right", "enter"), True),
        (("tab", "enter"), True),
        (("right", "left", "enter"), False),
        (("tab", "tab", "enter"), False),
        (("x", "r", "space", "R", "Y", "q", "enter"), False),
    ],
)
async def test_only_a_yes_is_one(keys: tuple[str, ...], answer: bool) -> None:
    async with opened(question()) as (stage, pilot):
        await pilot.press(*keys)
        await until(pilot, lambda: bool(stage.answers))
        assert stage.answers == [answer]


@pytest.mark.parametrize(("button", "answer"), [("#no", False), ("#yes", True)])
async def test_both_buttons_can_be_clicked(button: str, answer: bool) -> None:
    async with opened(question()) as (stage, pilot):
        await pilot.click(button)
        await until(pilot, lambda: bool(stage.answers))
        assert stage.answers == [answer]


async def test_a_click_beside_it_decides_nothing() -> None:
    async with opened(question()) as (stage, pilot):
        await pilot.click(offset=(1, 1))
        await pilot.click("#question")
        await pilot.pause()
        assert stage.answers == []
        assert isinstance(stage.screen, ConfirmDialog)


async def test_keys_pressed_twice_answer_once() -> None:
    async with opened(question()) as (stage, pilot):
        await pilot.press("y", "y", "n", "enter")
        await until(pilot, lambda: bool(stage.answers))
        assert stage.answers == [True]


@pytest.mark.parametrize("size", SIZES)
async def test_it_shows_question_detail_and_both_buttons_at_every_size(size: tuple[int, int]) -> None:
    async with opened(question(), size) as (stage, _):
        shown = screen_text(stage)
        assert all(text in shown for text in ("Cancel 1,204 tasks?", "Running ones are stopped.", "Cancel tasks"))
        assert stage.focused is not None
        assert stage.focused.id == "no"


@pytest.mark.parametrize("size", [(60, 20), (120, 40)])
@pytest.mark.parametrize("hostile", [HOSTILE, "[/]" * 300, "x" * 1_000_000, "e" + "\u0301" * 50_000, "a\n" * 5_000])
async def test_whatever_it_is_told_the_buttons_stay_and_nothing_is_markup(hostile: str, size: tuple[int, int]) -> None:
    async with opened(ConfirmDialog(hostile, detail=hostile, confirm_label=hostile[:30]), size) as (stage, pilot):
        shown = screen_text(stage)
        assert shown.replace("\n", "").isprintable()
        for button in stage.screen.query(Button):
            assert stage.screen.region.contains_region(button.region)
            assert button.region.width > 0
        await pilot.press("enter")
        await until(pilot, lambda: bool(stage.answers))
        assert stage.answers == [False]


async def test_markup_stands_there_as_it_is() -> None:
    text = "[@click=app.quit]a[/]b"
    async with opened(ConfirmDialog(text, detail=text, confirm_label=text)) as (stage, _):
        assert screen_text(stage).count(clean(text)) == 3


async def test_the_buttons_tell_their_keys_even_those_of_the_user() -> None:
    async with opened(question()) as (stage, _):
        assert "Cancel (n)" in screen_text(stage)
        assert "Cancel tasks (y)" in screen_text(stage)
    stage = Stage(question())
    stage.set_keymap({"yes": "f2"})
    async with stage.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "Cancel tasks (f2)" in screen_text(stage))


async def test_without_colours_only_the_button_with_the_focus_is_reversed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with opened(question()) as (stage, pilot):
        assert reversed_text(stage) == ["Cancel (n)"]
        await pilot.press("right")
        await until(pilot, lambda: reversed_text(stage) == ["Cancel tasks (y)"])
        strips = stage.screen._compositor.render_strips()
        styles = [part.style for strip in strips for part in strip if part.text.strip().endswith(("(n)", "(y)"))]
        lights = [sum(style.bgcolor.get_truecolor()) for style in styles if style and style.bgcolor]
        assert len(lights) == 2
        assert abs(lights[0] - lights[1]) < 90  # else reversing one of them would make them the same


def reversed_text(stage: Stage) -> list[str]:
    strips = stage.screen._compositor.render_strips()
    return [part.text.strip() for strip in strips for part in strip if part.style and part.style.reverse]


# -- help ------------------------------------------------------------------------------------------------------------
GROUPS = (
    ("The run", (("p", "Take no new tasks, or take them again; what runs goes on"), ("K", "Make the next key active"))),
    ("Lists", (("j k, ↓ ↑", "Down and up"), ("ctrl+shift+alt+f12, ctrl+f11", "Nothing in particular"))),
)


async def all_of(stage: Stage, pilot: Pilot[None]) -> str:
    """Every line of a screen, by paging through it."""
    seen: list[str] = []
    while (lines := screen_lines(stage)) != seen[-len(lines) :]:
        seen += lines
        await pilot.press("pagedown")
        await pilot.pause()
    return "\n".join(seen)


@pytest.mark.parametrize("size", SIZES)
async def test_help_shows_every_key_it_was_handed_and_those_of_the_other_screens(size: tuple[int, int]) -> None:
    async with opened(HelpScreen(GROUPS), size) as (stage, pilot):
        shown = await all_of(stage, pilot)
        for title, pairs in GROUPS:
            assert title in shown
            for keys, does in pairs:
                assert keys in shown
                assert all(word in shown for word in does.split())
        for text in ("A task", "Save prompt and answer", "Failed tasks by error", "The log", "✖ failed", "‖ paused",
                     "Show the tasks of this group", "whole of a long line", "✔ done", "Columns", "beat"):  # fmt: skip
            assert text in shown


async def test_a_long_description_stays_in_its_column() -> None:
    async with opened(HelpScreen(GROUPS), (60, 20)) as (stage, _):
        lines = screen_lines(stage)
        first = next(index for index, line in enumerate(lines) if "Take no new" in line)
        assert lines[first + 1].index("what runs") == lines[first].index("Take")


@pytest.mark.parametrize("key", ["escape", "question_mark", "q"])
async def test_help_is_left_by_the_keys_one_tries(key: str) -> None:
    async with opened(HelpScreen(GROUPS)) as (stage, pilot):
        await pilot.press(key)
        await until(pilot, lambda: stage.screen is not stage.opened)


async def test_help_wraps_anew_when_the_terminal_changes() -> None:
    async with opened(HelpScreen(GROUPS), (200, 60)) as (stage, pilot):
        assert any("Take no new tasks, or take them again; what runs goes on" in line for line in screen_lines(stage))
        await pilot.resize_terminal(60, 20)
        await until(pilot, lambda: max(map(len, screen_lines(stage))) <= 60)
        assert "what runs" in screen_text(stage)
        assert not any("again; what runs goes on" in line for line in screen_lines(stage))


async def test_a_key_of_the_users_that_looks_like_markup_is_shown() -> None:
    async with opened(HelpScreen([("a[/]b", [("[@click=app.quit]x[/]", HOSTILE)])])) as (stage, _):
        shown = screen_text(stage)
        assert "a[/]b" in shown
        assert "[@click=app.quit]x[/]" in shown
        assert shown.replace("\n", "").isprintable()


async def test_help_has_two_columns_where_there_is_room() -> None:
    pairs = [(f"f{number}", f"Thing of number {number} and {'more ' * number}") for number in range(1, 7)]
    async with opened(HelpScreen([("Keys", pairs)]), (120, 40)) as (stage, pilot):
        assert any("number 1" in line and "number 4" in line for line in screen_lines(stage))
        await pilot.resize_terminal(99, 40)
        await until(pilot, lambda: not any("number 1" in line and "number 4" in line for line in screen_lines(stage)))


async def test_keys_that_do_the_same_but_for_a_word_share_a_line() -> None:
    pairs = [("1", "Show all tasks"), *((str(n), f"Show the {n}th tasks") for n in range(2, 7))]
    pairs += [("[", "The state tab before"), ("]", "The state tab after"), ("p", "Pause"), ("u", "Undo")]
    async with opened(HelpScreen([("Keys", pairs)])) as (stage, _):
        shown = screen_text(stage)
        assert "Show all, 2th, 3th, 4th, 5th or 6th tasks" in shown
        assert "1 – 6" in shown
        assert "The state tab before or after" in shown
        assert "[ ]" in shown
        assert "  p " in shown
        assert "  u " in shown


async def test_the_key_bar_of_help_shows_its_own_keys_only() -> None:
    async with opened(HelpScreen(GROUPS)) as (stage, _):
        assert screen_lines(stage)[-1].split() == ["esc", "Back", "q", "Back"]
