"""The queue: a window onto up to millions of tasks, of which only the rows around the visible ones are ever read."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable
from typing import ClassVar

from textual.binding import Binding
from textual.message import Message
from textual.worker import Worker

from agentdash.model import Counts, Snapshot, TaskQuery, TaskRow, TaskSort, TaskState, TaskWindow
from agentdash.ui.panels import order, taskrows
from agentdash.ui.panels.answer import Answer, place_of
from agentdash.ui.panels.asking import Asking, Request
from agentdash.ui.panels.lines import Line, LineList
from agentdash.ui.panels.marks import MOST_MARKS, Marks

ListTasks = Callable[[TaskQuery, int, int], Awaitable[TaskWindow]]


class Queue(LineList):
    """Shows the answer to `query`. `list_tasks` is asked for the visible rows and a screenful on either side."""

    BINDINGS: ClassVar = [
        Binding("space", "mark", "Mark", show=False, tooltip="Mark the task, and go on to the next", id="mark"),
        Binding("s", "sort", "Sort", show=False, tooltip="Sort by order, age, tries or id", id="sort"),
        Binding("S", "reverse", "Reverse", show=False, tooltip="Sort the other way round", id="reverse_sort"),
    ]

    class Opened(Message):
        """The user wants to see this task."""

        def __init__(self, task_id: str) -> None:
            super().__init__()
            self.task_id = task_id

    class Altered(Message):
        """The query, the marks, or the number of tasks found are not what they were."""

    def __init__(
        self, list_tasks: ListTasks, *, monotonic: Callable[[], float] = time.monotonic, id: str | None = None
    ) -> None:
        super().__init__(taskrows.columns(0, 0, TaskQuery()), id=id)
        self._list_tasks = list_tasks
        self._asking = Asking(monotonic)
        self._answer = Answer(TaskQuery())
        self._now = self._drawn_at = 0.0
        self._seen: tuple[Counts, int] | None = None
        self._failed = False
        self._cursor_row: TaskRow | None = None
        self._waited = 0
        self._marks = Marks()

    # -- what it shows -----------------------------------------------------------------------------------------------
    @property
    def query_shown(self) -> TaskQuery:
        """Which tasks, in what order."""
        return self._answer.query

    @property
    def found(self) -> tuple[int, float]:
        """How many tasks were found, and how much was searched."""
        return self._answer.total, self._answer.searched

    @property
    def marked(self) -> int:
        """How many tasks are marked."""
        return len(self._marks)

    def ask_for(self, query: TaskQuery) -> None:
        """Show the answer to another query, from its beginning. What stands there until then can't be selected."""
        if query != self._answer.query:
            self._answer = Answer(query)
            self._cursor_row = None
            self._fit_columns()
            self._ask()
            self.post_message(self.Altered())

    def update(self, snapshot: Snapshot, now: float) -> None:
        """A moment has passed: ages grow, and rows are read again if they may have changed."""
        self._now = now
        seen = (snapshot.counts, snapshot.event_seq)
        is_outdated = seen != self._seen or self._answer.searched < 1
        if is_outdated or self._shows_running():
            self._seen = seen
            self._asking.stale = True
        self._waited = self._waited + 1 if self._answer.window is None else 0
        if self._waited > 1:  # what stood there before stays for a moment: most answers come before it is missed
            self.empty = "Reading…"
        # Where the answer will differ it is what is drawn, most often at once; else all panels draw ages in one go.
        is_read = self._ask() and is_outdated
        if not is_read and not self._failed and self._waited != 1:
            self._draw()

    def _shows_running(self) -> bool:
        rows = (self._answer.row_at(index) for index in self._visible())
        return any(row is not None and row.state is TaskState.RUNNING for row in rows)

    def _visible(self) -> range:
        return range(self.top_row, self.top_row + self.page_size)

    def _draw(self) -> None:
        """Show the visible rows of the window, as they are now."""
        self._drawn_at = self._now
        total = self._answer.total
        rows = [(index, self._answer.row_at(index)) for index in self._visible() if index < total]
        lines = [self._line(row) for _, row in rows if row is not None]
        self.show(lines, start=next((index for index, row in rows if row is not None), self.top_row), total=total)
        if (row := self._answer.row_at(self.cursor)) is not None:
            self._cursor_row = row

    def _line(self, row: TaskRow) -> Line:
        return taskrows.line(row, self._now, marked=row.id in self._marks, brief=self._answer.query.state is not None)

    def line_at(self, index: int) -> Line | None:
        line = super().line_at(index)
        if line is None and (row := self._answer.row_at(index)) is not None:
            return self._line(row)  # scrolled to since: it need not wait for the next moment
        return line

    def find_key(self, key: Hashable) -> int | None:
        return place_of(key, self._answer.window) if self._answer.window is not None else None

    def _follow_key(self) -> None:
        if self._cursor_row is None or (self._answer.query.sort is TaskSort.RECENT and self._is_at_top):
            self._cursor_key = None  # whoever watches from the top wants to see what comes there
        super()._follow_key()

    def _fit_columns(self) -> None:
        self.columns = taskrows.columns(self.size.width, self._answer.id_cells, self._answer.query)

    def on_resize(self) -> None:
        """More rows may be seen now."""
        super().on_resize()
        self._fit_columns()
        self._ask()

    # -- reading -----------------------------------------------------------------------------------------------------
    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._ask()

    def _ask(self) -> bool:
        """Read the rows that are wanted, if it is time."""
        if not self.is_attached or (request := self._next_request()) is None:
            return False

        async def read() -> None:
            await self._read(request)

        # Not `read()`: one that another query makes outdated before it began would be a coroutine nobody awaited.
        _: Worker[None] = self.run_worker(read, name="queue", group="queue", exclusive=True, exit_on_error=False)
        return True

    def _next_request(self) -> Request | None:
        rows = range(self.page_size) if self._answer.window is None else self._visible()
        return self._asking.next(self._answer.query, rows, live=self._answer.is_live)

    async def _read(self, request: Request | None) -> None:
        while request is not None:
            failed = False
            try:
                self._take(request, await self._list_tasks(request.query, request.start, request.count))
            except Exception as error:  # noqa: BLE001 - a boundary: whatever reading stumbles over is shown in this panel
                failed = True
                self._show_failure(request, error)
            finally:
                self._asking.ended(request, failed=failed)
            request = self._next_request()

    def _show_failure(self, request: Request, error: Exception) -> None:
        self.log_fault(error)
        if request.query == self._answer.query:
            self._failed = True
            self.fault(error)

    def _take(self, request: Request, window: TaskWindow) -> None:
        answer = self._answer
        is_first, before = answer.window is None, self.found
        if window.query != answer.query or not (is_first or request.touches(self._visible())):
            return  # an answer to what is no longer asked
        if not is_first and self._must_hold(window):
            return  # the row under the cursor is far down by now: what is selected must not change under a hand
        if window == answer.window and self._drawn_at == self._now and not self._failed:
            return  # just as it stands there
        self._failed = False
        answer.take(window)
        self._marks.see(window.rows)
        self._fit_columns()
        self.empty = taskrows.empty_text(window.query, window.searched)
        if is_first:
            self._clear_fault()
            self.cursor = 0
            self.scroll_to(y=0, animate=False, force=True)
        cursor, top, was_at_top = self.cursor, self.top_row, self._is_at_top
        self._draw()
        if not is_first and not was_at_top and (shift := self.cursor - cursor):
            # Rows came or went above it: it stays where it is on the screen.
            self.scroll_to(y=max(0, top + shift), animate=False, force=True)
            self._draw()
        if before != self.found:
            self.post_message(self.Altered())

    @property
    def _is_at_top(self) -> bool:
        return self.cursor == self.top_row == 0

    def move_to(self, index: int) -> None:
        self._asking.hold()
        super().move_to(index)

    def on_mouse_down(self) -> None:
        """What is about to be clicked must not be another task by then."""
        self._asking.hold()

    def look_again(self) -> None:
        """What the user did to tasks is to be seen without delay."""
        self._asking.release()
        self._ask()

    def _must_hold(self, window: TaskWindow) -> bool:
        """Whether the list of what happens now stands still: the user has gone down in it, no row leaves it, and the
        one under the cursor is not in this window. What has ended can be read for as long as one likes; what runs
        would soon be shown as running when it is not."""
        row, answer = self._cursor_row, self._answer
        if row is None or self._is_at_top or not answer.is_live or answer.query.state is not None:
            return False
        return (self._asking.is_held or not self._shows_running()) and place_of(row.seq, window) is None

    # -- what is selected --------------------------------------------------------------------------------------------
    @property
    def current_row(self) -> TaskRow | None:
        """The task under the cursor, as it was last seen; None while another list is being read."""
        return self._cursor_row if self._answer.total else None

    def watch_cursor(self, before: int, cursor: int) -> None:
        super().watch_cursor(before, cursor)
        self._cursor_row = self._answer.row_at(cursor)

    def selected_ids(self) -> tuple[str, ...]:
        """The marked tasks; if there are none, the one under the cursor."""
        row = self.current_row
        return self._marks.ids() or ((row.id,) if row is not None else ())

    def selected_rows(self) -> tuple[TaskRow, ...]:
        """As `selected_ids`, with the states they were last seen in: of many marked ones only the first."""
        row = self.current_row
        return self._marks.rows() or ((row,) if row is not None else ())

    def clear_marks(self) -> None:
        """Mark nothing."""
        if self._marks:
            self._marks.clear()
            if self._answer.window is not None:
                self._draw()
            self.post_message(self.Altered())

    def gutter_clicked(self, index: int) -> bool:
        """A click beside a task marks it, or takes its mark away."""
        self._toggle_mark()
        return True

    def action_mark(self) -> None:
        """Mark the task, or take its mark away, and go on to the next."""
        if self._toggle_mark():
            self.action_move(1)

    def _toggle_mark(self) -> bool:
        self._asking.hold()
        row = self.current_row
        if row is None:
            return False
        if not self._marks.toggle(row):
            self.app.bell()
            self.notify(f"At most {MOST_MARKS:,} tasks can be marked.", severity="warning", markup=False)
            return False
        self._draw()
        self.post_message(self.Altered())
        return True

    def action_choose(self) -> None:
        """Open the task under the cursor."""
        if (row := self.current_row) is not None:
            self.post_message(self.Opened(row.id))

    # -- order -------------------------------------------------------------------------------------------------------
    def action_sort(self) -> None:
        """Sort by the next thing."""
        self.ask_for(order.by_the_next(self._answer.query))

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self.ask_for(order.the_other_way_round(self._answer.query))

    def head_clicked(self, column: int) -> None:
        """Sort by that column; the other way round if it is the one already."""
        self.ask_for(order.by_column(self._answer.query, column))
