"""The tabs that stand for the panels where the terminal is too narrow to show all of them, with a mark at those that
ask for a look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from agentdash.model import LockView, Snapshot
from agentdash.ui import format as fmt
from agentdash.ui.format import Piece

NO_MARK = Piece("")


class PanelTabs(Widget):
    """One line of names; the chosen one stands out. Told by `Picked` when another is clicked."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"tab--on", "tab--off", "tab--bad", "tab--warn"}
    DEFAULT_CSS = """
    PanelTabs { height: 1; }
    PanelTabs > .tab--on { color: $accent; text-style: bold reverse; }
    PanelTabs > .tab--off { color: $text-muted; }
    PanelTabs > .tab--bad { color: $text-error; text-style: bold; }
    PanelTabs > .tab--warn { color: $text-warning; text-style: bold; }
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
        self._marks: tuple[Piece, ...] = ()

    def mark(self, marks: Sequence[Piece]) -> None:
        """Put one of these beside each name: what it would show if it were seen."""
        if self._marks != tuple(marks):
            self._marks = tuple(marks)
            self.refresh()

    def render_line(self, y: int) -> Strip:
        on, off = self.get_component_rich_style("tab--on"), self.get_component_rich_style("tab--off")
        segments = []
        for index, (name, mark) in enumerate(self._labels()):
            style = on if index == self.active else off
            segments.append(Segment(f" {name} ", style))
            if mark.text:  # the chosen tab is one block: its panel shows the rest
                look = on if index == self.active else self.get_component_rich_style(f"tab--{mark.style}")
                segments += [Segment(mark.text, look), Segment(" ", style)]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _labels(self) -> list[tuple[str, Piece]]:
        """Names and marks; only names where there is no room for both."""
        marks = (*self._marks, *[NO_MARK] * len(self._names))
        labels = list(zip(self._names, marks, strict=False))
        wide = sum(_cells(name, mark) for name, mark in labels)
        return labels if wide <= self.size.width else [(name, NO_MARK) for name in self._names]

    def on_click(self, event: events.Click) -> None:
        """Show the panel under the mouse."""
        end = 0
        for index, (name, mark) in enumerate(self._labels()):
            end += _cells(name, mark)
            if event.x < end:
                self.post_message(self.Picked(index))
                return


def panel_marks(snapshot: Snapshot, locks: Sequence[LockView]) -> tuple[Piece, ...]:
    """What asks for a look in queue, workers, keys, locks and events: `✖9`, `◐2`; the worst of each."""
    workers = (view.state for view in snapshot.workers)
    keys = (key.state for key in snapshot.credentials)
    return (
        _worst((("✖", "bad", snapshot.counts.failed),)),
        _worst(_counted(workers, fmt.worker_look, ("parked", "backoff", "probing"))),
        _worst(_counted(keys, fmt.credential_look, ("invalid", "exhausted", "cooling"))),
        _worst(_counted((lock.state for lock in locks), fmt.lock_look, ("stale", "overdue"))),
        NO_MARK,
    )


def _counted(
    states: Iterable[str], look: Callable[[str], fmt.Look], grave: Sequence[str]
) -> Iterable[tuple[str, str, int]]:
    """(glyph, style, how many) of each of these states, the gravest first."""
    numbers = Counter(states)
    return [(*look(state), numbers[state]) for state in grave]


def _worst(found: Iterable[tuple[str, str, int]]) -> Piece:
    return next((Piece(f"{glyph}{fmt.compact(number)}", style) for glyph, style, number in found if number), NO_MARK)


def _cells(name: str, mark: Piece) -> int:
    return cell_len(name) + 2 + (cell_len(mark.text) + 1 if mark.text else 0)
