"""A finished answer as Markdown, on demand: laid out off the event loop, drawn a screenful at a time."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.message import Message
from textual.screen import Screen
from textual.strip import Strip
from textual.widgets import Static
from textual.worker import Worker

from agentdash.text import clean
from agentdash.ui.panels.keybar import KeyBar
from agentdash.ui.panels.painter import GUTTER
from agentdash.ui.panels.reader import Reader
from agentdash.ui.screens.markdowntext import MOST_ROWS, Row, laid_out, shown_part


class MarkdownText(Reader, can_focus=True):
    """Text laid out to the width it has, and again when that changes; the newest width wins."""

    class Laid(Message):
        """All of it stands there. `is_cut`: it had too many rows."""

        def __init__(self, *, is_cut: bool) -> None:
            super().__init__()
            self.is_cut = is_cut

    def __init__(self, text: str, *, id: str | None = None) -> None:
        super().__init__(empty="Laying it out …", show_heads=False, id=id)
        self._text = text
        self._laid: list[Row] = []
        self._look: tuple[int, bool] | None = None  # (width, whether it is dark) it is laid out for
        self._is_whole = False

    @property
    def is_complete(self) -> bool:
        """Whether all there is to be shown has been laid out."""
        return self._is_whole

    def on_resize(self, event: events.Resize) -> None:
        """Lay it out anew where the width is another one."""
        self._lay_out_again()

    def notify_style_update(self) -> None:
        """Other colours: those of code may be others, too."""
        super().notify_style_update()
        if self._look is not None:
            self._lay_out_again()

    def _lay_out_again(self) -> None:
        # Room for the scrollbar is left also while there is none, as in a Document.
        width = max(1, self.size.width - self.styles.scrollbar_size_vertical - GUTTER)
        look = (width, self.app.current_theme.dark)
        if look != self._look:
            self._look = look
            _: Worker[None] = self.run_worker(
                self._lay_out(*look), name="layout", group="layout", exclusive=True, exit_on_error=False
            )

    async def _lay_out(self, width: int, is_dark: bool) -> None:
        """A boundary: whatever goes wrong is shown in its place, and the app goes on."""
        is_first, self._is_whole = not self._is_whole, False
        rows: list[Row] = []
        try:
            parts = laid_out(self._text, width, is_dark=is_dark)
            while len(rows) <= MOST_ROWS and (part := await asyncio.to_thread(next, parts, None)) is not None:
                rows += part
                if is_first:  # there is something to read at once; later the old rows stay until all new ones are here
                    self._show(rows, self.top_row)
        except Exception as error:  # noqa: BLE001 - see above
            self.log_fault(error)
            self.fault(error)
            return
        is_cut = len(rows) > MOST_ROWS
        del rows[MOST_ROWS:]
        self._is_whole = True
        top = self.top_row if is_first else round(self.top_row * len(rows) / max(1, len(self._laid)))
        self.empty = "There is nothing to see in it."
        self._show(rows, top)
        _ = self.post_message(self.Laid(is_cut=is_cut))

    def _show(self, rows: list[Row], top: int) -> None:
        self._clear_fault()
        self._laid, self._total_rows = rows, min(MOST_ROWS, len(rows))
        self._fit_height()
        self.scroll_to(y=min(top, self.max_scroll_y), animate=False, force=True)
        self.refresh()

    def _draw_line(self, y: int, width: int) -> Strip:
        index = self._row_at(y)
        if self._fault_text or index is None:
            return super()._draw_line(y, width)
        base = self.get_component_rich_style("line--text")
        strip = Strip(self._laid[index]).apply_style(base)
        left = Strip.blank(min(GUTTER, width), base)
        return Strip.join([left, strip]).adjust_cell_length(width, base)


class MarkdownScreen(Screen[None]):
    """Shows an answer laid out. Links are text: nothing in it can be clicked."""

    BINDINGS: ClassVar = [
        Binding("escape,backspace,m", "back", "Back", tooltip="Back to the task", id="markdown_back"),
    ]
    DEFAULT_CSS = """
    MarkdownScreen > #title { height: 1; padding: 0 2; text-style: bold; text-wrap: nowrap; }
    MarkdownScreen > #note { height: auto; padding: 0 2; color: $text-warning; }
    MarkdownScreen > MarkdownText { height: 1fr; }
    """

    def __init__(self, task_id: str, answer: str) -> None:
        super().__init__()
        self._title = clean(task_id)
        self._text, self._is_cut = shown_part(answer)

    def compose(self) -> ComposeResult:
        yield Static(self._title, id="title", markup=False)
        note = Static("The beginning of a long answer: s on the task saves all.", id="note", markup=False)
        note.display = self._is_cut
        yield note
        yield MarkdownText(self._text, id="markdown")
        yield KeyBar(("markdown_back",), (), ("help", "quit_run"))

    def on_mount(self) -> None:
        self.query_one(MarkdownText).focus()

    def on_markdown_text_laid(self, message: MarkdownText.Laid) -> None:
        """Say so if it is not all there."""
        self.query_one("#note", Static).display = self._is_cut or message.is_cut

    def action_back(self) -> None:
        """Leave."""
        _ = self.dismiss()
