"""What becomes of a task: each counter moves for its own class only, and each has an end."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.policy import RetryPolicy, after_crash, after_failure, cancelled, interrupted, success
from agentdash.engine.store import Claim, RunningTask, Settlement
from agentdash.model import Answer, Attempt, Failure, FailureClass, Spent, Task, TaskState, Totals, Usage
from tests.support.virtual_loop import EPOCH

POLICY = RetryPolicy(rng=lambda: 1.0)
TASK = Task(1, "t1", {"prompt": "x"}, TaskState.RUNNING, fence=4, attempts=1, service_failures=2, crashes=3)
ATTEMPT = Attempt(4, "worker-0", "key-1", "org", EPOCH, EPOCH + 2, "x")


def claim(**changes: Any) -> Claim:
    return Claim(replace(TASK, **changes), "owner", "worker-0", EPOCH)


def after(kind: FailureClass, *, permanent: bool = False, **changes: int) -> Settlement:
    failure = Failure(kind, "some_error", "why", permanent=permanent, status_code=400)
    return after_failure(claim(**changes), ATTEMPT, failure, POLICY)


@pytest.mark.parametrize(
    ("kind", "counters"),
    [
        (FailureClass.TASK, (2, 2, 3)),
        (FailureClass.LIMITED, (1, 2, 3)),
        (FailureClass.QUOTA, (1, 2, 3)),
        (FailureClass.CREDENTIAL, (1, 2, 3)),
        (FailureClass.OVERLOAD, (1, 2, 3)),
        (FailureClass.SERVICE, (1, 3, 3)),
    ],
)
def test_each_class_moves_its_own_counter_and_gives_the_task_back(
    kind: FailureClass, counters: tuple[int, int, int]
) -> None:
    settlement = after(kind)
    assert settlement.state is TaskState.PENDING
    assert (settlement.attempts, settlement.service_failures, settlement.crashes) == counters
    assert settlement.result is None
    assert settlement.totals == Totals(requests=1, retries=1, rate_limited=int(kind is FailureClass.LIMITED))


def test_a_permanent_failure_ends_at_once() -> None:
    settlement = after(FailureClass.TASK, permanent=True, attempts=0)
    assert (settlement.state, settlement.attempts) == (TaskState.FAILED, 1)
    assert settlement.totals.retries == 0
    line = json.loads(settlement.result or "")
    assert line["custom_id"] == "t1"
    assert line["result"]["error"] == {"type": "some_error", "message": "why", "status_code": 400}


def test_a_task_has_three_attempts() -> None:
    assert after(FailureClass.TASK, attempts=1).state is TaskState.PENDING
    assert after(FailureClass.TASK, attempts=2).state is TaskState.FAILED


def test_the_service_may_fail_a_task_twenty_times() -> None:
    assert after(FailureClass.SERVICE, service_failures=18).state is TaskState.PENDING
    assert after(FailureClass.SERVICE, service_failures=19).state is TaskState.FAILED


@pytest.mark.parametrize(
    "kind", [FailureClass.LIMITED, FailureClass.QUOTA, FailureClass.CREDENTIAL, FailureClass.OVERLOAD]
)
def test_what_is_not_the_tasks_fault_never_ends_it(kind: FailureClass) -> None:
    assert after(kind, attempts=2, service_failures=19, crashes=9).state is TaskState.PENDING


def test_owners_may_die_ten_times() -> None:
    running = RunningTask(1, "t1", "owner", "worker-0", 4, EPOCH, 3, False)
    again = after_crash(running, TASK, EPOCH + 5, POLICY)
    assert (again.state, again.crashes, again.attempts, again.service_failures) == (TaskState.PENDING, 4, 1, 2)
    assert again.attempt.outcome == "crashed"
    last = after_crash(running, replace(TASK, crashes=9), EPOCH + 5, POLICY)
    assert (last.state, last.crashes) == (TaskState.FAILED, 10)
    assert last.result is not None
    assert last.failure is not None
    assert last.failure.failure_class is FailureClass.CRASH


def test_being_stopped_is_free_of_charge() -> None:
    settlement = interrupted(claim(), EPOCH + 1)
    assert settlement.state is TaskState.PENDING
    assert (settlement.attempts, settlement.service_failures, settlement.crashes) == (1, 2, 3)
    assert settlement.totals == Totals()
    ended = cancelled(claim(), EPOCH + 1)
    assert ended.state is TaskState.CANCELLED
    assert json.loads(ended.result or "")["result"] == {"type": "canceled"}


def test_success_counts_tokens_of_every_kind() -> None:
    usage = Usage(10, 20, 30, 40)
    settlement = success(claim(), ATTEMPT, Answer("out", {"type": "message"}, usage=usage, cost_usd=0.5))
    assert (settlement.state, settlement.attempts) == (TaskState.SUCCEEDED, 2)
    assert settlement.totals == Totals(requests=1, input_tokens=80, output_tokens=20, cost_usd=0.5)
    line = json.loads(settlement.result or "")
    assert line["agentdash"]["output"] == "out"
    assert line["agentdash"]["usage"]["cache_read_input_tokens"] == 40


class Loop:
    """Holds itself, and its repr raises."""

    def __init__(self) -> None:
        self.me = self

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def _circular() -> list[object]:
    circle: list[object] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    "value",
    [{(1, 2): 3}, {1, 2}, b"bytes", object(), Loop(), _circular(), float("nan"), [float("inf")], {"a": "\ud800"}, 1j],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_json_cannot_hold_does_not_lose_the_answer(value: object) -> None:
    settlement = success(claim(), ATTEMPT, Answer(value=value))
    assert settlement.state is TaskState.SUCCEEDED
    line = settlement.result or ""
    line.encode()
    assert json.loads(line, parse_constant=pytest.fail)["custom_id"] == "t1"
    assert settlement.answer is not None
    assert settlement.answer.value is value


@given(st.one_of(st.integers(0, 100), st.just(10**9)), st.floats(0, 1, exclude_max=True))
def test_delays_are_bounded(failures: int, drawn: float) -> None:
    policy = RetryPolicy(rng=lambda: drawn)
    delay = policy.delay(failures)
    bare = min(0.5 * 2.0 ** min(failures - 1, 60), 30.0) if failures else 0.0
    assert bare / 2 <= delay <= bare


def test_a_retry_waits_after_the_attempt_ended() -> None:
    assert after(FailureClass.TASK, attempts=0).available_at == EPOCH + 2 + 0.5
    assert after(FailureClass.SERVICE, service_failures=4).available_at == EPOCH + 2 + 8
    assert after(FailureClass.LIMITED).available_at == 0


# -- what attempts cost ------------------------------------------------------------------------------------------------
SPENT = Failure(FailureClass.SERVICE, "api_error", "why", usage=Usage(10, 20, 30, 40), cost_usd=0.5)


@pytest.mark.parametrize("kind", [kind for kind in FailureClass if kind is not FailureClass.CRASH])
def test_whoever_pays_for_a_failure_its_cost_and_tokens_are_counted(kind: FailureClass) -> None:
    totals = after_failure(claim(), ATTEMPT, replace(SPENT, failure_class=kind), POLICY).totals
    assert (totals.cost_usd, totals.input_tokens, totals.output_tokens) == (0.5, 80, 20)


def test_the_line_of_a_task_has_the_cost_of_all_its_attempts() -> None:
    before = claim(cost_usd=1.0)
    ends = (
        success(before, ATTEMPT, Answer(cost_usd=0.5)),
        after_failure(before, ATTEMPT, replace(SPENT, failure_class=FailureClass.TASK, permanent=True), POLICY),
        cancelled(before, EPOCH, Spent(cost_usd=0.5)),
    )
    assert [json.loads(end.result or "")["agentdash"]["cost_usd"] for end in ends] == [1.5, 1.5, 1.5]
    unknown = success(before, ATTEMPT, Answer())
    assert json.loads(unknown.result or "")["agentdash"]["cost_usd"] is None, "never guessed"


def test_a_task_that_has_cost_its_limit_has_failed_whoever_paid_for_its_last_attempt() -> None:
    for kind in (FailureClass.TASK, FailureClass.LIMITED, FailureClass.OVERLOAD):
        failure = replace(SPENT, failure_class=kind)
        assert after_failure(claim(cost_usd=0.4), ATTEMPT, failure, POLICY, max_cost=1.0).state is TaskState.PENDING
        ended = after_failure(claim(cost_usd=0.5), ATTEMPT, failure, POLICY, max_cost=1.0)
        assert ended.state is TaskState.FAILED
        assert ended.failure is not None
        assert ended.failure.error_type == "max_task_cost"
        assert ended.failure.message.startswith("the task's limit of $1.00 is reached ($1.00 spent)")
        assert ended.totals.retries == 0


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1.0, "free"])
def test_a_cost_that_is_none_is_not_counted(cost: Any) -> None:
    ended = success(claim(), ATTEMPT, Answer(cost_usd=cost))
    assert ended.totals.cost_usd == 0
    assert json.loads(ended.result or "")["agentdash"]["cost_usd"] is None
    assert after_failure(claim(), ATTEMPT, replace(SPENT, cost_usd=cost), POLICY).totals.cost_usd == 0
