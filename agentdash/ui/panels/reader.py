"""What all text that scrolls has in common: the keys that move in it."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding

from agentdash.ui.panels.lineview import LineView


class Reader(LineView, can_focus=True, inherit_bindings=False):
    """The keys of text that scrolls."""

    BINDINGS: ClassVar = [
        Binding("j,down", "move(1)", "Down", show=False, id="text_down"),
        Binding("k,up", "move(-1)", "Up", show=False, id="text_up"),
        Binding("g,home", "to_top", "Top", show=False, id="text_top"),
        Binding("G,end", "to_end", "End", show=False, id="text_end"),
        Binding("pagedown,space", "page(1)", "Page down", show=False, id="text_page_down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="text_page_up"),
    ]

    def action_move(self, step: int) -> None:
        """Move by one row."""
        self._scroll(self.top_row + step)

    def action_page(self, step: int) -> None:
        """Move by a screenful."""
        self._scroll(self.top_row + step * max(1, self.page_size - 1))

    def action_to_top(self) -> None:
        """Move to the beginning."""
        self._scroll(0)

    def action_to_end(self) -> None:
        """Move to the end."""
        self._scroll(self.max_scroll_y)

    def _scroll(self, y: float) -> None:
        self.scroll_to(y=max(0, min(y, self.max_scroll_y)), animate=False, force=True)
