"""The ring of events: bounded, in order, and one safe line each."""

from __future__ import annotations

from agentdash.engine.events import MAX_EVENTS, EventLog
from agentdash.model import Event
from tests.support.virtual_loop import EPOCH, ManualClock


def test_events_come_in_order_with_their_numbers() -> None:
    clock = ManualClock()
    log = EventLog(clock)
    log.emit("limited", "one")
    clock.time += 1
    log.emit("rotated", "two")
    assert log.since(0) == [Event(1, EPOCH, "limited", "one"), Event(2, EPOCH + 1, "rotated", "two")]
    assert [event.text for event in log.since(1)] == ["two"]
    assert log.since(2) == []
    assert log.seq == 2


def test_the_ring_is_bounded_and_the_numbers_go_on() -> None:
    log = EventLog(ManualClock())
    for number in range(MAX_EVENTS * 3):
        log.emit("x", str(number))
    events = log.since(0)
    assert len(events) == MAX_EVENTS
    assert [events[0].seq, events[-1].seq] == [MAX_EVENTS * 2 + 1, MAX_EVENTS * 3]


def test_listeners_are_told_and_a_failing_one_harms_nobody() -> None:
    log = EventLog(ManualClock())
    told: list[str] = []

    def failing(event: Event) -> None:
        raise OSError("closed")

    log.listeners += [failing, lambda event: told.append(event.text)]
    log.emit("x", "one")
    log.emit("x", "two")
    assert told == ["one", "two"]
    assert isinstance(log.listener_fault, OSError)


def test_a_listener_may_leave_while_it_is_told() -> None:
    log = EventLog(ManualClock())
    told: list[str] = []

    def once(event: Event) -> None:
        told.append(event.text)
        log.listeners.remove(once)

    log.listeners += [once, lambda event: told.append("other")]
    log.emit("x", "one")
    log.emit("x", "two")
    assert told == ["one", "other", "other"]


def test_the_text_is_one_safe_line() -> None:
    log = EventLog(ManualClock())
    log.emit("fault", "a\nb\x1b[2J of sk-ant-api03-abcdefghijklmnop \ud800" + "x" * 5000)
    (event,) = log.since(0)
    assert event.text.isprintable()
    assert "sk-ant" not in event.text
    assert len(event.text) < 2100
