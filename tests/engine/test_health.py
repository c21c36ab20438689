"""The contract of `WorkerHealthState`."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentdash import MAX_CONSECUTIVE_FAILURES, MAX_RECOVERY_ATTEMPTS, WorkerHealthState


def sick(worker_id: str = "worker-0") -> WorkerHealthState:
    health = WorkerHealthState(worker_id)
    for _ in range(MAX_CONSECUTIVE_FAILURES):
        health.record_failure("OverloadedError")
    return health


def test_the_constants_are_those_of_the_contract() -> None:
    assert (MAX_CONSECUTIVE_FAILURES, MAX_RECOVERY_ATTEMPTS) == (3, 5)
    assert (WorkerHealthState.MAX_CONSECUTIVE_FAILURES, WorkerHealthState.MAX_RECOVERY_ATTEMPTS) == (3, 5)


def test_a_new_worker_is_healthy() -> None:
    health = WorkerHealthState("worker-0")
    assert health.is_healthy()
    assert not health.should_attempt_recovery()
    assert not health.is_parked()
    assert (health.consecutive_failures, health.total_recoveries, health.recovery_attempts) == (0, 0, 0)
    assert health.last_error_type is None


def test_three_failures_in_a_row_make_it_unhealthy() -> None:
    health = WorkerHealthState("worker-0")
    for number in (1, 2):
        health.record_failure("A")
        assert health.is_healthy(), number
    health.record_failure("B")
    assert not health.is_healthy()
    assert health.should_attempt_recovery()
    assert health.last_error_type == "B"


def test_failures_that_are_not_in_a_row_do_not_add_up() -> None:
    health = WorkerHealthState("worker-0")
    for _ in range(100):
        health.record_failure("A")
        health.record_failure("A")
        health.record_success()
    assert health.is_healthy()
    assert health.total_recoveries == 0


def test_a_success_after_illness_is_a_recovery_and_refills_the_attempts() -> None:
    health = sick()
    for _ in range(4):
        health.record_recovery(success=False)
    health.record_success()
    assert health.is_healthy()
    assert (health.total_recoveries, health.recovery_attempts, health.consecutive_failures) == (1, 0, 0)


def test_a_recovery_told_directly_counts_once() -> None:
    health = sick()
    health.record_recovery(success=True)
    health.record_success()
    assert health.total_recoveries == 1


def test_recoveries_have_no_lifetime_cap() -> None:
    health = WorkerHealthState("worker-0")
    for _ in range(1000):
        for _ in range(MAX_CONSECUTIVE_FAILURES):
            health.record_failure("A")
        assert health.should_attempt_recovery()
        health.record_recovery(success=False)
        health.record_success()
    assert health.total_recoveries == 1000
    assert health.is_healthy()


def test_five_failed_recoveries_park_and_reviving_gives_them_back() -> None:
    health = sick()
    for number in range(MAX_RECOVERY_ATTEMPTS):
        assert not health.is_parked(), number
        assert health.should_attempt_recovery()
        health.record_recovery(success=False)
    assert health.is_parked()
    assert not health.should_attempt_recovery()
    health.revive()
    assert not health.is_parked()
    assert health.should_attempt_recovery()
    assert not health.is_healthy()  # the next answer decides


def test_a_parked_worker_heals_with_a_success() -> None:
    health = sick()
    for _ in range(7):
        health.record_recovery(success=False)
    health.record_success()
    assert health.is_healthy()
    assert not health.is_parked()


@given(st.lists(st.sampled_from(["failure", "success", "recovered", "not recovered", "revive"])))
def test_whatever_happens_the_states_exclude_each_other(steps: list[str]) -> None:
    health = WorkerHealthState("worker-0")
    for step in steps:
        if step == "failure":
            health.record_failure("A")
        elif step == "success":
            health.record_success()
        elif step == "revive":
            health.revive()
        else:
            health.record_recovery(success=step == "recovered")
        assert [health.is_healthy(), health.should_attempt_recovery(), health.is_parked()].count(True) == 1
        if step in ("success", "recovered"):
            assert health.is_healthy()
