"""The keys of a run in rotation order: which of them is active, and what moves that on.

Whether a request may go with one of them is another matter: see `rotation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from agentdash.clock import SYSTEM_CLOCK, Clock
from agentdash.engine.credentials import APICredential, load_credentials
from agentdash.engine.failures import ErrorFacts, classify
from agentdash.engine.limitheaders import NOTHING_READ, LimitReading
from agentdash.engine.limits import LimitPool
from agentdash.engine.pools import LimitPools
from agentdash.engine.sanitising import clean_message
from agentdash.engine.sharing import Sharing
from agentdash.engine.store.records import CredentialRecord
from agentdash.model import CredentialView, FailureClass

ROTATING = frozenset({FailureClass.LIMITED, FailureClass.QUOTA, FailureClass.CREDENTIAL})
"""The failures for which another key should send the next request."""
_ROTATE_TEXT = re.compile(r"rate[- _]?limit|quota|usage limit|credit balance|invalid[ _].*api[- _]?key", re.IGNORECASE)


class CredentialRing:
    """The credentials of a run, which of them is active, and the limit pools that they draw from.

    Without arguments they are loaded from the environment. `on_change` is called after changes that may let somebody
    send. `APIRotationState` is the ring that grants leases as well.
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
        self.pools = LimitPools(clock)
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
        return classify(ErrorFacts("", error_text, status_code=status_code)).failure_class in ROTATING

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

    # -- whose limits they are -----------------------------------------------------------------------------------------
    def pool_of(self, credential: APICredential) -> LimitPool:
        """The limit pool a credential draws from."""
        return self.pools.of(credential)

    def observe(
        self, credential: APICredential, organization: str | None, reading: LimitReading = NOTHING_READ, model: str = ""
    ) -> None:
        """An answer of any kind told the key's organisation and limits: the key joins the pool of those."""
        is_new = bool(organization) and organization != credential.organization
        if is_new:
            credential.organization = organization
        if (is_new or reading.standings) and self.pools.learn(credential, reading, model):
            self._sharing.is_dirty = True

    # -- shown and shared ----------------------------------------------------------------------------------------------
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

    # -- inside --------------------------------------------------------------------------------------------------------
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
