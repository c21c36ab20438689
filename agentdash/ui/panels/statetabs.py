"""The tabs above the queue: one for each state, with how many tasks are in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from agentdash.figures import amount
from agentdash.model import Counts, TaskState
from agentdash.ui import format as fmt
from agentdash.ui.panels.taskrows import TABS

_CANCELLED = len(TABS) - 1
_SHORT = {"pending": "pend", "running": "run", "failed": "fail", "cancelled": "canc"}


class _Tab(NamedTuple):
    place: int
    name: str
    glyph: str
    number: int


_FORMS: tuple[Callable[[_Tab], str], ...] = (  # the first that fits
    lambda tab: f" {tab.place + 1} {tab.name} {tab.number:,} ",
    lambda tab: f" {tab.place + 1} {_SHORT.get(tab.name, tab.name)} {tab.number:,} ",
    lambda tab: f" {tab.place + 1} {_SHORT.get(tab.name, tab.name)} {amount(tab.number)} ",
    lambda tab: f" {tab.place + 1} {tab.glyph} {amount(tab.number)} ",
    lambda tab: f" {tab.glyph} {amount(tab.number)} ",
    lambda tab: f" {tab.glyph}{amount(tab.number)}",
)


class StateTabs(Widget):
    """One line; the chosen tab stands out. The one for cancelled tasks is there only if there are any."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"state--on", "state--off", "state--bad"}
    DEFAULT_CSS = """
    StateTabs { height: 1; }
    StateTabs > .state--on { color: $text-accent; text-style: bold reverse; }
    StateTabs > .state--off { color: $text-muted; }
    StateTabs > .state--bad { color: $text-error; }
    """
    active: reactive[int] = reactive(0)

    class Picked(Message):
        """A tab was clicked."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._counts = Counts()

    def update(self, counts: Counts) -> None:
        """Show these counts."""
        if counts != self._counts:
            self._counts = counts
            self.refresh()

    @property
    def state(self) -> TaskState | None:
        """Whose tasks are shown; None: all."""
        return TABS[self.active][0]

    def set_state(self, index: int) -> bool:
        """Choose a tab; False if it is not there."""
        if index not in [tab.place for tab in self._tabs()]:
            return False
        self.active = index
        return True

    def next_state(self, step: int) -> None:
        """Choose the tab that stands so many further, round the end."""
        there = [tab.place for tab in self._tabs()]
        self.set_state(there[(there.index(self.active) + step) % len(there)])

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        segments = [Segment(label, self._style(tab)) for tab, label in self._labels(width)]
        return Strip(segments).adjust_cell_length(width, self.get_component_rich_style("state--off"))

    def on_click(self, event: events.Click) -> None:
        """Choose the tab under the mouse."""
        end = 0
        for tab, label in self._labels(self.size.width):
            end += cell_len(label)
            if event.x < end:
                self.post_message(self.Picked(tab.place))
                return

    def _style(self, tab: _Tab) -> Style:
        if tab.place == self.active:
            return self.get_component_rich_style("state--on")
        is_bad = TABS[tab.place][0] is TaskState.FAILED and tab.number
        return self.get_component_rich_style("state--bad" if is_bad else "state--off")

    def _tabs(self) -> list[_Tab]:
        counts = self._counts
        numbers = (counts.total, counts.pending, counts.running, counts.failed, counts.succeeded, counts.cancelled)
        tabs = [
            _Tab(index, name, fmt.task_look(state).glyph if state else "all", number)
            for index, ((state, name), number) in enumerate(zip(TABS, numbers, strict=True))
        ]
        return tabs if counts.cancelled or self.active == _CANCELLED else tabs[:_CANCELLED]

    def _labels(self, width: int) -> list[tuple[_Tab, str]]:
        labels: list[tuple[_Tab, str]] = []
        for form in _FORMS:
            labels = [(tab, form(tab)) for tab in self._tabs()]
            if sum(cell_len(label) for _, label in labels) <= width:
                break
        return labels
