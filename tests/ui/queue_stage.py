"""The queue alone over a list of tasks, for the tests of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from textual.app import App, ComposeResult
from textual.pilot import Pilot

from agentdash.model import Counts, Snapshot, TaskQuery, TaskRow, TaskSort, TaskState, TaskWindow, Totals
from agentdash.ui.panels.queue import Queue, QueuePanel
from tests.support.clock import FakeClock
from tests.ui.moments import NOW
from tests.ui.screen_text import screen_text, widget_lines

SIZE = (100, 12)
_DEADLINE_S = 10.0
_CYCLE = (
    TaskState.SUCCEEDED, TaskState.RUNNING, TaskState.PENDING, TaskState.FAILED, TaskState.PENDING,
)  # fmt: skip


def task(number: int, state: TaskState | None = None) -> TaskRow:
    of = state or _CYCLE[number % len(_CYCLE)]
    return TaskRow(
        seq=number,
        id=f"t{number:04}",
        state=of,
        tries=0 if of is TaskState.PENDING else 1,
        worker=f"worker-{number % 64}" if of is TaskState.RUNNING else None,
        since=None if of is TaskState.PENDING else NOW - number,
        text=f"Summarise report {number}",
        error="400: this input is refused" if of is TaskState.FAILED else None,
    )


class Store:
    """Answers as the engine would, from a list; `gate` holds answers back, `fails` makes them errors."""

    def __init__(self, tasks: list[TaskRow]) -> None:
        self.tasks = tasks
        self.asked: list[tuple[TaskQuery, int, int]] = []
        self.under_way = self.most_under_way = 0
        self.gate: asyncio.Event | None = None
        self.fails: Exception | None = None
        self.searched = 1.0

    async def list_tasks(self, query: TaskQuery, start: int, count: int) -> TaskWindow:
        self.asked.append((query, start, count))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        if self.fails is not None:
            raise self.fails
        rows = self.matching(query)
        return TaskWindow(query, start, tuple(rows[start : start + count]), len(rows), self.searched)

    def matching(self, query: TaskQuery) -> list[TaskRow]:
        needle = query.text.lower()
        rows = [row for row in self.tasks if query.state in (None, row.state)]
        rows = [row for row in rows if needle in f"{row.id} {row.text} {row.error} {row.worker}".lower()]
        if query.sort is TaskSort.ID:
            rows.sort(key=lambda row: row.id)
        elif query.sort is TaskSort.TRIES:
            rows.sort(key=lambda row: -row.tries)
        elif query.sort is TaskSort.RECENT:
            rows.sort(key=lambda row: (0, row.since or 0) if row.state is TaskState.RUNNING else (1, -(row.since or 0)))
        return rows[::-1] if query.descending else rows

    def snapshot(self, event_seq: int = 0) -> Snapshot:
        counts = Counts(**{state.value: sum(row.state is state for row in self.tasks) for state in TaskState})
        return Snapshot("running", NOW, counts, Totals(), paused=False, waiting_for="", event_seq=event_seq)


class Stage(App[None]):
    """The queue alone. Its size is that of the app; it is 12 lines high, of which 8 are rows."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.clock = FakeClock(NOW)
        self.panel = QueuePanel(store.list_tasks, monotonic=self.clock.monotonic)
        self.opened: list[str] = []

    def compose(self) -> ComposeResult:
        yield self.panel

    def on_mount(self) -> None:
        self.queue.focus()

    @property
    def queue(self) -> Queue:
        return self.panel.query_one(Queue)

    def tick(self, seconds: float = 0.0, *, event_seq: int = 0) -> None:
        """What the app does four times a second."""
        self.clock.advance(seconds)
        self.panel.update(self.store.snapshot(event_seq), self.clock.now())

    def on_queue_opened(self, event: Queue.Opened) -> None:
        self.opened.append(event.task_id)


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Wait for what comes in real time: a debounce, an answer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _DEADLINE_S
    while not condition():
        assert loop.time() < deadline, screen_text(pilot.app)
        await pilot.pause(0.005)


async def settled(pilot: Pilot[None]) -> Stage:
    """A tick, and every answer to it."""
    app = pilot.app
    assert isinstance(app, Stage)
    app.tick()
    await pilot.pause()
    await until(pilot, lambda: app.store.under_way == 0)
    await pilot.pause()
    return app


def ids_seen(app: Stage) -> list[str]:
    return [text[2:].split()[0] if text[2:].strip() else "" for text in rows_seen(app)]


def rows_seen(app: Stage) -> list[str]:
    return widget_lines(app.queue)[1:]


def many(count: int = 500) -> list[TaskRow]:
    return [task(number) for number in range(count)]


def of_state(state: TaskState, count: int) -> list[TaskRow]:
    return [task(number, state) for number in range(count)]
