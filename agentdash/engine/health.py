"""Whether a worker is fit to work, from what it met: pure bookkeeping, no waiting.

Only failures of the service count here. What a task, a key or a rate limit did says nothing about the worker.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_CONSECUTIVE_FAILURES = 3
MAX_RECOVERY_ATTEMPTS = 5


@dataclass(slots=True)
class WorkerHealthState:
    """Health of one worker.

    After `MAX_CONSECUTIVE_FAILURES` failures in a row the worker is unhealthy and recovers: it waits, takes a fresh
    client and probes. A success is a recovery and gives all attempts back, so a long run never uses them up. After
    `MAX_RECOVERY_ATTEMPTS` failed recoveries in a row it is parked.
    """

    worker_id: str
    consecutive_failures: int = 0
    total_recoveries: int = 0
    last_error_type: str | None = None
    recovery_attempts: int = 0

    MAX_CONSECUTIVE_FAILURES = MAX_CONSECUTIVE_FAILURES
    MAX_RECOVERY_ATTEMPTS = MAX_RECOVERY_ATTEMPTS

    def record_failure(self, error_type: str) -> None:
        """Count a failure of the service (not of a task, a key or a limit)."""
        self.consecutive_failures += 1
        self.last_error_type = error_type

    def record_success(self) -> None:
        """The service answered: the row of failures ends. For an unhealthy worker this is a recovery."""
        if not self.is_healthy():
            self.record_recovery(success=True)
        self.consecutive_failures = 0
        self.recovery_attempts = 0

    def record_recovery(self, success: bool) -> None:
        """Count the outcome of a recovery: success heals, failure uses up one attempt."""
        if success:
            self.total_recoveries += 1
            self.consecutive_failures = 0
            self.recovery_attempts = 0
        else:
            self.recovery_attempts += 1

    def should_attempt_recovery(self) -> bool:
        """Whether the worker is unhealthy and has recovery attempts left."""
        return not self.is_healthy() and self.recovery_attempts < self.MAX_RECOVERY_ATTEMPTS

    def is_healthy(self) -> bool:
        """Whether fewer than `MAX_CONSECUTIVE_FAILURES` failures came in a row."""
        return self.consecutive_failures < self.MAX_CONSECUTIVE_FAILURES

    def is_parked(self) -> bool:
        """Whether recovery was given up; the worker probes again each minute, or when revived."""
        return not self.is_healthy() and self.recovery_attempts >= self.MAX_RECOVERY_ATTEMPTS

    def revive(self) -> None:
        """Give a parked worker its recovery attempts back."""
        self.recovery_attempts = 0
