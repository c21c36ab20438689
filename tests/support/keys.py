"""A rotation over keys with short names, and a clock moved by hand."""

from __future__ import annotations

from agentdash import APICredential, APIRotationState
from agentdash.engine.limits import Lease
from agentdash.model import Failure, FailureClass
from agentdash.secret import Secret
from tests.support.virtual_loop import ManualClock

CREDENTIAL = Failure(FailureClass.CREDENTIAL, "authentication_error", "401 no such key")
QUOTA = Failure(FailureClass.QUOTA, "billing_error", "no credit")
OVERLOAD = Failure(FailureClass.OVERLOAD, "overloaded_error", "529")


def limited(retry_after: float | None = None) -> Failure:
    return Failure(FailureClass.LIMITED, "rate_limit_error", "429", retry_after=retry_after)


def quota(until: float | None) -> Failure:
    return Failure(FailureClass.QUOTA, "invalid_request_error", "usage limit", until=until)


class Keys:
    """A rotation over named keys and a clock moved by hand."""

    def __init__(self, names: str = "abc", *, proven: bool = True, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.changes = 0
        credentials = [APICredential(Secret(f"secret-{name}-0123456789"), name=name) for name in names]
        self.state = APIRotationState(credentials, clock=self.clock, on_change=self._changed)
        if proven:
            for credential in credentials:
                credential.proven = True

    def _changed(self) -> None:
        self.changes += 1

    def __getitem__(self, name: str) -> APICredential:
        return next(c for c in self.state.credentials if c.name == name)

    @property
    def active(self) -> str:
        current = self.state.get_current()
        assert current is not None
        return current.name

    def lease(self) -> Lease:
        lease = self.state.lease()
        assert lease is not None
        return lease

    def next(self) -> str | None:
        """The key that would send now."""
        lease = self.state.lease()
        if lease is None:
            return None
        self.state.release(lease)
        return lease.credential.name

    def meet(self, failure: Failure, name: str | None = None) -> bool:
        """One request that ends in this failure; returns whether the active key moved."""
        lease = self.lease()
        assert name is None or lease.credential.name == name
        try:
            return self.state.failed(lease, failure)
        finally:
            self.state.release(lease)

    def answer(self) -> None:
        lease = self.lease()
        self.state.succeeded(lease.credential)
        self.state.release(lease)
