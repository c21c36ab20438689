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


_LOOKS = ("on", "off", "key", "text", "dim", "accent", "good", "bad")
_Label = tuple[str, str, str]
"""The key, the word and the count of a tab, with the blanks around them."""

_FORMS: tuple[Callable[[_Tab], _Label], ...] = (  # the first that fits
    lambda tab: (f" {tab.place + 1}", f" {tab.name} ", f"{tab.number:,} "),
    lambda tab: (f" {tab.place + 1}", f" {_SHORT.get(tab.name, tab.name)} ", f"{tab.number:,} "),
    lambda tab: (f" {tab.place + 1}", f" {_SHORT.get(tab.name, tab.name)} ", f"{amount(tab.number)} "),
    lambda tab: (f" {tab.place + 1}", f" {tab.glyph} ", f"{amount(tab.number)} "),
    lambda tab: ("", f" {tab.glyph} ", f"{amount(tab.number)} "),
    lambda tab: ("", f" {tab.glyph}", f"{amount(tab.number)}"),
)


class StateTabs(Widget):
    """One line; the chosen tab stands out. The one for cancelled tasks is there only if there are any."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"state--{name}" for name in _LOOKS}
    DEFAULT_CSS = """
    StateTabs { height: 1; }
    StateTabs > .state--on { color: $text-accent; text-style: reverse; }
    StateTabs > .state--off { color: $text-muted; }
    StateTabs > .state--key { color: $accent; text-style: bold; }
    StateTabs > .state--text { color: $foreground; text-style: bold; }
    StateTabs > .state--dim { color: $foreground 80%; text-style: bold; }
    StateTabs > .state--accent { color: $text-accent; text-style: bold; }
    StateTabs > .state--good { color: $text-success; text-style: bold; }
    StateTabs > .state--bad { color: $text-error; text-style: bold; }
    StateTabs:nocolor > .state--key { text-style: underline; }
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
        segments = [segment for tab, label in self._labels(width) for segment in self._drawn(tab, label)]
        return Strip(segments).adjust_cell_length(width, self.get_component_rich_style("state--off"))

    def on_click(self, event: events.Click) -> None:
        """Choose the tab under the mouse."""
        end = 0
        for tab, label in self._labels(self.size.width):
            end += _cells(label)
            if event.x < end:
                self.post_message(self.Picked(tab.place))
                return

    def _drawn(self, tab: _Tab, label: _Label) -> list[Segment]:
        """Key, word and count, each in a look of its own: `4 failed 9` are not four that failed."""
        key, word, number = label
        if tab.place == self.active:
            on = self.get_component_rich_style("state--on")
            strong = on + Style(bold=True)
            pressed = strong + Style(underline=self.get_component_rich_style("state--key").underline)
            return [*_spaced(key, on, pressed), Segment(word, on), *_spaced(number, on, strong)]
        off = self.get_component_rich_style("state--off")
        look = fmt.task_look(state).style or "text" if (state := TABS[tab.place][0]) else "text"
        counted = self.get_component_rich_style(f"state--{look}") if tab.number else off
        return [
            *_spaced(key, off, self.get_component_rich_style("state--key")),
            Segment(word, off),
            *_spaced(number, off, counted),
        ]

    def _tabs(self) -> list[_Tab]:
        counts = self._counts
        numbers = (counts.total, counts.pending, counts.running, counts.failed, counts.succeeded, counts.cancelled)
        tabs = [
            _Tab(index, name, fmt.task_look(state).glyph if state else "all", number)
            for index, ((state, name), number) in enumerate(zip(TABS, numbers, strict=True))
        ]
        return tabs if counts.cancelled or self.active == _CANCELLED else tabs[:_CANCELLED]

    def _labels(self, width: int) -> list[tuple[_Tab, _Label]]:
        labels: list[tuple[_Tab, _Label]] = []
        for form in _FORMS:
            labels = [(tab, form(tab)) for tab in self._tabs()]
            if sum(_cells(label) for _, label in labels) <= width:
                break
        return labels


def _cells(label: _Label) -> int:
    return sum(map(cell_len, label))


def _spaced(text: str, blank: Style, style: Style) -> list[Segment]:
    """A figure in its style between blanks that have none of it: an underline must not reach them."""
    bare = text.strip()
    before, _, after = text.partition(bare) if bare else (text, "", "")
    parts = (Segment(before, blank), Segment(bare, style), Segment(after, blank))
    return [part for part in parts if part.text]
