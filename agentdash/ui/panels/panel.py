"""A bordered list with figures in its border, whose lines are made only where they are seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import ClassVar, Generic, TypeVar

from textual.content import Content

from agentdash.ui.panels.lines import Line, LineList

T = TypeVar("T")

WIDE = 110
"""From so many cells on a panel is wide: it was made to fill the screen."""

_CORNERS = 6
_LEAST_LINES = 4


class ListPanel(LineList, Generic[T]):
    """Fill it with the things it lists and how a line is made of one: ten thousand cost what a screenful does."""

    TITLE: ClassVar[str] = ""
    """What stands in the border before anything else is known."""

    _caption: tuple[str, str] = ("", "")
    _things: Sequence[T] = ()
    _make: Callable[[T], Line] | None = None

    def on_mount(self) -> None:
        """A title from the start, also of a panel that fails."""
        if not self._caption[0] and self.TITLE:
            self.caption(self.TITLE)

    def fill(self, things: Sequence[T], make: Callable[[T], Line]) -> None:
        """List these things."""
        # Titles of columns make way where there is nothing below them, or hardly any room.
        heads = bool(things) and (self.styles.is_auto_height or self.size.height >= _LEAST_LINES)
        if heads != self.show_heads:
            self.show_heads = heads
        first = min(self.top_row, len(things))
        self.show([make(thing) for thing in things[first : first + self.page_size]], start=first, total=len(things))
        self._things, self._make = things, make

    def line_at(self, index: int) -> Line | None:
        line = super().line_at(index)
        if line is None and self._make is not None and 0 <= index < min(self.row_count, len(self._things)):
            return self._make(self._things[index])  # scrolled to since: it need not wait for the next moment
        return line

    def caption(self, title: str, *subtitles: str) -> None:
        """Write on the border: of the subtitles the first that fits. Our own words and numbers only, as this is
        markup."""
        room = self.size.width + self.gutter.width - _CORNERS
        subtitle = next((text for text in subtitles if _cells(text) <= room), "")
        if (title, subtitle) != self._caption:  # each of these two draws the whole panel again
            self._caption = (title, subtitle)
            self.border_title, self.border_subtitle = title, subtitle


@lru_cache(maxsize=64)
def _cells(markup: str) -> int:
    """How wide a text is: what can be clicked in it is written as markup."""
    return Content.from_markup(markup).cell_length
