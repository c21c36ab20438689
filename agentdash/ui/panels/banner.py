"""One line across the screen for what cannot wait: that the run drains, stalls or has ended, and the keys for it."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from agentdash.figures import count
from agentdash.model import Snapshot
from agentdash.text import clean, shorten
from agentdash.ui import format as fmt


class Banner(Widget):
    """Hidden while there is nothing to say. A click on it is Escape: a run that drains goes on."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"banner--text"}
    DEFAULT_CSS = """
    Banner { dock: bottom; height: 1; display: none; margin-bottom: 1; }
    Banner > .banner--text { color: $text-warning; background: $warning-muted; text-style: bold; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = ""

    def update(self, snapshot: Snapshot, now: float) -> None:
        """Say what this moment asks for."""
        text = _text(snapshot, now)
        if text != self._text:
            self._text = text
            self.display = bool(text)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        style = self.get_component_rich_style("banner--text")
        width = self.size.width
        return Strip([Segment(f" {shorten(self._text, width - 2)}", style)]).adjust_cell_length(width, style)

    def on_click(self, event: events.Click) -> None:
        """A click is Escape."""
        self.app.simulate_key("escape")


def _text(snapshot: Snapshot, now: float) -> str:
    """What matters stands first: where there is little room the end is cut."""
    running = snapshot.counts.running
    if snapshot.status == "draining":
        return _draining(snapshot, now)
    if snapshot.status == "stalled":
        reason = clean(snapshot.waiting_for)
        return f"Stalled, nothing is lost: {reason}" if reason else ""
    if snapshot.status == "paused" and running:
        return f"p goes on · P interrupts · {_tasks(running)} still {_verb(running)}"
    if snapshot.status == "finished" and snapshot.counts.total:
        return _finished(snapshot)
    return ""


def _draining(snapshot: Snapshot, now: float) -> str:
    running = snapshot.counts.running
    parts = ["Esc goes on", "q leaves now"]
    if running:
        left = "" if snapshot.drain_until is None else f", at most {fmt.remaining(snapshot.drain_until, now)}"
        parts.append(f"{_tasks(running)} {_verb(running)}{left}")
    return " · ".join(parts)


def _finished(snapshot: Snapshot) -> str:
    counts = snapshot.counts
    numbers = (
        (counts.succeeded, "succeeded"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.unfinished, "left"),
    )
    what = ", ".join(f"{number:,} {word}" for number, word in numbers if number)
    keys = ("e errors", "R requeues", "q leaves") if counts.failed else ("q leaves",)
    return " · ".join((f"Finished: {what}", *keys))


def _tasks(number: int) -> str:
    return count(number, "task")


def _verb(number: int) -> str:
    return "runs" if number == 1 else "run"
