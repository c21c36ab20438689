"""Which key sends the next request: leases and rotation.

Limits belong to an organisation, so cooldowns and pacing do too: keys join the pool of their organisation as answers
tell it. The active key's pool is preferred; any other is used, in rotation order, while that one may not send.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.credentials import APICredential, load_credentials
from agentdash.engine.estimate import RequestSize, TokenEstimator, counted_input
from agentdash.engine.failures import ErrorFacts, classify, clean_message
from agentdash.engine.limitheaders import NOTHING_READ, LimitReading
from agentdash.engine.limits import Lease, LimitPool, Readiness
from agentdash.engine.pacing import Cost
from agentdash.engine.pools import LimitPools
from agentdash.engine.sharing import Sharing
from agentdash.engine.store.base import CredentialRecord
from agentdash.model import CredentialView, Failure, FailureClass, Usage

_ROTATING = frozenset({FailureClass.LIMITED, FailureClass.QUOTA, FailureClass.CREDENTIAL})
_ROTATE_TEXT = re.compile(r"rate[- _]?limit|quota|usage limit|credit balance|invalid[ _].*api[- _]?key", re.IGNORECASE)
_ANY_SIZE = RequestSize()
_TIMER_LATE_S = 0.002
_MOST_TURNS = 500
_PAST_DATE_S = 60.0
"""How long a quota is left alone whose stated date is over already: clocks differ, and dates are rounded."""


_AGAIN_S = 0.5
"""A task that waits for its next request looks so often whether its limit has changed meanwhile."""


class APIRotationState:
    """The credentials of a run and which of them is active.

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
        self.credentials: list[APICredential] = list(
            load_credentials().credentials if credentials is None else credentials
        )
        self.current_index = 0
        self.rotations = 0
        self.on_change = on_change
        self.is_down: Callable[[str], bool] = lambda server: False
        """Whether a server is left alone for now: its keys give way to those of others."""
        self.on_limited: Callable[[], None] = lambda: None
        """Called when a pool begins to cool: other processes should know at once."""
        self.hear: Callable[[], None] = lambda: None
        """Takes over what other processes have found out; to be called before a lease is asked for."""
        self.pools = LimitPools(clock)
        self.estimator = TokenEstimator()
        self._clock = clock
        self._sharing = Sharing(self, clock)
        names: set[str] = set()
        for number, credential in enumerate(self.credentials, 1):
            if credential.name in names:  # a library user who named none: pools and the panel go by name
                credential.name = f"key-{number}" if f"key-{number}" not in names else f"{credential.name} ({number})"
            names.add(credential.name)
            self.pools.begin(credential)

    # -- the public pattern ------------------------------------------------------------------------------------------
    def get_current(self) -> APICredential | None:
        """The active credential; None if there are none at all."""
        return self.credentials[self.current_index] if self.credentials else None

    def should_rotate(self, status_code: int | None, error_text: str) -> bool:
        """Whether another credential should send the next request: after a limit, a quota or a refused key.

        An overloaded or broken service never rotates: another key would meet the same service.
        """
        if status_code is None:
            return bool(_ROTATE_TEXT.search(error_text))
        return classify(ErrorFacts("", error_text, status_code=status_code)).failure_class in _ROTATING

    def rotate(self, error_message: str, *, failed: APICredential | None = None) -> bool:
        """Take the failed credential out of use and make the next usable one active.

        `failed` is the one that met the error (the active one if None): if another worker has rotated away from it
        already, nothing moves. Returns whether the active credential can be used.
        """
        current = self.get_current()
        if current is None:
            return False
        failed = failed or current
        failed.is_exhausted = True
        failed.last_error = clean_message(error_message)
        self._sharing.mark(failed)
        is_usable = self._rotate_from(failed)
        self.on_change()
        return is_usable

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

    def observe(
        self, credential: APICredential, organization: str | None, reading: LimitReading = NOTHING_READ, model: str = ""
    ) -> None:
        """An answer of any kind told the key's organisation and limits: the key joins the pool of those."""
        is_new = bool(organization) and organization != credential.organization
        if is_new:
            credential.organization = organization
        if (is_new or reading.standings) and self.pools.learn(credential, reading, model):
            self._sharing.is_dirty = True

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
        if failure.failure_class not in _ROTATING:
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

    # -- by hand -----------------------------------------------------------------------------------------------------
    def rotate_by_hand(self, name: str | None = None) -> tuple[str, str] | None:
        """Make another key active at once, for new leases: the named one, or the next usable one.

        Without a name the next one that may send now and draws from another limit comes first: nothing else adds
        capacity.
        A named key that was exhausted or refused gets another chance. Returns (old name, new name), or None if there is
        no such key.
        """
        now = self._clock.now()
        old = self.get_current()
        if old is None:
            return None
        for credential in [*self._by_use(old, now), old]:
            if credential.name == name or (name is None and credential.is_usable(now)):
                if name is not None:
                    credential.is_invalid, credential.is_exhausted, credential.exhausted_until = False, False, 0.0
                    credential.proven = credential.proven and credential.last_error is None
                    self._sharing.mark(credential)
                if credential is not old:
                    self._activate(credential)
                    self._sharing.moved_by_hand = True
                self.on_change()
                return old.name, credential.name
        return None

    # -- shared through the store --------------------------------------------------------------------------------------
    def take_changes(self) -> tuple[list[CredentialRecord], str | None] | None:
        """What other processes should know, if anything changed since the last call: records and the active key."""
        return self._sharing.take_changes()

    def absorb(self, records: Sequence[CredentialRecord], active: str | None, *, trust_marks: bool) -> None:
        """Take over what the store knows: cooldowns, limits and organisations always, marks of refusal only if others
        are at work now (`trust_marks`): at a fresh start a key that was dead yesterday gets one request to show it.

        Of two marks the newer one counts, so that a key put right by hand stays so; an active key that was moved here
        and is not saved yet stays active."""
        self._sharing.absorb(records, active, trust_marks=trust_marks)
        current = self.get_current()
        if current is not None and not current.is_usable(self._clock.now()):
            self._rotate_from(current)
        self.on_change()

    def views(self) -> tuple[CredentialView, ...]:
        """Every credential as shown; never the key."""
        now = self._clock.now()
        views: list[CredentialView] = []
        for index, c in enumerate(self.credentials):
            pool = self.pool_of(c)
            cooling = pool.cooldown_until if pool.cooldown_until > now else None
            usable = c.is_usable(now)
            state = "invalid" if c.is_invalid else "exhausted" if not usable else "cooling" if cooling else "ready"
            until = (c.exhausted_until or None) if state == "exhausted" else cooling
            views.append(
                CredentialView(
                    c.name, c.api_key.hint, c.organization, pool.name, state, index == self.current_index, until,
                    c.requests, c.rate_limited, c.last_error,
                )
            )  # fmt: skip
        return tuple(views)

    def pool_of(self, credential: APICredential) -> LimitPool:
        """The limit pool a credential draws from."""
        return self.pools.of(credential)

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

    def _usable(self, now: float) -> list[APICredential]:
        return [credential for credential in self.credentials if credential.is_usable(now)]

    def _in_order(self) -> list[APICredential]:
        return self.credentials[self.current_index :] + self.credentials[: self.current_index]

    def _by_use(self, old: APICredential, now: float) -> list[APICredential]:
        """The other keys: first those that may send now, of another limit pool before those of the same."""

        monotonic = self._clock.monotonic()

        def rank(credential: APICredential) -> int:
            if not credential.is_usable(now) or self.pools.is_held(credential, monotonic) is not None:
                return 2
            return int(self.pool_of(credential) is self.pool_of(old))

        return sorted(self._in_order()[1:], key=rank)

    def _stated_end(self, failure: Failure) -> float:
        """When a quota is said to be back; 0 if nothing was said."""
        now = self._clock.now()
        if failure.until is not None:
            return max(failure.until, now + _PAST_DATE_S)
        return now + failure.retry_after if failure.retry_after else 0.0

    def _rotate_from(self, failed: APICredential) -> bool:
        """Compare-and-set on the key that failed: of many workers that met its end, the first rotates."""
        now = self._clock.now()
        current = self.get_current()
        if current is failed:
            for credential in self._in_order()[1:]:
                if credential.is_usable(now):
                    self._activate(credential)
                    return True
        return current is not None and current.is_usable(now)

    def _activate(self, credential: APICredential) -> None:
        self.current_index = self.credentials.index(credential)
        self.rotations += 1
        self._sharing.is_dirty = True
