"""The tabs that stand for the panels where the terminal is too narrow to show all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget


class PanelTabs(Widget):
    """One line of names; the chosen one stands out. Told by `Picked` when another is clicked."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"tab--on", "tab--off"}
    DEFAULT_CSS = """
    PanelTabs { height: 1; }
    PanelTabs > .tab--on { color: $accent; text-style: bold reverse; }
    PanelTabs > .tab--off { color: $text-muted; }
    """
    active: reactive[int] = reactive(0)

    class Picked(Message):
        """A tab was clicked."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def __init__(self, names: Sequence[str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._names = tuple(names)

    def render_line(self, y: int) -> Strip:
        on, off = self.get_component_rich_style("tab--on"), self.get_component_rich_style("tab--off")
        segments = [Segment(f" {name} ", on if index == self.active else off) for index, name in enumerate(self._names)]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def on_click(self, event: events.Click) -> None:
        """Show the panel under the mouse."""
        end = 0
        for index, name in enumerate(self._names):
            end += len(name) + 2
            if event.x < end:
                self.post_message(self.Picked(index))
                return
