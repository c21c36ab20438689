"""A list of lines on a screen of its own, for the tests of it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from textual.app import App, ComposeResult
from textual.pilot import Pilot

from agentdash.ui.panels.lines import Cell, Column, Line, LineList
from agentdash.ui.themes import THEMES
from tests.ui.screen_text import widget_lines

COLUMNS = (Column("id", 6), Column("state", 9, rank=1), Column("n", 4, "right", 2), Column("text", 0))


def line(number: int, text: str = "some words", *, marked: bool = False) -> Line:
    return Line(number, (Cell(f"t{number}"), Cell("running", "good"), Cell(str(number)), Cell(text)), marked)


def some(count: int) -> list[Line]:
    return [line(number) for number in range(count)]


class Stage(App[None]):
    """A list, and another one for the focus to go to."""

    CSS = "#list { height: 8; } #other { height: auto; max-height: 5; }"

    def __init__(self) -> None:
        super().__init__()
        for theme in THEMES:
            self.register_theme(theme)
        self.list = LineList(COLUMNS, empty="Nothing here yet.", id="list")
        self.other = LineList((Column("x", 0),), empty="Nothing there. " * 6, id="other")
        self.moved: list[int] = []
        self.chosen: list[Hashable] = []

    def compose(self) -> ComposeResult:
        yield self.list
        yield self.other

    def on_mount(self) -> None:
        self.list.focus()

    def on_line_list_moved(self, event: LineList.Moved) -> None:
        if event.control is self.list:
            self.moved.append(event.index)

    def on_line_list_chosen(self, event: LineList.Chosen) -> None:
        self.chosen.append(event.key)


async def showing(pilot: Pilot[None], lines: Sequence[Line]) -> LineList:
    assert isinstance(pilot.app, Stage)
    pilot.app.list.show(lines)
    await pilot.pause()
    return pilot.app.list


def keys_seen(lines: LineList) -> list[str]:
    return [text.split()[0].lstrip("✓") if text.strip() else "" for text in rows_seen(lines)]


def rows_seen(lines: LineList) -> list[str]:
    return [text[2:] for text in widget_lines(lines)[1:]]
