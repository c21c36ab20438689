"""The failed tasks by kind of error: what went wrong most, an example of it, and what can be done about a group."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from agentdash.errors import AgentdashError
from agentdash.figures import count
from agentdash.model import ErrorGroup, Snapshot
from agentdash.text import clean, clean_lines
from agentdash.ui.crash import log_fault
from agentdash.ui.panels.keybar import KeyBar
from agentdash.ui.panels.lines import Cell, Column, Line, LineList
from agentdash.ui.run import Run
from agentdash.ui.screens.runline import RunLine
from agentdash.ui.verbs import Verbs

if TYPE_CHECKING:
    from textual.app import App

_EVERY_S = 1.0
_SHOWN_CHARS = 4000
_NAME_CHARS = 60
_WIDE = 80
_COLUMNS = (Column("tasks", 9, "right"), Column("error", 26, rank=1), Column("in common", 0))
_NARROW_COLUMNS = (Column("tasks", 9, "right"), Column("error", 0))
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


class GroupList(LineList):
    """The list. Its Enter stands in the key bar."""

    BINDINGS: ClassVar = [
        Binding("enter", "choose", "Show tasks", tooltip="Show the tasks of this group in the queue", id="groups_open"),
    ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """None dims a key that would do nothing."""
        return None if action == "choose" and self.current is None else True


class GroupsScreen(Screen[ErrorGroup | None]):
    """Lists the groups, the largest first; its answer is the group whose tasks are to be shown, or None."""

    BINDINGS: ClassVar = [
        # The ids are those of the main view, so that a key the user chose for these works here, too.
        Binding("r", "requeue", "Requeue", tooltip="Put the tasks of this group back into the queue", id="requeue"),
        Binding("o", "export", "Export", tooltip="Write the results of this group to a file", id="groups_export"),
        Binding("escape", "back", "Back", tooltip="Back to the queue", id="back"),
    ]
    DEFAULT_CSS = """
    GroupsScreen #groups {
        height: 1fr; min-height: 4;
        border: round $accent; border-title-color: $accent; border-subtitle-color: $text-muted;
    }
    GroupsScreen #example {
        height: auto; min-height: 4; max-height: 40%; padding: 0 1;
        border: round $foreground 25%; border-title-color: $foreground;
    }
    GroupsScreen #example:focus { border: round $accent; border-title-color: $accent; }
    GroupsScreen #message { height: auto; }
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._line = RunLine(run, id="run")
        self._groups: dict[tuple[str, str], ErrorGroup] = {}
        self._failed: int | None = None  # as many had failed when the groups were asked for; None: ask again
        self._asked_at = float("-inf")
        self._is_asking = False
        self._is_exporting = False
        self._is_narrow = False
        self._example = ""
        self._fault = ""

    def compose(self) -> ComposeResult:
        yield self._line
        groups = GroupList(_COLUMNS, empty="Looking at the failed tasks …", show_heads=False, id="groups")
        groups.border_title = "Failed tasks by error"
        yield groups
        with VerticalScroll(id="example") as example:
            example.border_title = "Example"
            example.display = False
            yield Static("", id="message", markup=False)
        middle = ("groups_open", "groups_export", "requeue_failed", "undo")
        yield KeyBar(("back", "requeue"), middle, ("help", "quit_run"))

    def on_mount(self) -> None:
        self._list.focus()
        try:
            failed = self._run.snapshot().counts.failed
        except AgentdashError:  # the first tick asks again, and tells
            return
        self._ask(failed, self._run.clock.now())

    @property
    def _verbs(self) -> Verbs:
        return Verbs(cast("App[None]", self.app), self._run)

    @property
    def _list(self) -> GroupList:
        return self.query_one(GroupList)

    @property
    def current(self) -> ErrorGroup | None:
        """The group under the cursor."""
        line = self._list.current if self.is_mounted else None
        return self._groups.get(cast("tuple[str, str]", line.key)) if line is not None else None

    # -- what it shows -----------------------------------------------------------------------------------------------
    def update(self, snapshot: Snapshot, now: float) -> None:
        """Look at the groups again when other tasks have failed, but not all the time."""
        self._line.update(snapshot, now)
        if snapshot.counts.failed != self._failed and abs(now - self._asked_at) >= _EVERY_S:
            self._ask(snapshot.counts.failed, now)

    def _ask(self, failed: int, now: float) -> None:
        if not self._is_asking:
            self._is_asking, self._failed, self._asked_at = True, failed, now
            _ = self.run_worker(self._load(), name="error groups", group="groups", exit_on_error=False)

    async def _load(self) -> None:
        """A boundary: nobody awaits it, so it shows and records what goes wrong."""
        try:
            self._show(await self._run.error_groups())
            self._fault = ""
        except AgentdashError as error:
            self._failed = None  # try again in a second, and tell the same only once
            self._list.empty = "The failed tasks could not be read."
            if self._fault != error.message:
                self._fault = error.message
                self._verbs.tell(clean(error.message), severity="error")
        except Exception as error:  # noqa: BLE001 - see above
            log_fault("the groups of errors failed", error)
            self._list.fault(error)
        finally:
            self._is_asking = False

    def _show(self, groups: tuple[ErrorGroup, ...]) -> None:
        if not self.query("#message"):
            return  # left meanwhile
        self._groups = {(group.error_type, group.pattern): group for group in groups}
        failed = sum(group.count for group in groups)
        self._list.empty = "No task has failed."
        self._list.border_subtitle = f"{count(failed, 'task')} · {count(len(groups), 'kind')}" if groups else ""
        self._fill()
        self._show_example()

    def _fill(self) -> None:
        self._list.columns = _NARROW_COLUMNS if self._is_narrow else _COLUMNS
        self._list.show_heads = bool(self._groups)
        self._list.show([_line(group, self._is_narrow) for group in self._groups.values()])

    def on_resize(self) -> None:
        """What has no room beside each other stands in one column."""
        is_narrow = self.size.width < _WIDE
        if is_narrow != self._is_narrow:  # else nothing changes, and a fault that is shown must stay
            self._is_narrow = is_narrow
            self._fill()

    @on(LineList.Moved)
    def _show_example(self) -> None:
        group = self.current
        example = self.query_one("#example")
        example.display = group is not None
        text = ""
        if group is not None:
            said = clean_lines(group.message[:_SHOWN_CHARS]).strip()
            text = f"{clean(group.example)}   {clean(group.error_type)}\n{said}"
        if text != self._example:  # who reads a long one keeps the place while other tasks fail
            self._example = text
            self.query_one("#message", Static).update(Content(text))
            example.scroll_home(animate=False)
        self.refresh_bindings()

    # -- keys --------------------------------------------------------------------------------------------------------
    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """None dims a key that would do nothing."""
        if action in ("requeue", "export"):
            return True if self.current is not None else None
        return True

    @on(LineList.Chosen)
    def _chosen(self, event: LineList.Chosen) -> None:
        if (group := self._groups.get(cast("tuple[str, str]", event.key))) is not None:
            _ = self.dismiss(group)

    def action_back(self) -> None:
        """Leave without having chosen."""
        _ = self.dismiss(None)

    def action_requeue(self) -> None:
        """Put the tasks of the group under the cursor back, after a question."""
        if (group := self.current) is not None:
            self._verbs.ask_requeue_group(group, then=self._forget)

    def _forget(self) -> None:
        """The groups are others now, even if as many tasks have failed as before."""
        self._failed, self._asked_at = None, float("-inf")

    def action_export(self) -> None:
        """Write the results of the group under the cursor to a new file."""
        if (group := self.current) is not None and not self._is_exporting:
            self._is_exporting = True
            _ = self.run_worker(self._export(group), name="export", group="export", exit_on_error=False)

    async def _export(self, group: ErrorGroup) -> None:
        """A boundary, as `_load` is."""
        try:
            path = await asyncio.to_thread(_new_path, self._run.project_path, group.error_type)
            number = await self._verbs.attempt(self._run.export_group(group, path))
            if number is not None:
                self._verbs.tell(f"{count(number, 'task')} written to {clean(str(path))}")
        except OSError as error:
            self._verbs.tell(clean(f"The group could not be written: {error.strerror or error}"), severity="error")
        except Exception as error:  # noqa: BLE001 - see above
            log_fault("the export of a group failed", error)
            self._verbs.tell("The export failed, see the log.", severity="error")
        finally:
            self._is_exporting = False


def _line(group: ErrorGroup, is_narrow: bool) -> Line:
    number, kind = Cell(f"{group.count:,} ×", "bad"), group.error_type
    key = (kind, group.pattern)
    if is_narrow:
        return Line(key, (number, Cell(f"{kind}: {group.pattern}")))
    return Line(key, (number, Cell(kind, "bold"), Cell(group.pattern)))


def _new_path(folder: Path, error_type: str) -> Path:
    """`failed-<error>.jsonl`, or the first of `…-2`, `…-3` … that there is none of yet."""
    safe = _UNSAFE.sub("-", error_type[: 4 * _NAME_CHARS]).strip("-")[:_NAME_CHARS] or "error"
    path, number = folder / f"failed-{safe}.jsonl", 1
    while path.exists() or path.is_symlink():
        number += 1
        path = folder / f"failed-{safe}-{number}.jsonl"
    return path
