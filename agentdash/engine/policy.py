"""What becomes of a task after an attempt: pure decisions from its counters and the failure's class."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from agentdash.engine.backoff import backoff_delay
from agentdash.engine.results import cancelled_line, failed_line, succeeded_line
from agentdash.engine.store.records import Claim, RunningTask, Settlement
from agentdash.figures import dollars
from agentdash.model import Answer, Attempt, Failure, FailureClass, Spent, Task, TaskState, Totals, Usage

MAX_TASK_COST = "max_task_cost"
"""The type of the error of a task that has cost as much as it may."""
NOTHING_SPENT = Spent()


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
    priced = replace(answer, cost_usd=_known(answer.cost_usd))
    return Settlement(
        TaskState.SUCCEEDED,
        attempt,
        attempts,
        task.service_failures,
        task.crashes,
        result=succeeded_line(task.id, attempts, attempt, priced, cost_before=task.cost_usd),
        totals=replace(_used(answer.usage, answer.cost_usd), requests=1),
        answer=answer,
    )


def after_failure(
    claim: Claim,
    attempt: Attempt,
    failure: Failure,
    policy: RetryPolicy,
    *,
    is_outage: bool = False,
    max_cost: float | None = None,
) -> Settlement:
    """The task failed: back to pending, or failed for good when the counter of that class is full, or when all its
    attempts have cost `max_cost` (in US dollars).

    `is_outage`: the server is down for others too, so a failure of the service is not counted against the task.
    """
    task = claim.task
    attempts, service_failures = task.attempts, task.service_failures
    used = _used(failure.usage, failure.cost_usd)
    cost = task.cost_usd + used.cost_usd
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
    totals = replace(used, requests=1, retries=1, rate_limited=int(failure.failure_class is FailureClass.LIMITED))
    if not final and max_cost is not None and cost >= max_cost:
        final, failure = True, too_expensive(max_cost, cost, failure)
    if final:
        return Settlement(
            TaskState.FAILED,
            attempt,
            attempts,
            service_failures,
            task.crashes,
            failure=failure,
            result=failed_line(task.id, attempts, attempt, failure, cost_usd=cost),
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


def too_expensive(max_cost: float, cost: float, last: Failure | None = None) -> Failure:
    """The failure of a task whose attempts have cost as much as they may; `last` is that of the last one."""
    tried = f"; its last try: {last.error_type}: {last.message}" if last is not None else ""
    said = f"the task's limit of {dollars(max_cost)} is reached ({dollars(cost)} spent){tried}"
    return Failure(FailureClass.TASK, MAX_TASK_COST, said, permanent=True)


def refused_for_cost(claim: Claim, now: float, max_cost: float) -> Settlement:
    """The task has cost as much as it may before this attempt, which is not made."""
    task, failure = claim.task, too_expensive(max_cost, claim.task.cost_usd)
    attempt = replace(
        _bare_attempt(task, claim.worker, claim.claimed_at, now, failure.failure_class.value),
        error_type=failure.error_type,
        error_message=failure.message,
    )
    line = failed_line(task.id, task.attempts, attempt, failure, cost_usd=task.cost_usd)
    counters = (task.attempts, task.service_failures, task.crashes)
    return Settlement(TaskState.FAILED, attempt, *counters, failure=failure, result=line)


def interrupted(claim: Claim, now: float, outcome: str = "interrupted", spent: Spent = NOTHING_SPENT) -> Settlement:
    """The run stopped while the task ran: back to pending, its counters as they were."""
    attempt = _bare_attempt(claim.task, claim.worker, claim.claimed_at, now, outcome)
    task = claim.task
    counters = (task.attempts, task.service_failures, task.crashes)
    return Settlement(TaskState.PENDING, attempt, *counters, totals=_used(spent.usage, spent.cost_usd))


def cancelled(claim: Claim, now: float, spent: Spent = NOTHING_SPENT) -> Settlement:
    """The user cancelled the task while it ran."""
    task, used = claim.task, _used(spent.usage, spent.cost_usd)
    attempt = _bare_attempt(task, claim.worker, claim.claimed_at, now, TaskState.CANCELLED.value)
    line = cancelled_line(task.id, task.attempts, now, attempt, cost_usd=task.cost_usd + used.cost_usd)
    counters = (task.attempts, task.service_failures, task.crashes)
    return Settlement(TaskState.CANCELLED, attempt, *counters, result=line, totals=used)


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
        line = failed_line(task.id, task.attempts, attempt, failure, cost_usd=task.cost_usd)
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
        line = failed_line(task.id, number, attempt, failure, cost_usd=task.cost_usd)
    else:
        line = succeeded_line(task.id, number, attempt, Answer())
    return Settlement(state, attempt, number, task.service_failures, task.crashes, failure=failure, result=line)


def _used(usage: Usage | None, cost_usd: float | None) -> Totals:
    """What an attempt adds to the project's sums; what is not known adds nothing."""
    used = usage or Usage()
    return Totals(
        input_tokens=used.input_tokens + used.cache_creation_input_tokens + used.cache_read_input_tokens,
        output_tokens=used.output_tokens,
        cost_usd=_known(cost_usd) or 0.0,
    )


def _known(cost: object) -> float | None:
    """A cost that can be added up: a user's function may say anything."""
    return float(cost) if isinstance(cost, int | float) and math.isfinite(cost) and cost >= 0 else None


def _bare_attempt(task: Task, worker: str, started_at: float, now: float, outcome: str) -> Attempt:
    return Attempt(task.fence, worker, None, None, started_at, now, outcome)
