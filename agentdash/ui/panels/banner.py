"""One line across the screen for what cannot wait: that the run drains, stalls or has ended, and the keys for it."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len
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
        self._texts: tuple[str, ...] = ()

    def update(self, snapshot: Snapshot, now: float) -> None:
        """Say what this moment asks for."""
        texts = _texts(snapshot, now)
        if texts != self._texts:
            self._texts = texts
            self.display = bool(texts)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        style = self.get_component_rich_style("banner--text")
        width = self.size.width
        fitting = (text for text in self._texts if cell_len(text) <= width - 2)
        text = next(fitting, self._texts[-1] if self._texts else "")
        return Strip([Segment(f" {shorten(text, width - 2)}", style)]).adjust_cell_length(width, style)

    def on_click(self, event: events.Click) -> None:
        """A click is Escape."""
        self.app.simulate_key("escape")


def _texts(snapshot: Snapshot, now: float) -> tuple[str, ...]:
    """What is to be said, in more and in fewer words: the first that fits is shown."""
    if snapshot.status == "draining":
        return _draining(snapshot, now)
    if snapshot.status == "paused" and snapshot.limits.reached:
        return _limited(snapshot)
    text = _text(snapshot)
    return (text,) if text else ()


def _text(snapshot: Snapshot) -> str:
    """What matters stands first: where there is little room the end is cut."""
    running = snapshot.counts.running
    if snapshot.status == "stalled":
        reason = clean(snapshot.waiting_for)
        return f"Stalled, nothing is lost: {reason}" if reason else ""
    if snapshot.status == "paused" and running:
        return f"p goes on · P interrupts · {_tasks(running)} still {_verb(running)}"
    if snapshot.status == "finished" and snapshot.counts.total:
        return _finished(snapshot)
    return ""


def _limited(snapshot: Snapshot) -> tuple[str, ...]:
    reason = clean(snapshot.limits.reached)
    reason, running = f"{reason[:1].upper()}{reason[1:]}", snapshot.counts.running
    still = f" · {_tasks(running)} still {_verb(running)}" if running else ""
    return (f"{reason} · p goes on without it{still}", f"{reason} · p goes on{still}", f"p goes on · {reason}{still}")


def _draining(snapshot: Snapshot, now: float) -> tuple[str, ...]:
    running = snapshot.counts.running
    keys = "Esc stays · q leaves now"
    if not running:
        return (f"Leaving · {keys}",)
    most = "" if snapshot.drain_until is None else f", at most {fmt.remaining(snapshot.drain_until, now)}"
    has = "has" if running == 1 else "have"
    return (
        f"Leaving when {_tasks(running)} {has} ended{most} · {keys}",
        f"{_tasks(running)} {_verb(running)}{most} · {keys}",
        f"{keys} · {_tasks(running)}{most}",
    )


def _finished(snapshot: Snapshot) -> str:
    counts = snapshot.counts
    numbers = (
        (counts.succeeded, "done"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.open, "left"),
        (counts.held, "held"),
    )
    what = ", ".join(f"{number:,} {word}" for number, word in numbers if number)
    keys = ("e errors", "R requeues", "q leaves") if counts.failed else ("q leaves",)
    return " · ".join((f"Finished: {what}", *keys))


def _tasks(number: int) -> str:
    return count(number, "task")


def _verb(number: int) -> str:
    return "runs" if number == 1 else "run"
