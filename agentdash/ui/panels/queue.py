"""The queue in its border, with the state tabs and the filter above it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from textual.app import ComposeResult
from textual.containers import Vertical

from agentdash.model import Snapshot, TaskQuery, TaskSort, TaskState
from agentdash.ui.panels import taskrows
from agentdash.ui.panels.filterbar import FilterBar
from agentdash.ui.panels.statetabs import StateTabs
from agentdash.ui.panels.tasklist import ListTasks, Queue

__all__ = ["ListTasks", "Queue", "QueuePanel"]

_SORT_WORDS = {
    TaskSort.ORDER: "in the order of the queue",
    TaskSort.RECENT: "by age",
    TaskSort.TRIES: "by tries",
    TaskSort.ID: "by id",
}


class QueuePanel(Vertical):
    """The queue in its border, with the state tabs and the filter above it."""

    ALLOW_MAXIMIZE = True
    DEFAULT_CSS = """
    QueuePanel {
        border: round $foreground 25%;
        border-title-color: $foreground;
        border-subtitle-color: $text-muted;
        background: $background;
    }
    QueuePanel:focus-within { border: round $accent; border-title-color: $accent; }
    QueuePanel > Queue { height: 1fr; }
    """

    def __init__(
        self, list_tasks: ListTasks, *, monotonic: Callable[[], float] = time.monotonic, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._tabs = StateTabs()
        self._filter = FilterBar()
        self._queue = Queue(list_tasks, monotonic=monotonic)
        self.border_title = "Queue"
        self._subtitle = ""

    def compose(self) -> ComposeResult:
        yield self._tabs
        yield self._filter
        yield self._queue

    def update(self, snapshot: Snapshot, now: float) -> None:
        """Show this moment."""
        self._tabs.update(snapshot.counts)
        self._queue.update(snapshot, now)

    def fault(self, error: BaseException) -> None:
        """Say in the list that the panel failed."""
        self._queue.fault(error)

    def set_state(self, index: int) -> None:
        """Show the tab with this number; the bell rings if it is not there."""
        if self._tabs.set_state(index):
            self._show_tab()
        else:
            self.app.bell()

    def next_state(self, step: int) -> None:
        """Show the tab beside this one."""
        self._tabs.next_state(step)
        self._show_tab()

    def _show_tab(self) -> None:
        # At once, not by a message: the next key must not mean a task of the list before.
        self._queue.ask_for(replace(self._queue.query_shown, state=self._tabs.state))

    def open_filter(self) -> None:
        """Let the user type what to filter by."""
        self._filter.open()

    def filter_by(self, text: str, state: TaskState | None = None) -> None:
        """Show the tasks of a state that match a text."""
        self._tabs.active = [of for of, _ in taskrows.TABS].index(state)
        self._filter.set_text(text)
        self._queue.ask_for(replace(self._queue.query_shown, state=state, text=self._filter.text))
        self._queue.focus()

    def clear(self) -> bool:
        """Clear the filter, or else the marks; False if there was neither."""
        if self._filter.display:
            self._filter.action_clear()
            return True
        had_marks = self._queue.marked > 0
        self._queue.clear_marks()
        return had_marks

    def on_state_tabs_picked(self, event: StateTabs.Picked) -> None:
        """Show the tab that was clicked."""
        event.stop()
        self.set_state(event.index)

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        """Another text is wanted."""
        event.stop()
        self._queue.ask_for(replace(self._queue.query_shown, text=event.text))

    def on_filter_bar_left(self, event: FilterBar.Left) -> None:
        """Back to the list."""
        event.stop()
        self._queue.focus()

    def on_queue_altered(self, event: Queue.Altered) -> None:
        """Say how it is sorted, and how much is marked and found."""
        event.stop()
        self._filter.show_matches(*self._queue.found)
        query = self._queue.query_shown
        parts = [f"{self._queue.marked:,} marked"] if self._queue.marked else []
        if query.sort is not TaskSort.ORDER or query.descending:
            parts.append(_order_words(query))
        subtitle = " · ".join(parts)
        if subtitle != self._subtitle:  # our own words and numbers only: this is markup
            self._subtitle = self.border_subtitle = subtitle


def _order_words(query: TaskQuery) -> str:
    if query.sort is TaskSort.RECENT and query.state is None:  # neither rises nor falls as a whole
        return "running last" if query.descending else "running first, then the newest"
    return f"{_SORT_WORDS[query.sort]} {taskrows.arrow(query)}"
