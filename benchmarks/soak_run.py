"""A run that is only arithmetic, but for what the soak is about: the engine's own events, live outputs and rate.

Millions of tasks go by without being kept. What the dashboard may ask is answered as `agentdash.ui.run.Run` has it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agentdash.engine.events import EventLog
from agentdash.engine.outputs import LiveOutput, LiveOutputs
from agentdash.engine.rates import RateMeter
from agentdash.model import (
    Attempt,
    Counts,
    CredentialView,
    ErrorGroup,
    Event,
    LockView,
    OutputPart,
    Snapshot,
    TaskDetail,
    TaskQuery,
    TaskRow,
    TaskState,
    TaskWindow,
    Totals,
    UndoView,
    WorkerView,
)

WORKERS = 200
PER_TICK = 15
"""Tasks that end in a tick: 60 a second."""
_TOTAL = 4_000_000
_FAILS = 97
_LOG_BYTES = 200_000
_SAID = (
    ("limited", "key-3 429, organization org-b cools for {n} s"),
    ("rotated", "active key is now key-{n}"),
    ("recovered", "worker-{n} recovered"),
    ("backoff", "overloaded_error, all workers wait up to {n} s"),
    ("parked", "worker-{n} parked"),
)
_CHUNK = "At 02:14 UTC the checkout service answered {n} % of requests with 503, 原因 was a certificate.\n"


class SoakClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.elapsed = 0.0

    def now(self) -> float:
        return 1_700_000_000.0 + self.elapsed

    def monotonic(self) -> float:
        return 1000.0 + self.elapsed

    async def sleep(self, seconds: float) -> None:
        self.elapsed += max(0.0, seconds)


class SoakRun:
    """Two hundred workers take task after task: `step` is a tick of the run. The oldest of those that run ends next."""

    def __init__(self, folder: Path) -> None:
        self.clock = SoakClock()
        self.events = EventLog(self.clock)
        self.outputs = LiveOutputs()
        self.rate = RateMeter()
        self.taken = 0
        self.project_path = folder
        self.log_path = folder / "agentdash.log"
        self._done = 0
        self._writing: dict[int, LiveOutput] = {}
        self._workers = [WorkerView(f"worker-{number}", "idle") for number in range(1, WORKERS + 1)]
        self._paused = False
        self._max_workers = WORKERS
        self._active = 0
        self._undo: UndoView | None = None
        for _ in range(WORKERS):
            self._claim()

    # -- the run goes on ---------------------------------------------------------------------------------------------
    def step(self, seconds: float, events: int) -> None:
        """So much time passes; when it is over, so many events have happened in all."""
        self.clock.elapsed += seconds
        for _ in range(0 if self._paused else PER_TICK):
            self._end()
            self._claim()
        while self.events.seq < events:
            seq = self.events.seq
            kind, text = _SAID[seq % len(_SAID)]
            self.events.emit(kind, text.format(n=seq % 1009))
        for seq, output in list(self._writing.items())[:20]:
            output.add(_CHUNK.format(n=seq % 60))
        self.rate.update(self.clock.monotonic(), self._done, wall=self.clock.now(), held=self._paused)
        if self._undo is not None and self._undo.until <= self.clock.now():
            self._undo = None
        self._log(events)

    def _claim(self) -> None:
        seq = self._done + len(self._writing)
        self._writing[seq] = self.outputs.begin(_name(seq), 1)
        at = seq % WORKERS
        before = self._workers[at]
        state = "probing" if seq % 501 == 3 else "running"
        self._workers[at] = replace(
            before,
            state=state,
            task=_name(seq),
            since=self.clock.now(),
            recoveries=before.recoveries + (seq % 997 == 0),
        )

    def _end(self) -> None:
        self.outputs.end(_name(self._done))
        del self._writing[self._done]
        self._done += 1

    def _log(self, number: int) -> None:
        """A line a second, in a file that is begun anew as the real one is."""
        if self.clock.elapsed % 1:
            return
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_BYTES:
            self.log_path.replace(self.log_path.with_name(f"{self.log_path.name}.1"))
        line = {"at": "2026-11-01T02:14:00+00:00", "level": "info", "action": "claim", "message": f"event {number}"}
        with self.log_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    # -- reads -------------------------------------------------------------------------------------------------------
    def snapshot(self) -> Snapshot:
        failed, running = self._done // _FAILS, len(self._writing)
        now, rate = self.clock.now(), self.rate
        counts = Counts(_TOTAL - self._done - running, running, self._done - failed, failed)
        totals = Totals(
            self._done, failed, failed // 2, 3, self._active, 412 * self._done, 133 * self._done, self._done / 300
        )
        return Snapshot(
            "paused" if self._paused else "running", 1_700_000_000.0, counts, totals, self._paused,
            "paused" if self._paused else "", tuple(self._workers), self._credentials(now), self._locks(),
            rate.per_second, self.events.seq, "soak", self._max_workers,
            done_at=rate.done_at(counts.unfinished), history=rate.history, undo=self._undo,
        )  # fmt: skip

    def _credentials(self, now: float) -> tuple[CredentialView, ...]:
        cools = int(now) // 30 % 4
        return tuple(
            CredentialView(
                f"key-{n + 1}", "…7Qx2", f"org-{n % 2}", f"api org-{n % 2}", "cooling" if n == cools else "ready",
                n == self._active % 4, now // 30 * 30 + 30 if n == cools else None, self._done // 4, self._done // 999,
            )
            for n in range(4)
        )  # fmt: skip

    def _locks(self) -> tuple[LockView, ...]:
        return tuple(
            LockView(worker.task or "", worker.id, 4711, worker.since, "held", self.clock.now())
            for worker in self._workers
        )

    def events_since(self, seq: int) -> list[Event]:
        found = self.events.since(seq)
        self.taken += len(found)
        return found

    def output_since(self, task_id: str, position: int) -> OutputPart | None:
        return self.outputs.since(task_id, position)

    async def list_tasks(self, query: TaskQuery, start: int, count: int) -> TaskWindow:
        total = {
            None: _TOTAL,
            TaskState.RUNNING: len(self._writing),
            TaskState.FAILED: self._done // _FAILS,
            TaskState.SUCCEEDED: self._done - self._done // _FAILS,
            TaskState.PENDING: _TOTAL - self._done - len(self._writing),
        }.get(query.state, 0)
        if query.text:
            total //= 100
        rows = tuple(self._row(query, index) for index in range(start, min(total, start + count)))
        return TaskWindow(query, start, rows, total)

    def _row(self, query: TaskQuery, index: int) -> TaskRow:
        seq = index + (self._done if query.state is TaskState.RUNNING else 0)
        if query.state is TaskState.FAILED:
            seq = index * _FAILS + _FAILS - 1
        return self._task(seq, query.state)

    def _task(self, seq: int, state: TaskState | None = None) -> TaskRow:
        if state is None:
            state = TaskState.RUNNING if seq >= self._done else TaskState.SUCCEEDED
            state = state if seq < self._done + len(self._writing) else TaskState.PENDING
        error = f"overloaded_error: Overloaded after {seq % 999} ms" if state is TaskState.FAILED else None
        worker = None if state is TaskState.PENDING else f"worker-{seq % WORKERS + 1}"
        since = None if state is TaskState.PENDING else self.clock.now() - seq % 7
        return TaskRow(seq, _name(seq), state, 0, 1, worker, since, 0.0, f"Summarise the report number {seq}.", error)

    async def task_detail(self, task_id: str) -> TaskDetail | None:
        row = self._task(int(task_id.partition("-")[2]))
        now = self.clock.now()
        attempt = Attempt(1, "worker-1", "key-1", "org-0", now - 3, now, "succeeded", request_id=f"req_{row.seq:x}")
        result = {"result": {}, "agentdash": {"output": _CHUNK.format(n=row.seq) * 20}}
        is_done = row.state is TaskState.SUCCEEDED
        return TaskDetail(
            row, {"prompt": row.text}, 1, claimed_at=None if is_done else now - 3,
            history=(attempt,) if is_done else (), result=result if is_done else None,
        )  # fmt: skip

    async def error_groups(self) -> tuple[ErrorGroup, ...]:
        failed = self._done // _FAILS
        kinds = 1 + failed % 40
        return tuple(
            ErrorGroup(
                f"error_{kind}",
                f"refused after … ms, {kind}",
                f"refused after {failed} ms",
                failed // kinds,
                _name(kind),
            )
            for kind in range(kinds)
        )

    async def list_locks(self) -> tuple[LockView, ...]:
        stale = LockView(_name(self._done // 10_000), "worker-1", 99, self.clock.now() - 9000, "stale")
        return (*self._locks(), stale)

    # -- verbs -------------------------------------------------------------------------------------------------------
    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False

    def interrupt(self) -> int:
        return 0

    def resize(self, workers: int) -> None:
        self._max_workers = workers

    def revive(self, worker_id: str | None = None) -> int:
        return 0

    def rotate(self, name: str | None = None) -> tuple[str, str] | None:
        self._active += 1
        return f"key-{(self._active - 1) % 4 + 1}", f"key-{self._active % 4 + 1}"

    def drain(self) -> None:
        raise RuntimeError("the soak does not leave")

    abort = drain

    def undrain(self) -> bool:
        return False

    async def requeue(self, ids: Sequence[str] | None = None) -> int:
        self._undo = UndoView("some tasks requeued", self.clock.now() + 10)
        return self._done // _FAILS

    async def requeue_group(self, group: ErrorGroup) -> int:
        return await self.requeue()

    async def cancel(self, ids: Sequence[str]) -> tuple[int, int]:
        return 0, 0

    async def prioritize(self, ids: Sequence[str], *, by: int) -> int:
        return 0

    async def undo(self) -> tuple[int, int]:
        self._undo = None
        return 1, 0

    async def clean_locks(self) -> int:
        return 0

    async def export_group(self, group: ErrorGroup, path: Path) -> int:
        return 0


def _name(seq: int) -> str:
    return f"report-{seq:07}"
