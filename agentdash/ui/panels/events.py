"""What happened lately, the newest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence

from agentdash.model import Event
from agentdash.ui import format as fmt
from agentdash.ui.panels.lines import Cell, Column, Line
from agentdash.ui.panels.panel import ListPanel

MAX_EVENTS = 1000
_AGAIN_S = 10.0
_COLUMNS = (Column("time", 8, "left", 1), Column("", 1), Column("event", 0))
_EMPTY = "Nothing to tell yet: rate limits, failures, rotations and recoveries are told here."


class Events(ListPanel[Event]):
    """A line an event. Who looks at an older one stays with it while others come."""

    TITLE = "Events"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(_COLUMNS, empty=_EMPTY, show_heads=False, id=id)
        self._told: deque[Line] = deque(maxlen=MAX_EVENTS)
        self._count = 0
        self._last: Event | None = None
        self._times = 0

    def add(self, events: Sequence[Event]) -> None:
        """Tell of these events, handed over oldest first."""
        if not events:
            return
        follows = self.cursor == 0
        for event in events[-MAX_EVENTS:]:
            self._tell(event)
        self._count += len(events)
        self.show(tuple(self._told))
        if follows:
            self.move_to(0)
        kept = f"the newest {MAX_EVENTS:,}"
        remarks = (f"{kept}, the others are in the log", kept) if self._count > MAX_EVENTS else ()
        self.caption(f"Events {self._count:,}", *remarks)

    def _tell(self, event: Event) -> None:
        """One line more; what is said again within seconds is counted in the line that says it."""
        last = self._last
        is_same = last is not None and (last.kind, last.text) == (event.kind, event.text)
        again = is_same and last is not None and event.at - last.at <= _AGAIN_S
        self._last, self._times = event, self._times + 1 if again else 1
        key = self._told.popleft().key if again else event.seq
        self._told.appendleft(_line(event, key, self._times))


def _line(event: Event, key: Hashable, times: int) -> Line:
    glyph, style = fmt.event_look(event.kind)
    text = f"×{times:,} {event.text}" if times > 1 else event.text  # in front, where it is never cut
    return Line(key, (Cell(fmt.clock_time(event.at), "dim"), Cell(glyph, style), Cell(text, style)))
