"""Long text in sections, the last of which may be growing: a prompt, an answer, what a task is writing right now.

The text is wrapped a piece at a time, so that five megabytes or an endless line never hold the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from textual import events
from textual.worker import Worker

from agentdash.text import clean
from agentdash.ui.panels.cells import Cell, Column, Line
from agentdash.ui.panels.painter import GUTTER
from agentdash.ui.panels.reader import Reader
from agentdash.ui.panels.wrapping import Wrapper

MOST_CHARS: Final = 100_000
"""So much of a section is shown."""
MOST_LINES: Final = 10_000
"""So many of the newest lines of live output are kept."""

_STEP_CHARS = 12 * 1024
"""Wrapped in one go: a few milliseconds, whatever the characters."""
_LEAST_WIDTH = 8
_BLANK = ("", "")


class _Section:
    """A head, the rows of a text below it, and a blank line. `left` is what has not been wrapped yet."""

    def __init__(self, head: str, text: str, width: int, *, keep: int | None = None) -> None:
        self.given = (head, text[:MOST_CHARS], len(text))
        self.more = _more(text)
        self.is_live = keep is not None
        self.rows = Wrapper(width, keep)
        self.head = clean(head)
        self._keep = keep
        self._source = self._left = text[:MOST_CHARS]

    @property
    def is_done(self) -> bool:
        return not self._left

    @property
    def height(self) -> int:
        return 1 + len(self.rows) + bool(self._note_above) + bool(self.more) + 1

    @property
    def _note_above(self) -> str:
        return "… earlier lines are no longer kept" if self.rows.dropped else ""

    def line(self, index: int) -> tuple[str, str]:
        """(text, style) of a row."""
        if index == 0:
            return self.head, "head"
        at = index - 1 - bool(self._note_above)
        if at < 0:
            return self._note_above, "dim"
        if at < len(self.rows):
            return self.rows.row(at), ""
        return (self.more, "warn") if self.more and at == len(self.rows) else _BLANK

    def position(self, index: int) -> int:
        """How many characters stand before a row: where to find it again at another width. The head is at -1."""
        at = index - 1 - bool(self._note_above)
        return self.rows.position(at) if at >= 0 else -1

    def row_of(self, position: int) -> int:
        return 0 if position < 0 else self.rows.row_of(position) + 1 + bool(self._note_above)

    def step(self, chars: int) -> int:
        """Wrap the next piece; returns how long it was."""
        piece, self._left = self._left[:chars], self._left[chars:]
        self.rows.feed(piece)
        if self.is_done and not self.is_live:
            self.rows.end()
        return len(piece)

    def append(self, text: str) -> None:
        """More of a live text, to be wrapped."""
        self._left += text

    def set_width(self, width: int) -> None:
        """Begin anew, at another width. Text that was cleaned may be cleaned again: nothing changes."""
        self._left = self.rows.all_text() + self._left if self.is_live else self._source
        self.rows = Wrapper(width, self._keep, dropped=self.rows.dropped)


class Document(Reader, can_focus=True):
    """Text that scrolls. While it stands at the end of live output it follows that; else it stays where it is."""

    def __init__(self, *, empty: str = "", id: str | None = None) -> None:
        super().__init__((Column("", 0),), empty=empty, show_heads=False, id=id)
        self._sections: list[_Section] = []
        self._wrapped_to = 0
        self._follows = False
        self._anchor: tuple[_Section, int] | None = None  # what shall stand at the top once it is wrapped

    # -- what it shows -----------------------------------------------------------------------------------------------
    def set_sections(self, sections: Sequence[tuple[str, str]], *, live: str = "") -> None:
        """Show these (head, text), and below them, if `live` is its head, what `append` brings.

        What is the same as before stays as it is; live output stays as long as there is a `live`, whatever it says.
        """
        self._clear_fault()
        had = {section.given: section for section in self._sections if not section.is_live}
        made = [
            had.get((head, text[:MOST_CHARS], len(text))) or _Section(head, text, self._wrapped_to)
            for head, text in sections
        ]
        if live:
            made.append(self._live or _Section(live, "", self._wrapped_to, keep=MOST_LINES))
            made[-1].head = clean(live)
            self._refresh_rows([sum(section.height for section in made[:-1])])
        if made != self._sections:
            self._keep_place(made)
            self._sections = made
            self._wrap()
            self.refresh()

    def append(self, text: str) -> None:
        """More live output. Where no section is live, it is left out."""
        section = self._live
        if section is None or not text:
            return
        section.append(text)
        self._wrap()

    def clear_live(self) -> None:
        """The live output begins anew."""
        if (section := self._live) is not None:
            follows = self.follows
            self._sections[-1] = _Section(section.head, "", self._wrapped_to, keep=MOST_LINES)
            self._fit(follows=follows)
            self.refresh()

    @property
    def follows(self) -> bool:
        """Whether it goes along with live output: it stands at the end, or all of it can be seen."""
        return self._live is not None and (self._follows or self.max_scroll_y == 0)

    @property
    def is_complete(self) -> bool:
        """Whether all there is to be shown has been wrapped."""
        return all(section.is_done for section in self._sections)

    @property
    def _live(self) -> _Section | None:
        return self._sections[-1] if self._sections and self._sections[-1].is_live else None

    def line_at(self, index: int) -> Line | None:
        found = self._find(index)
        if found is None:
            return None
        section, at = found
        return Line(index, (Cell(*section.line(at)),))

    def _find(self, index: int) -> tuple[_Section, int] | None:
        for section in self._sections:
            if index < section.height:
                return section, index
            index -= section.height
        return None

    # -- wrapping ----------------------------------------------------------------------------------------------------
    def on_resize(self, event: events.Resize) -> None:
        """Wrap anew where the width is another one, and stay on what stood at the top."""
        follows = self.follows
        # Room for the scrollbar is left also while there is none: rows that need one must not need another width, too.
        width = max(_LEAST_WIDTH, self.size.width - self.styles.scrollbar_size_vertical - GUTTER)
        if width != self._wrapped_to:
            self._wrapped_to = width
            self._keep_place(self._sections)
            for section in self._sections:
                section.set_width(width)
            self._wrap()
            self.refresh()
        self._fit(follows=follows)

    def _keep_place(self, staying: Sequence[_Section]) -> None:
        """Remember what stands at the top, as long as that is not known from before."""
        if self._anchor is not None and self._anchor[0] in staying:
            return
        found = self._find(self.top_row) if self.top_row else None
        self._anchor = (found[0], found[0].position(found[1])) if found and found[0] in staying else None

    def _wrap(self) -> None:
        """Wrap a piece at once, so that there is something to see, and the rest bit by bit."""
        if not self._wrapped_to:  # the width is not known yet
            return
        self._step()
        if not self.is_complete:
            _: Worker[None] = self.run_worker(
                self._wrap_rest, name="wrap", group="wrap", exclusive=True, exit_on_error=False
            )

    async def _wrap_rest(self) -> None:
        while not self.is_complete:
            await asyncio.sleep(0)  # keys, the run and everything else
            self._step()

    def _step(self) -> None:
        follows, live = self.follows, self._live
        dropped = live.rows.dropped if live is not None else 0
        room = _STEP_CHARS
        for section in self._sections:
            while room > 0 and not section.is_done:
                room -= section.step(room)
        if live is not None and not follows and self._anchor is None:
            self._follow_rows(live, live.rows.dropped - dropped - (not dropped and live.rows.dropped > 0))
        self._fit(follows=follows)
        self.refresh()

    def _follow_rows(self, live: _Section, up: int) -> None:
        """Rows of live output have moved up, as the oldest were dropped: stay on the same ones."""
        begins = sum(section.height for section in self._sections) - live.height
        if up > 0 and self.top_row > begins:
            self.scroll_to(y=max(begins, self.top_row - up), animate=False, force=True)

    def _fit(self, *, follows: bool) -> None:
        """The number of rows has changed, perhaps; the place must not."""
        self._total_rows = max(0, sum(section.height for section in self._sections) - 1)  # the last blank is none
        self._fit_height()
        if follows:
            self._anchor = None
            self.action_to_end()
        elif self._anchor is not None:
            self._go_to_anchor(*self._anchor)

    def _go_to_anchor(self, section: _Section, position: int) -> None:
        above = 0
        for other in self._sections:
            if other is section:
                break
            if not other.is_done:
                return
            above += other.height
        if section.is_done:
            self._anchor = None
            self.scroll_to(y=above + section.row_of(position), animate=False, force=True)

    # -- keys --------------------------------------------------------------------------------------------------------
    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Whoever scrolls to the end wants to follow, and who leaves it does not."""
        super().watch_scroll_y(old_value, new_value)
        self._follows = self._anchor is None and new_value >= self.max_scroll_y

    def action_to_end(self) -> None:
        """Move to the end, and stay there while more comes."""
        self._follows = True
        super().action_to_end()

    def _scroll(self, y: float) -> None:
        self._anchor = None
        super()._scroll(y)


def _more(text: str) -> str:
    """What to say of the part that is not shown."""
    rest = len(text) - MOST_CHARS
    if rest <= 0:
        return ""
    if not text.isascii():  # a sample tells the bytes closely enough: measuring all would take longer than showing it
        sample = text[MOST_CHARS : 2 * MOST_CHARS]
        rest = rest * len(sample.encode("utf-8", "surrogatepass")) // len(sample)
    size = f"{rest / 1e6:.1f} MB" if rest >= 1e6 else f"{max(1, round(rest / 1e3)):,} kB"
    return f"… {size} more: s saves all"
