"""What an answer or a failure means to the key, the server and the worker it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agentdash.clock import Clock
from agentdash.engine.events import EventLog
from agentdash.engine.health import WorkerHealthState
from agentdash.engine.limitheaders import LimitReading
from agentdash.engine.limits import Lease
from agentdash.engine.rotation import APIRotationState
from agentdash.engine.services import Services
from agentdash.engine.store import Claim
from agentdash.model import Answer, Failure, FailureClass

_SERVICE_CLASSES = frozenset({FailureClass.OVERLOAD, FailureClass.SERVICE})


class Reactions:
    """Lets each take its part, as the table of failures says.

    `last_failure` is the newest failure of any task. `on_service_back` is called when a server answers again after an
    outage.
    """

    def __init__(
        self,
        *,
        rotation: APIRotationState | None,
        services: Services,
        health: Mapping[str, WorkerHealthState],
        events: EventLog,
        clock: Clock,
    ) -> None:
        self.last_failure: Failure | None = None
        self.on_service_back: Callable[[], None] = lambda: None
        self._rotation = rotation
        self._services = services
        self._health = health
        self._events = events
        self._clock = clock

    def answered(self, worker: str, lease: Lease | None, answer: Answer | None = None) -> None:
        """The service answered: key, server and worker are well."""
        if lease is not None and self._rotation is not None:
            self._rotation.succeeded(lease.credential, lease, answer.usage if answer is not None else None)
        service = self._services.of(lease.credential.server if lease else None)
        was_down = service.is_down
        service.record_success()
        health = self._health.get(worker)
        if health is not None and health.consecutive_failures:
            if not health.is_healthy():
                self._events.emit("recovered", f"{worker} recovered")
            health.record_success()
        if was_down:
            self.on_service_back()

    def failed(
        self, claim: Claim, lease: Lease | None, failure: Failure, sent_at: float, reading: LimitReading
    ) -> None:
        """An attempt, whose request was sent at this moment (monotonic), failed; `reading`: what the answer told."""
        self.last_failure = failure
        if failure.failure_class in _SERVICE_CLASSES:
            self._service_failed(claim, lease, failure, sent_at)
            return
        if lease is None or self._rotation is None:
            self._failed_without_key(claim, failure, sent_at)
            return
        if failure.failure_class is FailureClass.TASK:
            if failure.status_code is not None:  # the API read the request and refused it: it is well
                self.answered(claim.worker, lease)
            return
        name = lease.credential.name
        before = self._rotation.rotations
        self._rotation.failed(lease, failure, reading)
        if failure.failure_class is FailureClass.LIMITED:
            wait = f" for {failure.retry_after:.0f} s" if failure.retry_after is not None else ""
            self._events.emit("limited", f"{name} 429, {lease.limit_name} cools{wait}")
        else:
            self._events.emit(failure.failure_class.value, f"{name} out of use: {failure.message}")
        current = self._rotation.get_current()
        if self._rotation.rotations != before and current is not None:
            self._events.emit("rotated", f"active key is now {current.name}")

    def _failed_without_key(self, claim: Claim, failure: Failure, sent_at: float) -> None:
        """A user's function brings its own client: there is no pool to cool and no key to rotate, so its limits hold
        all workers, and a key that is refused or used up is a service that does not work."""
        if failure.failure_class is FailureClass.LIMITED:
            self._services.of().record_limited(sent_at, failure.retry_after)
        elif failure.failure_class is not FailureClass.TASK:
            self._service_failed(claim, None, failure, sent_at)

    def _service_failed(self, claim: Claim, lease: Lease | None, failure: Failure, sent_at: float) -> None:
        service = self._services.of(lease.credential.server if lease else None)
        held = service.until is not None
        service.record_failure(sent_at, f"{failure.error_type}: {failure.message}", claim.task.seq, claim.worker)
        until = service.until
        if until is not None and not held:
            wait = until - self._clock.monotonic()
            self._events.emit("backoff", f"{failure.error_type}, all workers wait up to {wait:.1f} s")
        worker = claim.worker
        health = self._health.get(worker)
        if health is None:
            return
        if health.is_healthy():
            health.record_failure(failure.error_type)
            return
        health.record_failure(failure.error_type)
        health.record_recovery(success=False)
        if health.is_parked():
            self._events.emit("parked", f"{worker} parked after failed recoveries ({failure.error_type})")
