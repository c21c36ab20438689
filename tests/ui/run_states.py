"""The states a run can be in, as the pictures of the main view show them: each changes a seeded run."""

from __future__ import annotations

from dataclasses import replace

from agentdash.model import LimitsView, Snapshot, TaskState, Totals, UndoView, WorkerView
from tests.ui.fake_run import FakeRun


def running(run: FakeRun) -> None:
    """As seeded."""


def paused(run: FakeRun) -> None:
    run.view = replace(run.view, status="paused", paused=True, waiting_for="paused", done_at=None)


def limited(run: FakeRun) -> None:
    """Its cost is limited, and so is its time."""
    run.view = replace(run.view, limits=LimitsView(25.0, None, run.clock.now() + 2532))


def limit_reached(run: FakeRun) -> None:
    paused(run)
    reason = "the limit of $25.00 is reached ($24.96 spent)"
    totals = replace(run.view.totals, cost_usd=24.96)
    limits = LimitsView(25.0, left_s=2532.0, reached=reason)
    run.view = replace(run.view, waiting_for=reason, totals=totals, limits=limits)


def draining(run: FakeRun) -> None:
    run.view = replace(run.view, status="draining", drain_until=run.clock.now() + 25, done_at=None)


def stalled(run: FakeRun) -> None:
    for task in run.tasks.values():
        if task.state is TaskState.RUNNING:
            task.state, task.worker, task.claimed_at = TaskState.PENDING, None, None
    troubles = ("401 invalid x-api-key", "credit balance is too low", "401 invalid x-api-key", "403 forbidden")
    states = ("invalid", "exhausted", "invalid", "invalid")
    keys = [
        replace(key, active=False, state=state, last_error=trouble, cooldown_until=None)
        for key, state, trouble in zip(run.view.credentials, states, troubles, strict=True)
    ]
    reason = "no usable key: " + "; ".join(f"{key.name} {key.state}: {key.last_error}" for key in keys)
    workers = tuple(replace(worker, state="waiting", task=None, backoff_until=None) for worker in run.view.workers)
    run.view = replace(
        run.view, status="stalled", waiting_for=reason, credentials=tuple(keys), workers=workers, locks=(),
        tasks_per_s=0.0, done_at=None, history=(*run.view.history[30:], *[0] * 30),
    )  # fmt: skip


def finished(run: FakeRun) -> None:
    for task in run.tasks.values():
        if task.state in (TaskState.PENDING, TaskState.RUNNING):
            run.finish(task.id)
    run.locks = ()
    workers = tuple(WorkerView(worker.id, "idle", recoveries=worker.recoveries) for worker in run.view.workers)
    run.view = replace(
        run.view, status="finished", workers=workers, locks=(), tasks_per_s=0.0, done_at=None,
        history=(*run.view.history[10:], *[0] * 10),
    )  # fmt: skip


def just_begun(run: FakeRun, status: str, waiting_for: str = "") -> Snapshot:
    """A view in which nothing has happened yet."""
    keys = tuple(
        replace(key, active=index == 0, state="ready", cooldown_until=None, requests=0, rate_limited=0, last_error=None)
        for index, key in enumerate(run.view.credentials)
    )
    run.events, run.locks = [], ()
    return Snapshot(
        status, run.clock.now(), run.view.counts, Totals(), paused=False, waiting_for=waiting_for, credentials=keys,
        project=run.view.project, max_workers=64,
    )  # fmt: skip


def starting(run: FakeRun) -> None:
    for task in run.tasks.values():
        task.state, task.worker, task.claimed_at, task.error, task.history = TaskState.PENDING, None, None, None, ()
        task.attempts = task.service_failures = 0
        task.available_at = 0.0
    run.view = just_begun(run, "starting", "loading the SDK")


def empty(run: FakeRun) -> None:
    run.tasks.clear()
    run.view = just_begun(run, "starting")


def waiting(run: FakeRun) -> None:
    until = run.clock.now() + 41
    reason = "every limit pool cools: api org-a, api org-b"
    run.view = replace(run.view, waiting_for=reason, waiting_until=until)


def undo_offered(run: FakeRun) -> None:
    run.view = replace(run.view, undo=UndoView("12 tasks requeued", run.clock.now() + 8))
