"""The main view: header, queue, workers, credentials, locks and events; side by side, or as tabs where it is narrow."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual import on
from textual._styles_cache import StylesCache
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from agentdash.model import LockView, Snapshot, TaskQuery, TaskSort, TaskState
from agentdash.ui.applicable import TASK_ACTIONS, task_actions
from agentdash.ui.bindings import MAIN_BINDINGS, SHOWN_ORDER
from agentdash.ui.boundary import ErrorBoundary
from agentdash.ui.lockwatch import LockWatch
from agentdash.ui.panels.banner import Banner
from agentdash.ui.panels.credentials import Credentials
from agentdash.ui.panels.events import Events
from agentdash.ui.panels.header import RunHeader
from agentdash.ui.panels.keybar import KeyBar
from agentdash.ui.panels.lines import LineList
from agentdash.ui.panels.locks import Locks
from agentdash.ui.panels.paneltabs import PanelTabs, panel_marks
from agentdash.ui.panels.queue import Queue, QueuePanel
from agentdash.ui.panels.workers import Workers
from agentdash.ui.run import Run
from agentdash.ui.verbs import Verbs

_TAB_IDS = ("queue", "workers", "credentials", "locks", "events")


class MainScreen(Screen[None]):
    """Hands each snapshot to the panels that show, and keys to the run. A panel's fault stays in that panel."""

    BINDINGS: ClassVar = list(MAIN_BINDINGS)
    ESCAPE_TO_MINIMIZE = False  # `back` does it, after what is more urgent
    ALLOW_IN_MAXIMIZED_VIEW = "RunHeader, Banner, KeyBar"

    def __init__(self, run: Run, verbs: Verbs) -> None:
        super().__init__()
        self._run = run
        self._verbs = verbs
        self._snapshot: Snapshot | None = None
        self._event_seq = 0
        self._locks = LockWatch(run, verbs)
        self._available: frozenset[str] = frozenset()
        self._boundary = ErrorBoundary()

    def compose(self) -> ComposeResult:
        yield RunHeader(id="header")
        yield PanelTabs(("Queue", "Workers", "Keys", "Locks", "Events"), id="tabs")
        # Classes are given here already: to change those of a mounted widget is to style it and all below it again.
        with Horizontal(id="body"):
            yield QueuePanel(self._run.list_tasks, monotonic=self._run.clock.monotonic, id="queue").add_class(
                "panel", "-shown"
            )
            with Vertical(id="side", classes="away"):
                yield Workers(id="workers").add_class("panel")
                yield Credentials(id="credentials").add_class("panel")
                yield Locks(id="locks").add_class("panel", "-calm")
        yield Events(id="events").add_class("panel")
        yield Banner(id="banner")
        yield KeyBar(("pause",), SHOWN_ORDER, ("help", "quit_run"))

    def on_mount(self) -> None:
        queue = self.query_one(Queue)
        queue.ask_for(TaskQuery(sort=TaskSort.RECENT))  # what happens now is what one look is for
        queue.focus()

    def on_screen_resume(self) -> None:
        """Another screen was left: Textual 8.2 keeps what up to 1,024 widgets that are gone have drawn, and Rich what
        the edges of what stood before them cut in two, up to 16,384 times."""
        StylesCache.get_inner_outer.cache_clear()
        Segment._split_cells.cache_clear()

    @property
    def is_searching(self) -> bool:
        """Whether the queue shows what has been found so far."""
        # On a busy machine it is asked before the queue is there.
        return any(queue.found[1] < 1 for queue in self.query(Queue))

    # -- what it shows -----------------------------------------------------------------------------------------------
    def update(self, snapshot: Snapshot, now: float, monotonic: float) -> None:
        """Show this moment in every panel that can be seen."""
        self._snapshot = snapshot
        header, queue = self.query_one(RunHeader), self.query_one(QueuePanel)
        workers, credentials = self.query_one(Workers), self.query_one(Credentials)
        self._boundary.run(header, lambda: header.update(snapshot, now, monotonic))
        self._boundary.run(queue, lambda: queue.update(snapshot, now))
        self._boundary.run(workers, lambda: workers.update(snapshot, now, monotonic))
        self._boundary.run(credentials, lambda: credentials.update(snapshot, now))
        self._update_locks(snapshot, now, monotonic)
        self._update_events(snapshot)
        tabs = self.query_one(PanelTabs)
        self._boundary.run(tabs, lambda: tabs.mark(panel_marks(snapshot, self._locks.merged(snapshot))))
        banner = self.query_one(Banner)
        self._boundary.run(banner, lambda: banner.update(snapshot, now), hidden_too=True)
        self.query_one(KeyBar).rename("pause", "Resume" if snapshot.paused else "Pause")
        self._refresh_available(snapshot)

    def _update_locks(self, snapshot: Snapshot, now: float, monotonic: float) -> None:
        panel = self.query_one(Locks)
        if panel.is_on_screen and self._locks.take_turn(monotonic):
            self.run_worker(self._locks.read(), name="locks", group="locks", exit_on_error=False)
        self._boundary.run(panel, lambda: self._show_locks(panel, self._locks.merged(snapshot), now))

    def _show_locks(self, panel: Locks, locks: tuple[LockView, ...], now: float) -> None:
        panel.update(locks, now)
        panel.set_class(not any(lock.state in ("stale", "overdue") for lock in locks), "-calm")  # it takes little room

    def _update_events(self, snapshot: Snapshot) -> None:
        panel = self.query_one(Events)
        if snapshot.event_seq == self._event_seq or not panel.is_on_screen:
            return
        events = self._run.events_since(self._event_seq)
        self._event_seq = snapshot.event_seq
        self._boundary.run(panel, lambda: panel.add(events))

    # -- narrow terminals --------------------------------------------------------------------------------------------
    @on(PanelTabs.Picked)
    def _tab_picked(self, event: PanelTabs.Picked) -> None:
        self._go_to(event.index)

    def action_next_panel(self, step: int) -> None:
        """Tab: the panel beside the focused one."""
        panels = self._panels()
        index = self.query_one(PanelTabs).active
        for _ in panels:
            index = (index + step) % len(panels)
            if self._is_narrow or panels[index].display:
                break
        self._go_to(index)

    def _go_to(self, index: int) -> None:
        self._show_tab(index)
        self.call_after_refresh(self._panels()[index].focus)  # one that was hidden takes no focus before

    @property
    def _is_narrow(self) -> bool:
        return self.has_class("-narrow") or self.has_class("-tiny")

    def on_descendant_focus(self) -> None:
        """Where panels are tabs, the focused one is the one that shows."""
        panels = self._panels()
        for index, panel in enumerate(panels):
            if self.focused is not None and (self.focused is panel or panel in self.focused.ancestors):
                self._show_tab(index)

    def _show_tab(self, index: int) -> None:
        self.query_one(PanelTabs).active = index
        for number, name in enumerate(_TAB_IDS):
            self.query_one(f"#{name}").set_class(number == index, "-shown")
        self.query_one("#body").set_class(_TAB_IDS[index] == "events", "away")
        self.query_one("#side").set_class(_TAB_IDS[index] in ("queue", "events"), "away")

    def _panels(self) -> tuple[Widget, ...]:
        return (
            self.query_one(Queue),
            self.query_one(Workers),
            self.query_one(Credentials),
            self.query_one(Locks),
            self.query_one(Events),
        )

    def action_zoom(self) -> None:
        """Let the focused panel fill the screen, or put it back."""
        if self.maximized is not None:
            self.minimize()
            return
        if self.focused is not None:
            panel = self.query_one(QueuePanel) if isinstance(self.focused, Queue) else self.focused
            self.maximize(panel, container=False)

    def action_back(self) -> None:
        """Escape: take a drain back, else leave a zoomed panel, else clear marks and filter."""
        if self._snapshot is not None and self._snapshot.status == "draining":
            self._verbs.undrain()
        elif self.maximized is not None:
            self.minimize()
        elif not self.query_one(QueuePanel).clear():
            self.query_one(Queue).focus()

    # -- the queue's keys --------------------------------------------------------------------------------------------
    async def action_requeue(self) -> None:
        """Put the selected tasks back."""
        ids = self._selected()[0]
        if ids and await self._verbs.requeue(ids):
            self._done_to_tasks()

    def action_cancel(self) -> None:
        """Cancel the selected tasks, after a question."""
        self._verbs.ask_cancel(self._selected()[0], then=self._done_to_tasks)

    async def action_prioritize(self, by: int) -> None:
        """Let the selected tasks come earlier or later; they stay marked, for who wants it once more."""
        ids = self._selected()[0]
        if ids and await self._verbs.prioritize(ids, by):
            self.query_one(Queue).look_again()

    def _done_to_tasks(self) -> None:
        queue = self.query_one(Queue)
        queue.clear_marks()
        queue.look_again()

    def _selected(self) -> tuple[tuple[str, ...], set[TaskState]]:
        """What `r` and `x` are meant for, and its states: the task of the row in the panel that has the focus."""
        focused = self.focused
        if isinstance(focused, Workers | Locks):
            task = self._task_of(focused)
            return ((task,), {TaskState.RUNNING}) if task is not None else ((), set())
        if isinstance(focused, Credentials | Events):
            return (), set()
        queue = self.query_one(Queue)
        return queue.selected_ids(), {row.state for row in queue.selected_rows()}

    def _task_of(self, panel: Workers | Locks) -> str | None:
        """The task that the row under the cursor is about."""
        line = panel.current
        if line is None or self._snapshot is None:
            return None
        if isinstance(panel, Locks):
            held = {lock.task_id for lock in self._snapshot.locks}
            return str(line.key) if line.key in held else None
        return next((worker.task for worker in self._snapshot.workers if worker.id == line.key), None)

    def action_filter(self) -> None:
        """Open the filter."""
        if self.maximized is not None and self.maximized is not self.query_one(QueuePanel):
            self.minimize()
        self._show_tab(0)
        self.query_one(QueuePanel).open_filter()

    def filter_by(self, text: str, state: TaskState | None = None) -> None:
        """Show the tasks of a state that match a text: what the groups of errors lead to."""
        self._show_tab(0)
        self.query_one(QueuePanel).filter_by(text, state)

    def action_state(self, index: int) -> None:
        """Show the tab with this number."""
        self.query_one(QueuePanel).set_state(index)

    def action_next_state(self, step: int) -> None:
        """Show the tab beside this one."""
        self.query_one(QueuePanel).next_state(step)

    def action_revive(self) -> None:
        """Let the parked worker under the cursor (or all) try again."""
        workers = self.query_one(Workers)
        line = workers.current if workers.has_focus else None
        self._verbs.revive(str(line.key) if line is not None and self._is_parked(str(line.key)) else None)

    async def action_clean_locks(self) -> None:
        """Remove the stale lock files."""
        await self._verbs.clean_locks()
        self._locks.outdate()

    @on(Queue.Opened)
    def _open_task(self, event: Queue.Opened) -> None:
        self._open(event.task_id)

    def _open(self, task_id: str) -> None:
        from agentdash.ui.screens.task import TaskScreen

        _ = self.app.push_screen(TaskScreen(self._run, task_id))

    @on(LineList.Chosen, "#workers, #locks")
    def _open_task_of(self, event: LineList.Chosen) -> None:
        panel = self.query_one(Workers) if event.lines.id == "workers" else self.query_one(Locks)
        if (task := self._task_of(panel)) is not None:
            self._open(task)

    @on(LineList.Chosen, "#credentials")
    def _activate_key(self, event: LineList.Chosen) -> None:
        self._verbs.rotate(str(event.key))

    # -- what applies now --------------------------------------------------------------------------------------------
    def _is_parked(self, worker: str) -> bool:
        views = self._snapshot.workers if self._snapshot is not None else ()
        return any(view.id == worker and view.state == "parked" for view in views)

    def _refresh_available(self, snapshot: Snapshot) -> None:
        available = task_actions(snapshot, self._selected()[1], has_stale_locks=self._locks.has_stale)
        if available != self._available:
            self._available = available
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """None dims a key that would do nothing."""
        if action == "filter":
            return not isinstance(self.focused, Input)  # there it is a letter as others are
        if action in TASK_ACTIONS:
            return True if action in self._available else None
        return True
