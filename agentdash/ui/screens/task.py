"""One task, full screen: what was asked, every attempt, and what it answers, as it is being written."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import ClassVar, Final

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static
from textual.worker import Worker

from agentdash.errors import AgentdashError
from agentdash.model import FINISHED_STATES, Counts, Snapshot, TaskDetail, TaskState
from agentdash.text import clean, shorten
from agentdash.ui.format import span, task_look, task_word
from agentdash.ui.panels.document import Document
from agentdash.ui.panels.keybar import KeyBar
from agentdash.ui.run import Run
from agentdash.ui.screens.markdown import MarkdownScreen
from agentdash.ui.screens.runline import RunLine
from agentdash.ui.screens.taskfile import save
from agentdash.ui.screens.tasktext import TaskText, describe
from agentdash.ui.terminal import copy_to_clipboard
from agentdash.ui.verbs import Verbs

_READ_EVERY_S = 0.5
_MOST_COPIED = 75_000
_LIVE = "Output, as it is written"
_ENDED = "Output of the attempt before"
_DIM: Final = "$foreground 65%"  # `$text-muted` is a colour only where a style sheet says it
_COLOURS: Final = {"good": "$text-success", "bad": "$text-error", "accent": "$text-accent", "dim": _DIM}


class TaskScreen(Screen[None]):
    """Told of each moment by `update`; reads the task again while it may change."""

    BINDINGS: ClassVar = [
        Binding("escape,backspace", "back", "Back", tooltip="Back to the queue", id="task_back"),
        Binding("c", "copy_task", "Copy", tooltip="Copy the answer, or the prompt while there is none", id="task_copy"),
        Binding("s", "save", "Save", tooltip="Save prompt and answer in the project's folder", id="task_save"),
        Binding("r", "requeue", "Requeue", tooltip="Put the task back into the queue", id="task_requeue"),
        Binding("x", "cancel", "Cancel", tooltip="Cancel the task", id="task_cancel"),
        Binding("m", "markdown", "Markdown", tooltip="Show the answer laid out", id="task_markdown"),
    ]
    DEFAULT_CSS = """
    TaskScreen > #title { height: 1; padding: 0 2; text-wrap: nowrap; background: $background; }
    TaskScreen > Document { height: 1fr; }
    """

    def __init__(self, run: Run, task_id: str) -> None:
        super().__init__()
        self._run = run
        self._line = RunLine(run, id="run")
        self._task_id = task_id
        self._detail: TaskDetail | None = None
        self._text: TaskText | None = None
        self._is_known = False  # whether it was read at all
        self._is_reading = False
        self._read_at = float("-inf")
        self._read_counts: Counts | None = None
        self._counts: Counts | None = None
        self._now = 0.0
        self._position = 0
        self._attempt: int | None = None
        self._is_live = False
        self._has_ended = False  # whether the attempt that wrote it has
        self._is_past = False  # whether it is shown as that
        self._available: frozenset[str] = frozenset()
        self._trouble = ""

    def compose(self) -> ComposeResult:
        yield self._line
        yield Static("", id="title", markup=False)
        yield Document(empty="Reading the task …", id="document")
        order = ("task_copy", "task_markdown", "task_requeue", "task_cancel", "task_save")
        yield KeyBar(("task_back",), order, ("help", "quit_run"))

    def on_mount(self) -> None:
        self._verbs = Verbs(self.app, self._run)
        self._document = self.query_one(Document)
        self._document.focus()
        self._now = self._run.clock.now()
        self._show_title()
        self._read_again()

    def on_resize(self, event: events.Resize) -> None:
        """Cut the title to the width."""
        self._show_title()

    # -- what it shows -----------------------------------------------------------------------------------------------
    def update(self, snapshot: Snapshot, now: float) -> None:
        """A boundary: whatever goes wrong with a task is shown in its place, and the app goes on."""
        if not self.is_mounted:
            return
        try:
            self._now, self._counts = now, snapshot.counts
            self._line.update(snapshot, now)
            self._take_output()
            self._show_title()
            if self._may_have_changed() and self._run.clock.monotonic() - self._read_at >= _READ_EVERY_S:
                self._read_again()
        except AgentdashError as error:
            self._tell_once(f"{error.message} {error.hint or ''}")
        except Exception as error:  # noqa: BLE001 - see above
            self._document.log_fault(error)
            self._document.fault(error)

    def _may_have_changed(self) -> bool:
        is_finished = self._detail is not None and self._detail.row.state in FINISHED_STATES
        return not self._is_known or self._counts != self._read_counts or not (is_finished or self._detail is None)

    def _read_again(self) -> None:
        if self._is_reading:
            self._read_at = float("-inf")  # what is being read may be old already
            return
        self._is_reading = True
        self._read_at, self._read_counts = self._run.clock.monotonic(), self._counts
        _: Worker[None] = self.run_worker(self._read, name="task", group="task", exit_on_error=False)

    async def _read(self) -> None:
        """A boundary, as `update` is one."""
        try:
            detail = await self._run.task_detail(self._task_id)
            if not self._is_known or detail != self._detail:
                text = await asyncio.to_thread(describe, detail) if detail is not None else None
                self._detail, self._text = detail, text
                self._is_known = True
                self._show()
            self._trouble = ""
        except AgentdashError as error:
            self._tell_once(f"{error.message} {error.hint or ''}")
        except Exception as error:  # noqa: BLE001 - see above
            self._document.log_fault(error)
            self._document.fault(error)
        finally:
            self._is_reading = False

    def _tell_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._verbs.tell(clean(trouble).strip(), severity="error")

    def _show(self) -> None:
        """Another state, another attempt, an answer."""
        detail = self._detail
        if detail is None:
            self._document.empty = f"There is no task {shorten(clean(self._task_id), 60)} any more."
        if self._run.output_since(self._task_id, self._position) is None and not self._is_running:
            text, is_done = self._text, detail is not None and detail.row.state is TaskState.SUCCEEDED
            keeps = self._position > 0 and text is not None and not text.answer and not is_done
            self._is_live = self._is_past = keeps
            self._position *= keeps
        self._take_output()
        self._show_sections()
        self._show_title()
        self._refresh_available()

    def _show_sections(self) -> None:
        if self._detail is None or self._text is None:
            self._document.set_sections(())
        else:
            sections = self._text.sections(self._detail.row.state, live=self._is_live)
            head = _ENDED if self._is_past else _LIVE
            followed = self._document.follows and not self._is_live
            self._document.set_sections(sections, live=head if self._is_live else "")
            if followed:  # what it wrote stood at the end, its answer stands at the top
                self._document.action_to_top()

    def _take_output(self) -> None:
        """What the task has written since the last time."""
        if self._text is None:  # the rest of the document is not there yet
            return
        part = self._run.output_since(self._task_id, self._position)
        if part is None:
            self._has_ended = True
            return
        is_new_attempt = self._has_ended or part.attempt != self._attempt
        if is_new_attempt and self._position:
            part = self._run.output_since(self._task_id, 0) or part
        begins, was_past = not self._is_live, self._is_past
        self._is_live = True
        self._is_past = is_new_attempt and self._position > 0 and not part.text
        if begins or was_past != self._is_past:
            self._show_sections()
        if self._is_past:  # what the one before wrote stays until this one writes
            return
        if is_new_attempt:
            self._document.clear_live()
        self._has_ended = False
        self._attempt, self._position = part.attempt, part.position
        lost = f"\n… {part.dropped:,} characters are not shown …\n" if part.dropped else ""
        self._document.append(lost + part.text)
        if begins:
            self._document.action_to_end()

    def _show_title(self) -> None:
        detail = self._detail
        width = max(10, self.size.width - 4)
        if detail is None:
            title = Content.styled(shorten(clean(self._task_id), width), "bold")
        else:
            row = detail.row
            look = task_look(row.state)
            said = [f"priority {row.priority:,}"] if row.priority else []
            said += [f"try {row.tries + 1:,}" if self._is_running else _tries(row.tries)]  # the one under way counts
            said += [shorten(clean(row.worker), 20)] if row.worker else []
            if self._is_running and detail.claimed_at:
                said.append(span(self._now - detail.claimed_at))
            state, rest = f"  {look.glyph} {task_word(row.state)}", "".join(f"  {part}" for part in said)
            name = shorten(clean(row.id), max(8, width - len(state) - len(rest)))
            title = Content.assemble((name, "bold"), (state, _COLOURS.get(look.style, "")), (rest, _DIM))
        static = self.query_one("#title", Static)
        if static.content != title:
            static.update(title)

    @property
    def _is_running(self) -> bool:
        return self._detail is not None and self._detail.row.state is TaskState.RUNNING

    # -- keys --------------------------------------------------------------------------------------------------------
    def _refresh_available(self) -> None:
        available = self._what_applies()
        if available != self._available:
            self._available = available
            self.refresh_bindings()

    def _what_applies(self) -> frozenset[str]:
        if self._detail is None or self._text is None:
            return frozenset()
        state, text = self._detail.row.state, self._text
        found = {"save"}
        if text.answer or text.prompt:
            found.add("copy_task")
        if text.answer:
            found.add("markdown")
        if state in (TaskState.FAILED, TaskState.CANCELLED):
            found.add("requeue")
        if state not in FINISHED_STATES:
            found.add("cancel")
        return frozenset(found)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """None dims a key that would do nothing."""
        if action in ("copy_task", "save", "requeue", "cancel", "markdown"):
            return True if action in self._available else None
        return True

    def action_back(self) -> None:
        """Leave."""
        _ = self.dismiss()

    def action_copy_task(self) -> None:
        """Copy the answer, or else the prompt."""
        if self._text is None:
            return
        what, text = ("answer", self._text.answer) if self._text.answer else ("prompt", self._text.prompt)
        if len(text) <= _MOST_COPIED and copy_to_clipboard(self.app, text):
            self._verbs.tell(f"The {what} is on the clipboard, if the terminal allows it.")
        else:
            self._verbs.tell(f"The {what} could not be copied: s saves it.", severity="warning")

    def action_save(self) -> None:
        """Save prompt and answer."""
        if self._text is not None:
            _: Worker[None] = self.run_worker(
                partial(self._save, self._text), name="save", group="save", exit_on_error=False
            )

    async def _save(self, text: TaskText) -> None:
        try:
            path = await save(self._run.project_path, self._task_id, text)
        except OSError as error:
            self._verbs.tell(clean(f"It could not be saved: {error.strerror or error}"), severity="error")
        else:
            self._verbs.tell(clean(f"Saved as {path}"))

    async def action_requeue(self) -> None:
        """Put the task back into the queue."""
        await self._verbs.requeue([self._task_id])
        self._read_again()

    def action_cancel(self) -> None:
        """Cancel the task, after a question."""
        self._verbs.ask_cancel([self._task_id], then=self._read_again)

    def action_markdown(self) -> None:
        """Show the answer laid out."""
        if self._text is not None and self._text.answer:
            _ = self.app.push_screen(MarkdownScreen(self._task_id, self._text.answer))


def _tries(number: int) -> str:
    return f"{number:,} {'try' if number == 1 else 'tries'}"
