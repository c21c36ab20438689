"""The line where the queue is filtered: what is typed counts a moment later; how much matches stands beside it."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Static

from agentdash.text import clean

DEBOUNCE_S = 0.12
_MOST_CHARACTERS = 200
_ROOMY = 60


class FilterBar(Horizontal):
    """Hidden until `open`; it stays while there is a text, so that one sees why tasks are missing."""

    BINDINGS: ClassVar = [Binding("escape", "clear", "Clear the filter", show=False, id="filter_clear")]
    DEFAULT_CSS = """
    FilterBar { height: 1; display: none; }
    FilterBar > Static { width: auto; padding: 0 1; color: $text-muted; }
    FilterBar > #filter-hint { display: none; }
    FilterBar.-roomy:focus-within > #filter-hint { display: block; }
    FilterBar > Input { width: 1fr; background: $background; }
    FilterBar > Input:focus { background-tint: $foreground 8%; }
    """

    class Changed(Message):
        """Show the tasks that match this text; all if it is empty."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Left(Message):
        """The user is done here."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._told = ""
        self._status = ""
        self._timer: Timer | None = None
        self._input = Input(compact=True, max_length=_MOST_CHARACTERS, placeholder="id, text, error or worker")
        self._input.cursor_blink = False

    def compose(self) -> ComposeResult:
        yield Static("/", markup=False)
        yield self._input
        yield Static("", markup=False, id="filter-status")
        yield Static("⏎ keep  esc clear", markup=False, id="filter-hint")

    def on_resize(self, event: events.Resize) -> None:
        """The keys are told where there is room."""
        self.set_class(event.size.width >= _ROOMY, "-roomy")

    @property
    def text(self) -> str:
        """What is filtered by, once it counts."""
        return self._told

    def open(self) -> None:
        """Let the user type."""
        self.display = True
        self.screen.set_focus(self._input)  # now, not with the next message: what is typed on is meant for it

    def set_text(self, text: str) -> None:
        """Filter by this text, at once."""
        self._input.value = clean(text)[:_MOST_CHARACTERS]
        self.display = bool(self._input.value)
        self._tell()

    def show_matches(self, total: int, searched: float) -> None:
        """Say how many tasks match, and how far the search is."""
        status = f"{total:,} {'match' if total == 1 else 'matches'}" if self._told else ""
        if self._told and searched < 1:
            status = f"searched {int(searched * 100)} %, {status}"
        if status != self._status:
            self._status = status
            self.query_one("#filter-status", Static).update(status)

    def action_clear(self) -> None:
        """Filter by nothing, and leave."""
        self.set_text("")
        self.post_message(self.Left())

    def on_input_changed(self, event: Input.Changed) -> None:
        """Wait until the user pauses: each text is a search."""
        event.stop()
        if event.value != (shown := clean(event.value)):
            self._input.value = shown
        self._stop_timer()
        self._timer = self.set_timer(DEBOUNCE_S, self._tell, name="filter")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep it, and go back to the list."""
        event.stop()
        self._tell()
        self.display = bool(self._told)
        self.post_message(self.Left())

    def _tell(self) -> None:
        self._stop_timer()
        if (text := self._input.value.strip()) != self._told:
            self._told = text
            self.post_message(self.Changed(text))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
