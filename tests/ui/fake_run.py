"""A run for the dashboard's tests, in memory: it answers as the engine does, and remembers what it was asked to do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from agentdash.errors import AgentdashError
from agentdash.figures import count
from agentdash.model import (
    Counts,
    ErrorGroup,
    Event,
    LockView,
    OutputPart,
    Snapshot,
    TaskDetail,
    TaskQuery,
    TaskState,
    TaskWindow,
    Totals,
    UndoView,
)
from tests.support.clock import FakeClock
from tests.ui.fake_tasks import FakeOutput, FakeTask, fail, matches, pattern_of, sort_key, succeed

__all__ = ["FakeRun", "FakeTask"]

UNDO_S, DRAIN_S = 10.0, 30.0
_NOWHERE = Path("/nonexistent/reports-2026-11")  # tests that write name a folder
_AGAIN = (TaskState.FAILED, TaskState.CANCELLED)


class FakeRun:
    """Implements `agentdash.ui.run.Run`.

    `view` is the snapshot it answers with; set it as you like. Its counts come from `tasks` if there are any, the undo
    from the last requeue or cancel. `calls` are the verbs with their arguments, in order. `errors` maps names of
    methods to what they shall raise. `asked` counts the reads by name.
    """

    def __init__(
        self,
        tasks: Iterable[FakeTask] = (),
        *,
        view: Snapshot | None = None,
        clock: FakeClock | None = None,
        project_path: Path | None = None,
        locks: Sequence[LockView] = (),
        events: Sequence[Event] = (),
    ) -> None:
        self.clock = clock or FakeClock()
        self.tasks = {task.id: task for task in tasks}
        now = self.clock.now()
        self.view = view or Snapshot("running", now, Counts(), Totals(), paused=False, waiting_for="", project="demo")
        self.locks = tuple(locks)
        self.events = list(events)
        self.calls: list[tuple[str, tuple[object, ...]]] = []
        self.asked: Counter[str] = Counter()
        self.errors: dict[str, AgentdashError] = {}
        self.outputs: dict[str, FakeOutput] = {}
        self._project = project_path or _NOWHERE
        self._before: dict[str, FakeTask] = {}

    @classmethod
    def seeded(cls, *, tasks: int = 2000, workers: int = 64, project_path: Path | None = None) -> FakeRun:
        """A believable run at a fixed moment, always the same: see `tests.ui.fake_data`."""
        from tests.ui.fake_data import seeded_run

        return seeded_run(tasks, workers, project_path)

    # -- what a test does to it --------------------------------------------------------------------------------------
    def write(self, task_id: str, text: str) -> None:
        """A running task writes."""
        self.outputs.setdefault(task_id, FakeOutput()).text += text

    def restart(self, task_id: str) -> None:
        """A running task begins anew: its output, too."""
        attempt = self.outputs[task_id].attempt if task_id in self.outputs else 0
        self.outputs[task_id] = FakeOutput(attempt=attempt + 1)

    def finish(self, task_id: str, output: str = "Done.") -> None:
        """A task succeeds."""
        succeed(self.tasks[task_id], self.clock.now(), output)
        self.outputs.pop(task_id, None)

    def fail(self, task_id: str, error_type: str, message: str) -> None:
        """A task fails for good."""
        fail(self.tasks[task_id], self.clock.now(), error_type, message)
        self.outputs.pop(task_id, None)

    def called(self, name: str) -> list[tuple[object, ...]]:
        """The arguments of each call of a verb."""
        return [arguments for called, arguments in self.calls if called == name]

    # -- Run: reads --------------------------------------------------------------------------------------------------
    @property
    def project_path(self) -> Path:
        return self._project

    @property
    def log_path(self) -> Path:
        return self.project_path / ".agentdash" / "agentdash.log"

    def snapshot(self) -> Snapshot:
        self._read("snapshot")
        view = self.view
        if view.undo is not None and view.undo.until <= self.clock.now():
            view = self.view = replace(view, undo=None)
        return replace(view, counts=self._counts()) if self.tasks else view

    def _counts(self) -> Counts:
        found = Counter(task.state for task in self.tasks.values())
        return Counts(*(found[state] for state in TaskState))

    def events_since(self, seq: int) -> list[Event]:
        self._read("events_since")
        return [event for event in self.events if event.seq > seq]

    def output_since(self, task_id: str, position: int) -> OutputPart | None:
        self._read("output_since")
        output = self.outputs.get(task_id)
        if output is None:
            return None
        end = len(output.text)
        wanted = position if 0 <= position <= end else 0
        start = max(wanted, end - output.kept)
        return OutputPart(output.text[start:], end, output.attempt, dropped=start - wanted)

    async def list_tasks(self, query: TaskQuery, start: int, count: int) -> TaskWindow:
        self._read("list_tasks")
        found = [task for task in self.tasks.values() if matches(task, query)]
        found.sort(key=sort_key(query))
        if query.descending:
            found.reverse()
        rows = tuple(task.row() for task in found[start : start + count])
        return TaskWindow(query, start, rows, len(found))

    async def task_detail(self, task_id: str) -> TaskDetail | None:
        self._read("task_detail")
        task = self.tasks.get(task_id)
        if task is None:
            return None
        claimed_at = task.claimed_at if task.state is TaskState.RUNNING else None
        return TaskDetail(
            task.row(), task.payload, task.attempts, task.service_failures, 0, claimed_at, task.history, task.result
        )

    async def error_groups(self) -> tuple[ErrorGroup, ...]:
        self._read("error_groups")
        found: dict[tuple[str, str], list[FakeTask]] = {}
        for task in self.tasks.values():
            if task.state is TaskState.FAILED and task.error is not None:
                found.setdefault((task.error[0], pattern_of(task.error[1])), []).append(task)
        groups = [
            ErrorGroup(kind, pattern, tasks[0].error[1] if tasks[0].error else "", len(tasks), tasks[0].id)
            for (kind, pattern), tasks in found.items()
        ]
        return tuple(sorted(groups, key=lambda group: -group.count))

    async def list_locks(self) -> tuple[LockView, ...]:
        self._read("list_locks")
        return self.locks

    # -- Run: verbs --------------------------------------------------------------------------------------------------
    def pause(self) -> None:
        self._call("pause")
        self.view = replace(self.view, paused=True, status="paused", waiting_for="paused")

    def resume(self) -> None:
        self._call("resume")
        self.view = replace(self.view, paused=False, status="running", waiting_for="")

    def interrupt(self) -> int:
        self._call("interrupt")
        self.view = replace(self.view, paused=True, status="paused", waiting_for="paused")
        running = [task for task in self.tasks.values() if task.state is TaskState.RUNNING]
        for task in running:
            task.state, task.claimed_at, task.worker = TaskState.PENDING, None, None
        return len(running)

    def resize(self, workers: int) -> None:
        self._call("resize", workers)
        self.view = replace(self.view, max_workers=workers)

    def revive(self, worker_id: str | None = None) -> int:
        self._call("revive", worker_id)
        chosen = [w for w in self.view.workers if w.state == "parked" and worker_id in (None, w.id)]
        revived = {w.id: replace(w, state="probing", backoff_until=None, since=self.clock.now()) for w in chosen}
        self.view = replace(self.view, workers=tuple(revived.get(w.id, w) for w in self.view.workers))
        return len(revived)

    def rotate(self, name: str | None = None) -> tuple[str, str] | None:
        self._call("rotate", name)
        keys = self.view.credentials
        old = next((index for index, key in enumerate(keys) if key.active), None)
        if old is None:
            return None
        order = [(old + step) % len(keys) for step in range(1, len(keys))]
        usable = [i for i in order if keys[i].state not in ("invalid", "exhausted")]
        if name is not None:
            usable = [i for i, key in enumerate(keys) if key.name == name]
        if not usable:
            return None
        new = usable[0]
        moved = tuple(replace(key, active=index == new) for index, key in enumerate(keys))
        self.view = replace(self.view, credentials=moved)
        return keys[old].name, keys[new].name

    def drain(self) -> None:
        self._call("drain")
        self.view = replace(self.view, status="draining", drain_until=self.clock.now() + DRAIN_S)

    def undrain(self) -> bool:
        self._call("undrain")
        could = self.view.status == "draining"
        status = "paused" if self.view.paused else "running"
        self.view = replace(self.view, status=status, drain_until=None) if could else self.view
        return could

    def abort(self) -> None:
        self._call("abort")
        self.view = replace(self.view, status="finished", drain_until=None)

    async def requeue(self, ids: Sequence[str] | None = None) -> int:
        self._call("requeue", None if ids is None else tuple(ids))
        wanted = _AGAIN if ids is not None else (TaskState.FAILED,)
        chosen = self.tasks.values() if ids is None else [self.tasks[i] for i in ids if i in self.tasks]
        return self._requeue([task for task in chosen if task.state in wanted])

    async def requeue_group(self, group: ErrorGroup) -> int:
        self._call("requeue_group", group)
        return self._requeue(self._of_group(group))

    async def prioritize(self, ids: Sequence[str], *, by: int) -> int:
        self._call("prioritize", (tuple(ids), by))
        chosen = [self.tasks[i] for i in ids if i in self.tasks and self.tasks[i].state is TaskState.PENDING]
        for task in chosen:
            task.priority += by
        return len(chosen)

    async def cancel(self, ids: Sequence[str]) -> tuple[int, int]:
        self._call("cancel", tuple(ids))
        chosen = [self.tasks[i] for i in ids if i in self.tasks]
        pending = [task for task in chosen if task.state is TaskState.PENDING]
        running = [task for task in chosen if task.state is TaskState.RUNNING]
        self._remember([*pending, *running], "cancelled")
        for task in (*pending, *running):
            task.state, task.finished_at = TaskState.CANCELLED, self.clock.now()
            self.outputs.pop(task.id, None)
        return len(pending), len(running)

    async def undo(self) -> tuple[int, int]:
        self._call("undo")
        if self.snapshot().undo is None:
            return 0, 0
        back = {i: old for i, old in self._before.items() if self.tasks[i].state is not TaskState.RUNNING}
        gone_on = len(self._before) - len(back)
        self.tasks.update(back)
        self._before = {}
        self.view = replace(self.view, undo=None)
        return len(back), gone_on

    async def clean_locks(self) -> int:
        self._call("clean_locks")
        before = len(self.locks)
        self.locks = tuple(lock for lock in self.locks if lock.state != "stale")
        return before - len(self.locks)

    async def export_group(self, group: ErrorGroup, path: Path) -> int:
        self._call("export_group", group, path)
        lines = [json.dumps(task.result) + "\n" for task in self._of_group(group)]
        with path.open("x", encoding="utf-8") as file:
            file.writelines(lines)
        return len(lines)

    # -- inside ------------------------------------------------------------------------------------------------------
    def _call(self, name: str, *arguments: object) -> None:
        self.calls.append((name, arguments))
        if name in self.errors:
            raise self.errors[name]

    def _read(self, name: str) -> None:
        self.asked[name] += 1
        if name in self.errors:
            raise self.errors[name]

    def _of_group(self, group: ErrorGroup) -> list[FakeTask]:
        kind = (group.error_type, group.pattern)
        failed = [task for task in self.tasks.values() if task.state is TaskState.FAILED]
        return [task for task in failed if task.error and (task.error[0], pattern_of(task.error[1])) == kind]

    def _requeue(self, tasks: Sequence[FakeTask]) -> int:
        self._remember(tasks, "requeued")
        for task in tasks:
            task.state, task.error, task.result, task.finished_at = TaskState.PENDING, None, None, None
            task.attempts = task.service_failures = 0
        return len(tasks)

    def _remember(self, tasks: Sequence[FakeTask], what: str) -> None:
        if tasks:
            self._before = {task.id: replace(task) for task in tasks}
            undo = UndoView(f"{count(len(tasks), 'task')} {what}", self.clock.now() + UNDO_S)
            self.view = replace(self.view, undo=undo)
