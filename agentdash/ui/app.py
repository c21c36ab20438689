"""The Textual application: one timer, one snapshot a tick, the keys that work everywhere. It never owns the run."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widgets._toast import ToastHolder

from agentdash.errors import AgentdashError, UsageError
from agentdash.model import ErrorGroup, Snapshot, TaskState
from agentdash.text import clean
from agentdash.ui import palette
from agentdash.ui.applicable import RUN_ACTIONS, run_actions
from agentdash.ui.bindings import APP_BINDINGS, MAIN_BINDINGS
from agentdash.ui.crash import RedactedCrash
from agentdash.ui.keymap import checked_keymap
from agentdash.ui.pace import TICK_S, Pace
from agentdash.ui.run import Run
from agentdash.ui.screens.main import MainScreen
from agentdash.ui.terminal import ControlFilter, dashboard_driver
from agentdash.ui.themes import THEMES
from agentdash.ui.verbs import Verbs

FORCE_AFTER_S = 2.0
_LEAST_COMMON = 8
_UNSEEN_BEHIND_HELP = RUN_ACTIONS | {"log", "help"}


class DashboardApp(RedactedCrash, App[None]):
    """The dashboard of one run.

    `painted` is set when the first frame is on the terminal. `left_at` is the moment at which the user asked to quit;
    `on_forced` is called when quitting at once did not help (a thread that can't be stopped). `keymap` maps binding
    ids to keys. Quitting only drains the run: whoever owns both ends the app when the run has ended. Raises
    `UsageError` for a theme, an id or a key there is none of.
    """

    TITLE = "agentdash"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    BINDINGS: ClassVar = list(APP_BINDINGS)
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (70, "-narrow"), (100, "-roomy"), (150, "-wide")]  # noqa: RUF012 - as App declares it
    VERTICAL_BREAKPOINTS = [(0, "-low"), (30, "-tall")]  # noqa: RUF012 - as above

    def __init__(self, run: Run, *, keymap: Mapping[str, str] | None = None, theme: str | None = None) -> None:
        super().__init__(driver_class=dashboard_driver())
        self._user_keys = checked_keymap(keymap)
        self._engine = run
        for own in THEMES:
            self.register_theme(own)
        self._wanted_theme = theme or THEMES[0].name
        if self._wanted_theme not in self.available_themes:
            known = ", ".join(sorted(self.available_themes))
            raise UsageError(f"There is no theme {self._wanted_theme!r}.", hint=f"Known: {known}.")
        self.verbs = Verbs(self, run)
        self.painted = asyncio.Event()
        self.left_at: Snapshot | None = None
        self.on_forced: Callable[[], object] = lambda: None
        self._aborted_at: float | None = None
        self.snapshot: Snapshot | None = None
        self._main: MainScreen | None = None
        self._available: frozenset[str] = frozenset()
        self._fault = ""
        self._pace = Pace()

    @property
    def log_path(self) -> Path:
        """Where the details of a fault are."""
        return self._engine.log_path

    def on_mount(self) -> None:
        self.theme = self._wanted_theme
        if self._user_keys:
            self.set_keymap(self._user_keys)
        self._main = MainScreen(self._engine, self.verbs)
        _ = self.push_screen(self._main)
        self.set_interval(TICK_S, self._look, name="snapshot")
        self.call_after_refresh(self._first_frame)

    def _first_frame(self) -> None:
        self.tick()
        self.call_after_refresh(self._is_painted)

    def _is_painted(self) -> None:
        self.painted.set()
        self.run_worker(_load_screens, thread=True, name="screens", exit_on_error=False)

    def _look(self) -> None:
        """What the timer does: show what is new at once, and where nothing is, let the ages grow now and then."""
        is_still = isinstance(self.screen, MainScreen) and not self.screen.is_searching
        monotonic = self._engine.clock.monotonic()
        if self._pace.may_skip(monotonic, is_still=is_still) or (snapshot := self._take_snapshot()) is None:
            return
        if self._pace.wants(snapshot, self.snapshot, monotonic, is_still=is_still):
            self._show(snapshot)

    def tick(self) -> None:
        """Take one snapshot and show it on the screens that can be seen."""
        if (snapshot := self._take_snapshot()) is not None:
            self._show(snapshot)

    def _take_snapshot(self) -> Snapshot | None:
        try:
            snapshot = self._engine.snapshot()
        except AgentdashError as error:  # the database is away for a moment: what was shown stays
            if self._fault != error.message:
                self._fault = error.message
                self.verbs.tell(clean(error.message), severity="error")
            return None
        self._fault = ""
        return snapshot

    def _show(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        now, monotonic = self._engine.clock.now(), self._engine.clock.monotonic()
        self._pace.has_shown(monotonic)
        with self.batch_update():
            for screen in reversed(self.screen_stack):
                if isinstance(screen, MainScreen):
                    screen.update(snapshot, now, monotonic)
                elif (update := getattr(screen, "update", None)) is not None:
                    update(snapshot, now)
                if not screen.is_modal:
                    break
        available = run_actions(snapshot)
        if available != self._available:
            self._available = available
            self.refresh_bindings()

    def clear_notifications(self) -> None:
        """Textual 8.2 takes the toasts away but keeps their holders, and so the toasts, until the screen goes."""
        super().clear_notifications()
        for screen in self.screen_stack:
            _ = screen.query(ToastHolder).remove()

    # -- keys --------------------------------------------------------------------------------------------------------
    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """None dims a key that would do nothing."""
        if action in _UNSEEN_BEHIND_HELP and getattr(self.screen, "HIDES_APP_KEYS", False):
            return False  # what it does could not be seen behind the help
        if action in RUN_ACTIONS:
            return True if action in self._available else None
        return True

    def action_pause(self) -> None:
        """Pause, or go on."""
        if self.snapshot is not None:
            self.verbs.pause_or_resume(self._engine.snapshot())
            self.tick()

    def action_interrupt(self) -> None:
        """Pause, and put what runs back into the queue."""
        if self.snapshot is not None:
            self.verbs.ask_interrupt(self._engine.snapshot())

    def action_workers(self, step: int) -> None:
        """Have more or fewer workers."""
        self.verbs.resize(self._engine.snapshot(), step)
        self.tick()

    def action_rotate(self) -> None:
        """Make the next key active."""
        self.verbs.rotate()
        self.tick()

    def action_requeue_failed(self) -> None:
        """Requeue every failed task."""
        self.verbs.ask_requeue_failed(self._engine.snapshot())

    async def action_undo(self) -> None:
        """Take the last bulk action back."""
        await self.verbs.undo()
        self.tick()

    def action_groups(self) -> None:
        """Show the failed tasks by error."""
        from agentdash.ui.screens.groups import GroupsScreen

        if not isinstance(self.screen, GroupsScreen):
            _ = self.push_screen(GroupsScreen(self._engine), self._group_chosen)

    def _group_chosen(self, chosen: ErrorGroup | None) -> None:
        if chosen is not None and self._main is not None:
            self._main.filter_by(_common_text(chosen), TaskState.FAILED)

    def action_log(self) -> None:
        """Show the log."""
        from agentdash.ui.screens.log import LogScreen

        if not isinstance(self.screen, LogScreen):
            _ = self.push_screen(LogScreen(self._engine))

    def action_help(self) -> None:
        """Show every key."""
        from agentdash.ui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            _ = self.push_screen(HelpScreen(self._help()))

    def action_quit_run(self) -> None:
        """Drain; once more: stop at once."""
        self.clear_notifications()  # what the banner says now matters more than what was told before
        shown = self._engine.snapshot()
        if shown.status != "draining":
            self.left_at = shown
        now = self._engine.clock.monotonic()
        if self._aborted_at is not None and now - self._aborted_at > FORCE_AFTER_S:
            self.on_forced()
        elif shown.status == "draining":
            if self._aborted_at is None:
                self._aborted_at = now
                self.verbs.tell("Stopping at once. If something can't be stopped: q once more leaves it.")
            self._engine.abort()
        else:
            self._engine.drain()
        self.tick()

    async def action_quit(self) -> None:
        """What Textual and its palette call quitting is ours: nothing is cut off."""
        self.action_quit_run()

    def _help(self) -> list[tuple[str, list[tuple[str, str]]]]:
        def described(bindings: Iterable[Binding]) -> list[tuple[str, str]]:
            return [(self._shown(b), b.tooltip or b.description) for b in bindings if b.id != "interrupt_key"]

        return [
            ("The run", described(APP_BINDINGS)),
            ("Tasks and panels", described(MAIN_BINDINGS)),
            (
                "Lists",
                [
                    ("j k, ↓ ↑", "Down and up"),
                    ("g G", "To the beginning, to the end"),
                    ("PgUp PgDn", "A screenful"),
                    ("Enter", "Open the task; in credentials: make the key the active one"),
                    ("space", "Mark the task"),
                    ("s S", "Sort by another column, the other way round"),
                    ("Ctrl+P", "The palette: every action by name"),
                ],
            ),
        ]

    def _shown(self, binding: Binding) -> str:
        return self._user_keys.get(binding.id or "") or binding.key_display or self.get_key_display(binding)

    # -- palette and looks -------------------------------------------------------------------------------------------
    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Every action by name, beside Textual's own (theme, screenshot)."""
        for command in super().get_system_commands(screen):
            if command.title not in ("Quit", "Keys", "Maximize", "Minimize"):
                yield command
        yield from palette.commands(screen, self._shown, self.run_action)

    def get_line_filters(self) -> list[LineFilter]:
        """Textual's own, and the second wall against control characters."""
        return [*super().get_line_filters(), ControlFilter()]


def _load_screens() -> None:
    """Import what the first frame could do without, before a key asks for it."""
    for name in ("confirm", "task", "groups", "log", "help"):
        importlib.import_module(f"agentdash.ui.screens.{name}")


def _common_text(group: ErrorGroup) -> str:
    """What the filter can find a group's tasks by: the longest part of their messages that is the same in all."""
    parts = [part.strip() for part in group.pattern.split("…")]
    longest = max(parts, key=len, default="")
    return longest if len(longest) >= _LEAST_COMMON else group.error_type
