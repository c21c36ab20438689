"""What happened, in order and bounded: for the dashboard's event panel, the plain progress lines and the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.sanitising import clean_message
from agentdash.model import Event

MAX_EVENTS = 1000


class EventLog:
    """A ring of the newest events with growing sequence numbers; `listeners` are told of each as it comes."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK, size: int = MAX_EVENTS) -> None:
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=size)
        self.seq = 0
        self.listener_fault: Exception | None = None
        self.listeners: list[Callable[[Event], None]] = []

    def emit(self, kind: str, text: str) -> None:
        """Record one event."""
        self.seq += 1
        event = Event(self.seq, self._clock.now(), kind, clean_message(text))
        self._events.append(event)
        for listener in tuple(self.listeners):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - a boundary: whoever shows events must not stop a worker
                self.listener_fault = error

    def since(self, seq: int) -> list[Event]:
        """The events after sequence number `seq`, oldest first; those that fell out of the ring are gone."""
        return [event for event in self._events if event.seq > seq]
