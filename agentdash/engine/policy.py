"""What becomes of a task after an attempt: pure decisions from its counters and the failure's class."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from agentdash.engine.backoff import backoff_delay
from agentdash.engine.results import cancelled_line, failed_line, succeeded_line
from agentdash.engine.store.base import Claim, RunningTask, Settlement
from agentdash.model import Answer, Attempt, Failure, FailureClass, Task, TaskState, Totals

_RATE_LIMITED = Totals(requests=1, rate_limited=1, retries=1)
_RETRIED = Totals(requests=1, retries=1)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a task is tried. Only failures of its own count as attempts.

    `max_attempts` for the task's own failures; `max_service_failures` for broken answers, of which the task may be the
    cause; `max_crashes` for owners that died. Delays in seconds, doubled each time, with jitter of a half.
    """

    max_attempts: int = 3
    max_service_failures: int = 20
    max_crashes: int = 10
    retry_delay_s: float = 0.5
    max_retry_delay_s: float = 30.0
    rng: Callable[[], float] = random.random

    def delay(self, failures: int) -> float:
        """Seconds before a task is tried again after so many failures of one kind."""
        return backoff_delay(failures, self.retry_delay_s, self.max_retry_delay_s) * (0.5 + 0.5 * self.rng())


def success(claim: Claim, attempt: Attempt, answer: Answer) -> Settlement:
    """The task went well; its last attempt counts as one."""
    task = claim.task
    attempts = task.attempts + 1
    usage = answer.usage
    totals = Totals(
        requests=1,
        input_tokens=usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens
        if usage
        else 0,
        output_tokens=usage.output_tokens if usage else 0,
        cost_usd=answer.cost_usd or 0.0,
    )
    return Settlement(
        TaskState.SUCCEEDED,
        attempt,
        attempts,
        task.service_failures,
        task.crashes,
        result=succeeded_line(task.id, attempts, attempt, answer),
        totals=totals,
        answer=answer,
    )


def after_failure(
    claim: Claim, attempt: Attempt, failure: Failure, policy: RetryPolicy, *, is_outage: bool = False
) -> Settlement:
    """The task failed: back to pending, or failed for good when the counter of that class is full.

    `is_outage`: the server is down for others too, so a failure of the service is not counted against the task.
    """
    task = claim.task
    attempts, service_failures = task.attempts, task.service_failures
    final, delay = False, 0.0
    if failure.failure_class is FailureClass.TASK:
        attempts += 1
        final = failure.permanent or attempts >= policy.max_attempts
        delay = policy.delay(attempts)
    elif failure.failure_class is FailureClass.SERVICE and not is_outage:
        service_failures += 1
        final = service_failures >= policy.max_service_failures
        delay = policy.delay(service_failures)
    elif failure.failure_class in (FailureClass.OVERLOAD, FailureClass.SERVICE):
        delay = policy.delay(1)  # the server's own backoff does the waiting
    totals = _RATE_LIMITED if failure.failure_class is FailureClass.LIMITED else _RETRIED
    if final:
        return Settlement(
            TaskState.FAILED,
            attempt,
            attempts,
            service_failures,
            task.crashes,
            failure=failure,
            result=failed_line(task.id, attempts, attempt, failure),
            totals=replace(totals, retries=0),
        )
    return Settlement(
        TaskState.PENDING,
        attempt,
        attempts,
        service_failures,
        task.crashes,
        available_at=attempt.finished_at + delay if delay else 0.0,
        failure=failure,
        totals=totals,
    )


def interrupted(claim: Claim, now: float, outcome: str = "interrupted") -> Settlement:
    """The run stopped while the task ran: back to pending, free of charge."""
    attempt = _bare_attempt(claim.task, claim.worker, claim.claimed_at, now, outcome)
    task = claim.task
    return Settlement(TaskState.PENDING, attempt, task.attempts, task.service_failures, task.crashes)


def cancelled(claim: Claim, now: float) -> Settlement:
    """The user cancelled the task while it ran."""
    task = claim.task
    attempt = _bare_attempt(task, claim.worker, claim.claimed_at, now, TaskState.CANCELLED.value)
    line = cancelled_line(task.id, task.attempts, now, attempt)
    return Settlement(TaskState.CANCELLED, attempt, task.attempts, task.service_failures, task.crashes, result=line)


def after_crash(running: RunningTask, task: Task, now: float, policy: RetryPolicy) -> Settlement:
    """The task's owner died: back to pending, or failed if it has outlived too many owners."""
    crashes = task.crashes + 1
    failure = Failure(FailureClass.CRASH, "owner_died", f"the process that ran it died, for the {crashes}. time")
    attempt = Attempt(
        running.fence,
        running.worker,
        None,
        None,
        running.claimed_at,
        now,
        "crashed",
        failure.error_type,
        failure.message,
    )
    if crashes >= policy.max_crashes:
        line = failed_line(task.id, task.attempts, attempt, failure)
        return Settlement(
            TaskState.FAILED, attempt, task.attempts, task.service_failures, crashes, failure=failure, result=line
        )
    return Settlement(
        TaskState.PENDING,
        attempt,
        task.attempts,
        task.service_failures,
        crashes,
        failure=failure,
        totals=Totals(retries=1),
    )


def settled_by_hand(task: Task, now: float, error: str | None, attempts: int | None, *, back: bool) -> Settlement:
    """What somebody says of a task without having run it here: that it has ended, or goes back to pending."""
    number = attempts if attempts is not None else task.attempts + 1
    if back:
        state = TaskState.PENDING
        number = attempts if attempts is not None else task.attempts
    else:
        state = TaskState.FAILED if error is not None else TaskState.SUCCEEDED
    failure = Failure(FailureClass.TASK, "error", error) if error is not None else None
    attempt = Attempt(
        task.fence, "worker-0", None, None, now, now, state.value, failure.error_type if failure else None, error
    )
    if state is TaskState.PENDING:
        line = None
    elif failure is not None:
        line = failed_line(task.id, number, attempt, failure)
    else:
        line = succeeded_line(task.id, number, attempt, Answer())
    return Settlement(state, attempt, number, task.service_failures, task.crashes, failure=failure, result=line)


def _bare_attempt(task: Task, worker: str, started_at: float, now: float, outcome: str) -> Attempt:
    return Attempt(task.fence, worker, None, None, started_at, now, outcome)
