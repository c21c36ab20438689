"""What a key does to the run, and what the user is told of it: each verb with its question, answer and error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from agentdash.errors import AgentdashError
from agentdash.model import ErrorGroup, Snapshot
from agentdash.text import clean, shorten
from agentdash.ui.run import Run

if TYPE_CHECKING:
    from textual.app import App
    from textual.notifications import SeverityLevel
    from textual.screen import ScreenResultCallbackType

T = TypeVar("T")
_NAME_CELLS = 40
_LABEL_CELLS = 22
_NOTICE_CELLS = 300
_ERROR_CELLS = 180


class Verbs:
    """The run's verbs for an app: asks where much is at stake, and says what happened."""

    def __init__(self, app: App[None], run: Run) -> None:
        self._app = app
        self._run = run

    def tell(self, text: str, *, severity: SeverityLevel = "information") -> None:
        """A short notice, in place of the one before; never markup."""
        # After what it tells of has been drawn: putting a notice up takes longer than that.
        self._app.call_after_refresh(self._put_up, text, severity)

    def _put_up(self, text: str, severity: SeverityLevel) -> None:
        self._app.clear_notifications()
        self._app.notify(text, severity=severity, markup=False, timeout=4)

    async def attempt(self, asked: Awaitable[T]) -> T | None:
        """Await something the run was asked for; an error is shown, and the answer is None then."""
        try:
            return await asked
        except AgentdashError as error:
            hint = f" {error.hint}" if error.hint else ""
            said = f"{error.message}{hint}"[: 2 * _NOTICE_CELLS]  # before it is cleaned: it may hold a whole answer
            self.tell(shorten(clean(said), _NOTICE_CELLS), severity="error")
            return None

    def _ask(
        self, question: str, detail: str, label: str, decided: ScreenResultCallbackType[bool], *, no: str = "Cancel"
    ) -> None:
        from agentdash.ui.screens.confirm import ConfirmDialog

        dialog = ConfirmDialog(question, detail=detail, confirm_label=label, refuse_label=no)
        _ = self._app.push_screen(dialog, decided)

    # -- the run -----------------------------------------------------------------------------------------------------
    def pause_or_resume(self, snapshot: Snapshot) -> None:
        """Take no new tasks, or take them again."""
        if snapshot.paused:
            self._run.resume()
            self.tell("Going on without that limit." if snapshot.limits.reached else "Going on.")
        else:
            self._run.pause()
            running = snapshot.counts.running
            self.tell(f"Paused. {_tasks(running)} still running." if running else "Paused.")

    def ask_interrupt(self, snapshot: Snapshot) -> None:
        """Pause, and put what runs back into the queue, after a question: what was paid for it is lost."""
        running = len([worker for worker in snapshot.workers if worker.task])
        if not running:
            self._run.pause()
            self.tell("Paused.")
            return

        def decided(is_sure: bool | None) -> None:
            if is_sure:
                self.tell(f"Paused. {_tasks(self._run.interrupt())} went back into the queue.")

        self._ask(
            f"Pause and interrupt {_tasks(running)}?",
            "They go back into the queue. What their answers have cost so far is spent.",
            "Interrupt",
            decided,
        )

    def resize(self, snapshot: Snapshot, step: int) -> None:
        """One worker more or fewer."""
        wanted = max(1, snapshot.max_workers + step)
        self._run.resize(wanted)
        self.tell(f"{wanted:,} workers." if wanted > 1 else "1 worker.")

    def rotate(self, name: str | None = None) -> None:
        """Make another key active."""
        moved = self._run.rotate(name)
        if moved is None:
            self.tell("There is no other usable key.", severity="warning")
        elif moved[0] == moved[1]:
            self.tell(f"{clean(moved[1])} is the active key.")
        else:
            self.tell(f"{clean(moved[0])} → {clean(moved[1])}, from the next request on.")

    def revive(self, worker: str | None) -> None:
        """Let parked workers try again."""
        number = self._run.revive(worker)
        self.tell(f"{_workers(number)} revived." if number else "No worker is parked.")

    def undrain(self) -> None:
        """Go on after all."""
        if self._run.undrain():
            self.tell("Going on.")
        else:
            self.tell("Too late: the run has ended.", severity="warning")

    # -- tasks -------------------------------------------------------------------------------------------------------
    async def requeue(self, ids: Sequence[str]) -> bool:
        """Put tasks back into the queue; returns whether there were any."""
        number = await self.attempt(self._run.requeue(ids))
        if number is None:
            return False
        what = _named(ids) if len(ids) == 1 else _tasks(number)
        nothing = "Only failed and cancelled tasks can be requeued."
        self.tell(f"{what} requeued. u takes it back." if number else nothing)
        return bool(number)

    async def prioritize(self, ids: Sequence[str], by: int) -> bool:
        """Let pending tasks come earlier or later; returns whether there were any."""
        number = await self.attempt(self._run.prioritize(ids, by=by))
        if number is None:
            return False
        what, how = _named(ids) if len(ids) == 1 else _tasks(number), "more" if by > 0 else "less"
        nothing = "Only pending tasks can be given another priority."
        self.tell(f"{what}: priority {abs(by)} {how}. u takes it back." if number else nothing)
        return bool(number)

    def ask_requeue_failed(self, snapshot: Snapshot) -> None:
        """Put every failed task back, after a question that counts them."""
        failed = snapshot.counts.failed
        if not failed:
            self.tell("No task has failed.")
            return

        async def decided(is_sure: bool | None) -> None:
            if is_sure:
                number = await self.attempt(self._run.requeue(None))
                if number is not None:
                    self.tell(f"{_tasks(number)} requeued. u takes it back.")

        self._ask(
            f"Requeue {'the failed task' if failed == 1 else f'all {failed:,} failed tasks'}?",
            "Their attempts are counted anew. u takes it back for ten seconds.",
            "Requeue",
            decided,
        )

    def ask_requeue_group(self, group: ErrorGroup, then: Callable[[], None]) -> None:
        """Put the failed tasks with one kind of error back, after a question that counts them."""

        async def decided(is_sure: bool | None) -> None:
            if is_sure and (number := await self.attempt(self._run.requeue_group(group))) is not None:
                then()
                self.tell(f"{_tasks(number)} requeued. u takes it back." if number else "None of them is failed now.")

        failed = "the failed task" if group.count == 1 else f"{group.count:,} failed tasks"
        self._ask(
            f"Requeue {failed} with this error?",
            shorten(clean(f"{group.error_type}: {group.pattern}"), _ERROR_CELLS),
            "Requeue",
            decided,
        )

    def ask_cancel(self, ids: Sequence[str], then: Callable[[], None]) -> None:
        """Cancel tasks, after a question."""
        if not ids:
            return

        async def decided(is_sure: bool | None) -> None:
            if is_sure and (done := await self.attempt(self._run.cancel(ids))) is not None:
                then()
                self.tell(_cancelled(*done))

        what = shorten(clean(ids[0]), _LABEL_CELLS) if len(ids) == 1 else _tasks(len(ids))
        self._ask(
            f"Cancel {_named(ids) if len(ids) == 1 else _tasks(len(ids))}?",
            "Running ones are stopped; finished ones stay as they are. u takes it back for ten seconds.",
            f"Stop {what}",  # neither button says cancel: that would be a no to some and a yes to others
            decided,
            no="Keep it" if len(ids) == 1 else "Keep them",
        )

    async def undo(self) -> None:
        """Take the last bulk action back."""
        done = await self.attempt(self._run.undo())
        if done is None:
            return
        restored, gone_on = done
        late = f" {_tasks(gone_on)} had gone on." if gone_on else ""
        if restored:
            self.tell(f"{_tasks(restored)} put back.{late}")
        else:
            self.tell(f"Too late:{late}" if gone_on else "There is nothing to undo.", severity="warning")

    async def clean_locks(self) -> None:
        """Remove lock files that nobody holds."""
        number = await self.attempt(self._run.clean_locks())
        if number is not None:
            self.tell(f"{number:,} stale {'lock' if number == 1 else 'locks'} removed.")


def _tasks(number: int) -> str:
    return f"{number:,} {'task' if number == 1 else 'tasks'}"


def _workers(number: int) -> str:
    return f"{number:,} {'worker' if number == 1 else 'workers'}"


def _named(ids: Sequence[str]) -> str:
    return shorten(clean(ids[0]), _NAME_CELLS)


def _cancelled(at_once: int, asked: int) -> str:
    parts = [f"{_tasks(at_once)} cancelled"] if at_once or not asked else []
    parts += [f"{_tasks(asked)} being stopped"] if asked else []
    return f"{', '.join(parts)}. u takes it back." if at_once or asked else "They were finished already."
