"""Which key sends the next request: the leases on the keys of a ring.

Limits belong to an organisation, so cooldowns and pacing do too: keys join the pool of their organisation as answers
tell it. The active key's pool is preferred; any other is used, in rotation order, while that one may not send.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.cost import Cost
from agentdash.engine.credentials import APICredential
from agentdash.engine.estimate import RequestSize, TokenEstimator, counted_input
from agentdash.engine.limitheaders import NOTHING_READ, LimitReading
from agentdash.engine.limits import Lease, Readiness
from agentdash.engine.ring import ROTATING, CredentialRing
from agentdash.model import Failure, FailureClass, Usage

_ANY_SIZE = RequestSize()
_TIMER_LATE_S = 0.002
_MOST_TURNS = 500
_PAST_DATE_S = 60.0
"""How long a quota is left alone whose stated date is over already: clocks differ, and dates are rounded."""
_AGAIN_S = 0.5
"""A task that waits for its next request looks so often whether its limit has changed meanwhile."""


class APIRotationState(CredentialRing):
    """The credentials of a run, which of them is active, and the leases by which requests are sent with them.

    Without arguments they are loaded from the environment. All changes are made in one event loop; `on_change` is
    called after those that may let somebody send.
    """

    def __init__(
        self,
        credentials: Iterable[APICredential] | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(credentials, clock=clock, on_change=on_change)
        self.is_down: Callable[[str], bool] = lambda server: False
        """Whether a server is left alone for now: its keys give way to those of others."""
        self.on_limited: Callable[[], None] = lambda: None
        """Called when a pool begins to cool: other processes should know at once."""
        self.hear: Callable[[], None] = lambda: None
        """Takes over what other processes have found out; to be called before a lease is asked for."""
        self.estimator = TokenEstimator()

    # -- leases ------------------------------------------------------------------------------------------------------
    def readiness(self) -> Readiness:
        """Whether a request may be sent now, were it not for the pace; and if not, when or why not."""
        now = self._clock.now()
        usable = self._usable(now)
        monotonic = self._clock.monotonic()
        held: list[float] = []
        for credential in usable:
            until = self.pools.is_held(credential, monotonic)
            if until is None:
                return Readiness(True)
            held.append(until)
        back = [c.exhausted_until for c in self.credentials if c.exhausted_until > now and not c.is_invalid]
        if not usable:
            return Readiness(False, min(back, default=None), "no usable key", usable=False)
        cooling = [until for c in usable if (until := self.pools.of(c).cooldown_until) > now]
        if len(cooling) == len(usable):
            return Readiness(False, min([*cooling, *back]), "rate limit: every limit pool cools")
        silent = [now + until - monotonic for until in held]
        at = min([*silent, *back])
        return Readiness(False, at if at < math.inf else None, "first answer of a key that is being tried")

    def next_at(self, size: RequestSize = _ANY_SIZE) -> float:
        """When (monotonic) some key may send a request of this size: now or earlier if one may at once, infinite if
        something has to happen first."""
        cost, now = self.estimator.cost(size), self._clock.monotonic()
        return min((self.pools.next_at(c, size.model, cost, now) for c in self._candidates()), default=math.inf)

    def lease(self, size: RequestSize = _ANY_SIZE, *, paced: bool = False) -> Lease | None:
        """A lease on the active key if its pool may send, else on the next in rotation order whose pool may.

        `paced`: not faster than the pools' limits allow; otherwise only cooldowns and keys on trial are minded.
        """
        now = self._clock.monotonic()
        cost = self.estimator.cost(size)
        for credential in self._candidates():
            if paced:
                if self.pools.next_at(credential, size.model, cost, now) > now:
                    continue
            elif self.pools.is_held(credential, now) is not None:
                continue
            return self._grant(credential, size, cost, now)
        return None

    def _grant(self, credential: APICredential, size: RequestSize, cost: Cost, now: float) -> Lease:
        pool = self.pools.of(credential)
        if not credential.in_flight:
            credential.asked_at = now
        if pool.probing and not pool.probes:
            pool.probed_at = now
        credential.in_flight += 1
        pool.probes += pool.probing
        credential.requests += 1
        self._sharing.is_dirty = True
        return Lease(credential, pool, now, pool.probing, pool.pacer(size.model, now).sent(now, cost), size)

    def release(self, lease: Lease, *, unsent: bool = False) -> None:
        """Give a lease back, whatever came of it; `unsent`: no request was made of it."""
        lease.credential.in_flight -= 1
        lease.pool.probes -= lease.is_probe
        now = self._clock.monotonic()
        if unsent:
            lease.credential.requests -= 1
            lease.ticket.pacer.unsent(now, lease.ticket)
        else:
            lease.ticket.pacer.failed(now, lease.ticket)
        self.on_change()

    async def again(self, lease: Lease, size: RequestSize) -> None:
        """One more request of a lease whose last one was answered: wait until its key may send it."""
        lease.pool.probes -= lease.is_probe
        lease.is_probe = False
        cost = self.estimator.cost(size)
        while True:
            self.hear()
            now = self._clock.monotonic()
            at = self.pools.next_at(lease.credential, size.model, cost, now)
            if at <= now or not lease.credential.is_usable(self._clock.now()):  # the server says what is wrong with it
                break
            await self._clock.sleep(min(at - now, _AGAIN_S))
        lease.pool = pool = self.pools.of(lease.credential)
        if pool.probing and not pool.probes:
            pool.probed_at = now
        lease.is_probe = pool.probing
        pool.probes += pool.probing
        lease.credential.requests += 1
        lease.size, lease.sent_at, lease.ticket = size, now, pool.pacer(size.model, now).sent(now, cost)

    async def leave(self, lease: Lease) -> None:
        """A lease's request is built: wait for its moment, which limits without any burst want to the millisecond.

        Timers are late by up to two of them; so the last two are waited out turn by turn. A lease has one moment: what
        else is sent with it does not wait.
        """
        ticket = lease.ticket
        if not ticket.has_moment or ticket.has_left:
            return
        ticket.has_left = True
        await self._clock.sleep(ticket.leaves_at - self._clock.monotonic() - _TIMER_LATE_S)
        for _ in range(_MOST_TURNS):
            if self._clock.monotonic() >= ticket.leaves_at:
                break
            await self._clock.sleep(0)
        ticket.pacer.left(self._clock.monotonic(), ticket)

    def read(self, lease: Lease, reading: LimitReading) -> None:
        """The headers of an answer to a lease's request, as soon as they are there."""
        self.observe(lease.credential, reading.organization, reading, lease.size.model)
        if reading.standings:
            now = self._clock.monotonic()
            self.pools.of(lease.credential).pacer(lease.size.model, now).read(now, lease.ticket, reading)

    def succeeded(self, credential: APICredential, lease: Lease | None = None, usage: Usage | None = None) -> None:
        """The key was answered: it is good, and its pool has room. `usage` is what the lease's request took."""
        if lease is not None:
            used = (counted_input(usage), usage.output_tokens) if usage is not None else (None, None)
            pacer = self.pools.of(credential).pacer(lease.size.model, self._clock.monotonic())
            if lease.ticket.is_open:
                self.estimator.learn(lease.size, usage)
            pacer.answered(self._clock.monotonic(), lease.ticket, input_tokens=used[0], output_tokens=used[1])
        was_probing = self.pools.answered(credential)
        if not credential.proven or was_probing:
            if credential.is_invalid:
                self._sharing.mark(credential)
            credential.proven, credential.is_invalid = True, False
            credential.last_error = None
            self._sharing.is_dirty = True
            self.on_change()

    def failed(self, lease: Lease, failure: Failure, reading: LimitReading = NOTHING_READ) -> bool:
        """React to a failure as the table of `failures` says; returns whether the active key moved.

        `reading`: what the headers of the failed answer told of the limits.
        """
        credential = lease.credential
        if failure.failure_class is FailureClass.LIMITED:
            credential.rate_limited += 1
            self.pools.cool(lease, failure.retry_after, reading)
            self._sharing.is_dirty = True
            self.on_limited()
            return False
        if failure.failure_class not in ROTATING:
            return False
        credential.last_error = failure.message
        if failure.failure_class is FailureClass.CREDENTIAL:
            credential.is_invalid = True
        else:
            credential.is_exhausted = True
            credential.exhausted_until = self._stated_end(failure)
        self._sharing.mark(credential)
        before = self.current_index
        self._rotate_from(credential)
        self.on_change()
        return self.current_index != before

    def rate(self) -> float:
        """Requests like the last ones a second that the usable keys' limits allow; infinite if one is unknown."""
        return self.pools.rate(self._usable(self._clock.now()))

    def seconds_for(self, requests: float) -> float:
        """How long so many requests take at the pace of the limits; infinite if one is unknown or no key is usable."""
        usable = self._usable(self._clock.now())
        return self.pools.seconds_for(usable, requests) if usable else math.inf

    # -- inside --------------------------------------------------------------------------------------------------------
    def _candidates(self) -> list[APICredential]:
        """The usable keys in rotation order, without those of servers that are down, unless all of them are."""
        now = self._clock.now()
        usable = [credential for credential in self._in_order() if credential.is_usable(now)]
        if len(usable) < 2:
            return usable
        return [credential for credential in usable if not self.is_down(credential.server)] or usable

    def _stated_end(self, failure: Failure) -> float:
        """When a quota is said to be back; 0 if nothing was said."""
        now = self._clock.now()
        if failure.until is not None:
            return max(failure.until, now + _PAST_DATE_S)
        return now + failure.retry_after if failure.retry_after else 0.0
