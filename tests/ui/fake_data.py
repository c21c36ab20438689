"""A believable run at a fixed moment, the same each time: what snapshots and the app's tests show."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from agentdash.model import Counts, CredentialView, Event, LockView, Snapshot, TaskState, Totals, WorkerView
from tests.support.clock import FakeClock
from tests.ui.fake_run import FakeRun
from tests.ui.fake_tasks import FakeTask, cancel, fail, succeed, tried

STARTED_S = 372.0
"""How long ago the run began."""

_JOBS = (
    ("incident", "Summarise this incident report in three sentences for the status page.",
     "02:{m:02} UTC: {service} answered {n} % of requests with 503. Cause: an expired certificate."),
    ("ticket", "Sort this support ticket (billing, bug, question, praise) and answer it in one paragraph.",
     "We were charged twice for {n} seats of {service} in invoice {m}. Could you refund one of the two?"),
    ("release", "Translate these release notes into German and keep the Markdown.",
     "- **{service}** finds words inside attachments.\n- Exports no longer time out beyond {m} rows."),
    ("review", "List what this code review comment asks for, one point a line.",
     "The retry in {service} has no upper bound; cap it at {n}. The test sleeps {m} ms."),
)  # fmt: skip
_SERVICES = ("checkout", "search", "media", "billing", "login", "export")
_ANSWER = """## Summary

At **02:{m:02} UTC** the {service} service answered {n} % of requests with `503`.

- The cause was an expired certificate.
- No request was lost; clients retried.

The certificate is renewed automatically from now on."""
_REFUSED = (
    ("invalid_request_error", "messages: input {n} is refused: this image cannot be decoded"),
    ("invalid_request_error", "prompt is too long: {n}000 tokens > 200000 maximum"),
    ("api_error", "Internal server error (20 tries)"),
    ("timeout_error", "no answer within {n} s"),
)


def seeded_run(tasks: int, workers: int, project_path: Path | None) -> FakeRun:
    """60 % done, a few failed and cancelled, `workers` workers of which most run, the rest pending."""
    clock = FakeClock()
    rng = random.Random(11)
    made = [_task(seq, rng) for seq in range(1, tasks + 1)]
    done = tasks * 60 // 100
    _settle(made[:done], clock.now(), rng)
    rest = iter(made[done:])
    states = _workers(workers, clock, rest)
    for task, _ in zip(rest, range(5), strict=False):
        tried(task, clock.now() - 14, clock.now() - 11, "overload", ("overloaded_error", "Overloaded"))
        task.available_at = clock.now() + 6 + task.seq % 7
    running = [task for task in made if task.state is TaskState.RUNNING]
    run = FakeRun(made, clock=clock, project_path=project_path, locks=_locks(running, clock.now()))
    run.events = _events(clock.now())
    run.view = _view(run, states, clock.now())
    for task in running[:8]:
        run.write(task.id, "At 02:14 UTC the checkout service answered\n12 % of requests with 503. The cause")
    return run


def _task(seq: int, rng: random.Random) -> FakeTask:
    name, system, text = rng.choice(_JOBS)
    prompt = text.format(service=rng.choice(_SERVICES), n=rng.randrange(2, 60), m=rng.randrange(60))
    payload = {
        "prompt": prompt,
        "system": system,
        "model": "claude-sonnet-4-5",
        "max_tokens": rng.choice((120, 200, 300)),
        "metadata": {"source": f"{name}s-2026-11", "batch": seq // 500 + 1},
    }
    return FakeTask(seq, f"{name}-{seq:04}", payload, priority=10 if name == "incident" else 0)


def _settle(tasks: list[FakeTask], now: float, rng: random.Random) -> None:
    """These tasks are finished, one after the other."""
    for index, task in enumerate(tasks):
        ended = now - STARTED_S * (len(tasks) - index) / len(tasks)
        task.claimed_at = ended - 0.8 - rng.random() * 3
        if index % 97 == 40:
            kind, text = _REFUSED[(index // 97) % 6 % len(_REFUSED)]
            fail(task, ended, kind, text.format(n=rng.randrange(120, 600)))
        elif index % 301 == 90:
            cancel(task, ended)
        else:
            if index % 41 == 7:
                tried(task, ended - 9, ended - 6, "service", ("api_error", "Internal server error"))
                task.claimed_at = ended - 2
            succeed(task, ended, _ANSWER.format(service=rng.choice(_SERVICES), n=12, m=index % 60))


def _workers(number: int, clock: FakeClock, tasks: Iterator[FakeTask]) -> tuple[WorkerView, ...]:
    """Most run; every 16th is in some trouble."""
    now, monotonic = clock.now(), clock.monotonic()
    views = []
    for index in range(1, number + 1):
        name = f"worker-{index}"
        if index % 16 == 2:
            view = WorkerView(name, "backoff", None, 2, 1, monotonic + 3.4 + index / 10, now - 1.2, "overloaded_error")
        elif index % 32 == 4:
            view = WorkerView(name, "parked", None, 8, 2, monotonic + 41.0, now - 75, "InternalServerError")
        elif index % 32 == 20:
            view = WorkerView(name, "probing", None, 3, 0, None, now - 0.6, "APITimeoutError")
        else:
            view = _running(name, index, now, next(tasks, None))
        views.append(view)
    return tuple(views)


def _running(name: str, index: int, now: float, task: FakeTask | None) -> WorkerView:
    since = now - 0.3 - index % 7 * 0.45
    if task is None:
        return WorkerView(name, "idle", since=since)
    task.state, task.worker, task.claimed_at = TaskState.RUNNING, name, since
    return WorkerView(name, "running", task.id, 0, index % 3, None, since)


def _locks(running: list[FakeTask], now: float) -> tuple[LockView, ...]:
    """Those of the running tasks, one of them overdue, beside two of another machine and two that nobody holds."""
    own = [
        LockView(task.id, task.worker or "", 4711, task.claimed_at or now, "held", now - 0.5 - task.seq % 4 / 10)
        for task in running
    ]
    if own:
        own[0] = LockView(own[0].task_id, own[0].holder_id, 4711, now - 640.0, "overdue", now - 0.5)
    return (
        *own,
        LockView("ticket-9001", "worker-3", 2290, now - 12.0, "foreign", now - 3.0),
        LockView("review-9002", "worker-1", 2290, now - 95.0, "foreign", now - 2.0),
        LockView("release-8001", "worker-7", 3120, now - 7200.0, "stale", now - 7190.0),
        LockView("ticket-8002", "worker-2", 3120, now - 7201.0, "stale", now - 7190.0),
    )


def _credentials(now: float) -> tuple[CredentialView, ...]:
    return (
        CredentialView("key-1", "…7Qx2", "org-a", "api org-a", "ready", True, None, 812, 2),
        CredentialView("key-2", "…9fKe", "org-a", "api org-a", "ready", False, None, 96, 0),
        CredentialView("key-3", "…m1Aa", "org-b", "api org-b", "cooling", False, now + 41, 331, 5),
        CredentialView("key-4", "…t0Zz", None, "key-4", "invalid", False, None, 1, 0, "401 invalid x-api-key"),
    )


def _events(now: float) -> list[Event]:
    """About thirty, oldest first."""
    said = (
        ("limited", "key-3 429, organization org-b cools for 60 s"),
        ("rotated", "active key is now key-1"),
        ("failed", "ticket-0331 failed: invalid_request_error: prompt is too long: 219031 tokens > 200000 maximum"),
        ("backoff", "overloaded_error, all workers wait up to 3.4 s"),
        ("recovered", "worker-18 recovered"),
        ("parked", "worker-4 parked after failed recoveries (InternalServerError)"),
    )
    begun = [Event(1, now - STARTED_S, "credential", "key-4 out of use: 401 invalid x-api-key")]
    return begun + [Event(number, now - (31 - number) * 11.0, *said[number % len(said)]) for number in range(2, 31)]


def _view(run: FakeRun, workers: tuple[WorkerView, ...], now: float) -> Snapshot:
    done = sum(task.state is TaskState.SUCCEEDED for task in run.tasks.values())
    totals = Totals(done + 31, 7, 31, 6, 3, 412 * done, 133 * done, round(done * 0.003231, 4), STARTED_S)
    return Snapshot(
        "running",
        now - STARTED_S,
        Counts(),
        totals,
        paused=False,
        waiting_for="",
        workers=workers,
        credentials=_credentials(now),
        locks=tuple(lock for lock in run.locks if lock.state in ("held", "overdue")),
        tasks_per_s=79.6,
        event_seq=len(run.events),
        project="reports-2026-11",
        max_workers=len(workers),
        done_at=now + 10.0,
        history=tuple(70 + index * 7 % 23 - 40 * (index % 17 == 3) for index in range(60)),
    )
