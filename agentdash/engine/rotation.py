"""Which key sends the next request: limit pools, leases, cooldowns and rotation.

Limits belong to an organisation, so cooldowns do too: keys join the pool of their organisation as answers tell it.
The active key's pool is preferred; any other pool is used, in rotation order, while that one may not send.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.backoff import backoff_delay
from agentdash.engine.credentials import APICredential, load_credentials
from agentdash.engine.failures import ErrorFacts, classify, clean_message
from agentdash.engine.limits import Lease, LimitPool, Readiness
from agentdash.engine.store.base import CredentialRecord
from agentdash.model import CredentialView, Failure, FailureClass

_ROTATING = frozenset({FailureClass.LIMITED, FailureClass.QUOTA, FailureClass.CREDENTIAL})
_ROTATE_TEXT = re.compile(r"rate[- _]?limit|quota|usage limit|credit balance|invalid[ _].*api[- _]?key", re.IGNORECASE)
_COOLDOWN_S = 1.0
_MAX_COOLDOWN_S = 60.0
_PAST_DATE_S = 60.0
"""How long a quota is left alone whose stated date is over already: clocks differ, and dates are rounded."""


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
        self._clock = clock
        self._pools: dict[str, LimitPool] = {}
        self._pool_of: dict[str, LimitPool] = {}
        self._saved: dict[str, tuple[int, int]] = {}
        self._marked_at: dict[str, float] = {}
        self._shared_active: str | None = None
        self._dirty = True
        names: set[str] = set()
        for number, credential in enumerate(self.credentials, 1):
            if credential.name in names:  # a library user who named none: pools and the panel go by name
                credential.name = f"key-{number}" if f"key-{number}" not in names else f"{credential.name} ({number})"
            names.add(credential.name)
            self._join(credential, f"group {credential.limit_group}" if credential.limit_group else credential.name)

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
        self._mark(failed)
        is_usable = self._rotate_from(failed)
        self.on_change()
        return is_usable

    # -- leases ------------------------------------------------------------------------------------------------------
    def readiness(self) -> Readiness:
        """Whether a request may be sent now, and if not, when or why not."""
        now = self._clock.now()
        usable = [c for c in self.credentials if c.is_usable(now)]
        if any(self._may_send(credential, now) for credential in usable):
            return Readiness(True)
        if not usable:
            ends = [c.exhausted_until for c in self.credentials if c.exhausted_until > now and not c.is_invalid]
            return Readiness(False, min(ends, default=None), "no usable key", usable=False)
        cooling = [pool.cooldown_until for c in usable if (pool := self.pool_of(c)).cooldown_until > now]
        back = [c.exhausted_until for c in self.credentials if c.exhausted_until > now and not c.is_invalid]
        at = min([*cooling, *back], default=None)
        if len(cooling) == len(usable):
            return Readiness(False, at, "rate limit: every limit pool cools")
        return Readiness(False, at, "first answer of a key that is being tried")

    def lease(self) -> Lease | None:
        """A lease on the active key if its pool may send, else on the next in rotation order whose pool may."""
        now = self._clock.now()
        for credential in self._in_order():
            if credential.is_usable(now) and self._may_send(credential, now):
                pool = self.pool_of(credential)
                credential.in_flight += 1
                pool.in_flight += 1
                pool.probes += pool.probing
                credential.requests += 1
                self._dirty = True
                return Lease(credential, pool, self._clock.monotonic(), pool.probing)
        return None

    def release(self, lease: Lease) -> None:
        """Give a lease back, whatever came of it."""
        lease.credential.in_flight -= 1
        lease.pool.in_flight -= 1
        lease.pool.probes -= lease.is_probe
        self.on_change()

    def observe(self, credential: APICredential, organization: str | None) -> None:
        """An answer of any kind told the key's organisation: the key joins that organisation's pool."""
        if organization and organization != credential.organization:
            credential.organization = organization
            if credential.limit_group is None:
                self._join(credential, f"{credential.server} {organization}")
            self._dirty = True

    def succeeded(self, credential: APICredential) -> None:
        """The key was answered: it is good, and its pool has room."""
        pool = self.pool_of(credential)
        is_probing = pool.cooldown_until <= self._clock.now() and (pool.probing or pool.limited_in_a_row)
        if not credential.proven or is_probing:
            if credential.is_invalid:
                self._mark(credential)
            credential.proven, credential.is_invalid = True, False
            if is_probing:  # while it cools, an answer is one to a request from before
                pool.probing, pool.limited_in_a_row = False, 0
            credential.last_error = None
            self._dirty = True
            self.on_change()

    def failed(self, lease: Lease, failure: Failure) -> bool:
        """React to a failure as the table of `failures` says; returns whether the active key moved."""
        credential = lease.credential
        if failure.failure_class is FailureClass.LIMITED:
            self._cool(lease, failure)
            return False
        if failure.failure_class not in _ROTATING:
            return False
        credential.last_error = failure.message
        if failure.failure_class is FailureClass.CREDENTIAL:
            credential.is_invalid = True
        else:
            credential.is_exhausted = True
            credential.exhausted_until = self._stated_end(failure)
        self._mark(credential)
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
                    self._mark(credential)
                if credential is not old:
                    self._activate(credential)
                self.on_change()
                return old.name, credential.name
        return None

    # -- shared through the store --------------------------------------------------------------------------------------
    def take_changes(self) -> tuple[list[CredentialRecord], str | None] | None:
        """What other processes should know, if anything changed since the last call: records and the active key."""
        if not self._dirty:
            return None
        self._dirty = False
        records: list[CredentialRecord] = []
        for c in self.credentials:
            requests, rate_limited = self._saved.get(c.fingerprint, (0, 0))
            self._saved[c.fingerprint] = (c.requests, c.rate_limited)
            state = "invalid" if c.is_invalid else "exhausted" if c.is_exhausted else "ready"
            pool = self.pool_of(c)
            deltas = (c.requests - requests, c.rate_limited - rate_limited)
            records.append(
                CredentialRecord(
                    c.fingerprint, c.name, c.organization, pool.name, pool.cooldown_until, state, c.exhausted_until,
                    c.last_error, *deltas, updated_at=self._marked_at.get(c.fingerprint, 0.0),
                )
            )  # fmt: skip
        # Said only if it was moved here: a process that knows no better must not undo another's rotation.
        current = self.get_current()
        active = current.fingerprint if current is not None else None
        active, self._shared_active = active if active != self._shared_active else None, active
        return records, active

    def absorb(self, records: Sequence[CredentialRecord], active: str | None, *, trust_marks: bool) -> None:
        """Take over what the store knows: cooldowns and organisations always, marks of refusal only if others are at
        work now (`trust_marks`): at a fresh start a key that was dead yesterday gets one request to prove itself.

        Of two marks the newer one counts, so that a key put right by hand stays so; an active key that was moved here
        and is not saved yet stays active."""
        now = self._clock.now()
        by_fingerprint = {c.fingerprint: (index, c) for index, c in enumerate(self.credentials)}
        for record in records:
            if record.fingerprint not in by_fingerprint:
                continue
            credential = by_fingerprint[record.fingerprint][1]
            if not credential.proven:
                self.observe(credential, record.organization)
            pool = self.pool_of(credential)
            if record.cooldown_until > max(pool.cooldown_until, now):
                pool.cooldown_until = min(record.cooldown_until, now + 7 * 86400)
                pool.probing = True
            self._absorb_mark(credential, record, now, trust_marks=trust_marks)
        self._absorb_active(active, now)
        current = self.get_current()
        if current is not None and not current.is_usable(now):
            self._rotate_from(current)

    def _absorb_mark(
        self, credential: APICredential, record: CredentialRecord, now: float, *, trust_marks: bool
    ) -> None:
        own = self._marked_at.get(credential.fingerprint, -1.0)
        if record.updated_at < own:
            self._dirty = True  # somebody wrote over what we know better
        if record.updated_at <= own:
            return
        if record.state == "exhausted" and (trust_marks or record.exhausted_until > now):
            credential.is_exhausted, credential.exhausted_until = True, record.exhausted_until
        elif record.state == "invalid" and trust_marks:
            credential.is_invalid = True
        elif record.state == "ready" and own >= 0 and trust_marks:  # put right by hand elsewhere
            credential.is_invalid, credential.is_exhausted, credential.exhausted_until = False, False, 0.0
            credential.proven = False
        else:
            return
        credential.last_error = record.last_error
        self._marked_at[credential.fingerprint] = record.updated_at

    def _absorb_active(self, active: str | None, now: float) -> None:
        current = self.get_current()
        if current is None or active is None or active == self._shared_active:
            return
        moved_here = self._shared_active is not None and current.fingerprint != self._shared_active
        self._shared_active = active
        for index, credential in enumerate(self.credentials):
            if credential.fingerprint == active and credential.is_usable(now) and not moved_here:
                self.current_index = index

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
        return self._pool_of[credential.fingerprint]

    # -- inside --------------------------------------------------------------------------------------------------------
    def _in_order(self) -> list[APICredential]:
        return self.credentials[self.current_index :] + self.credentials[: self.current_index]

    def _by_use(self, old: APICredential, now: float) -> list[APICredential]:
        """The other keys: first those that may send now, of another limit pool before those of the same."""

        def rank(credential: APICredential) -> int:
            if not credential.is_usable(now) or not self._may_send(credential, now):
                return 2
            return int(self.pool_of(credential) is self.pool_of(old))

        return sorted(self._in_order()[1:], key=rank)

    def _may_send(self, credential: APICredential, now: float) -> bool:
        pool = self.pool_of(credential)
        if pool.cooldown_until > now:
            return False
        if not credential.proven and credential.in_flight:
            return False
        return not (pool.probing and pool.probes)

    def _cool(self, lease: Lease, failure: Failure) -> None:
        pool = self.pool_of(lease.credential)
        lease.credential.rate_limited += 1
        if lease.sent_at > pool.limited_at:  # of many that left together the first one counts
            pool.limited_in_a_row += 1
            pool.limited_at = self._clock.monotonic()
        # None or nothing said: a server that always says "now" is not asked in a circle.
        wait = failure.retry_after or backoff_delay(pool.limited_in_a_row, _COOLDOWN_S, _MAX_COOLDOWN_S)
        pool.cooldown_until = max(pool.cooldown_until, self._clock.now() + wait)
        pool.probing = True
        self._dirty = True

    def _stated_end(self, failure: Failure) -> float:
        """When a quota is said to be back; 0 if nothing was said."""
        now = self._clock.now()
        if failure.until is not None:
            return max(failure.until, now + _PAST_DATE_S)
        return now + failure.retry_after if failure.retry_after else 0.0

    def _mark(self, credential: APICredential) -> None:
        """The credential was found dead, or put right."""
        self._marked_at[credential.fingerprint] = self._clock.now()
        self._dirty = True

    def _join(self, credential: APICredential, name: str) -> None:
        pool = self._pools.setdefault(name, LimitPool(name))
        old = self._pool_of.get(credential.fingerprint)
        if old is not None:
            pool.cooldown_until = max(pool.cooldown_until, old.cooldown_until)
            pool.probing = pool.probing or old.probing
        self._pool_of[credential.fingerprint] = pool

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
        self._dirty = True
