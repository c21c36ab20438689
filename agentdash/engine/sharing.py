"""What the processes of a project tell each other of their keys, through the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agentdash.clock import Clock
from agentdash.engine.credentials import APICredential
from agentdash.engine.store.records import CredentialRecord

if TYPE_CHECKING:
    from agentdash.engine.ring import CredentialRing

_LONGEST_COOLDOWN_S = 7 * 86400


class Sharing:
    """One rotation's part in what is shared: which marks are its own, and what was saved already."""

    def __init__(self, rotation: CredentialRing, clock: Clock) -> None:
        self.is_dirty = True
        self.moved_by_hand = False
        """Whether somebody made another key active here, and that is not saved yet."""
        self._rotation = rotation
        self._clock = clock
        self._saved: dict[str, tuple[int, int]] = {}
        self._marked_at: dict[str, float] = {}
        self._shared_active: str | None = None

    def mark(self, credential: APICredential) -> None:
        """The credential was found dead, or put right."""
        self._marked_at[credential.fingerprint] = self._clock.now()
        self.is_dirty = True

    def take_changes(self) -> tuple[list[CredentialRecord], str | None] | None:
        """What other processes should know, if anything changed since the last call: records and the active key."""
        if not self.is_dirty:
            return None
        self.is_dirty = self.moved_by_hand = False
        records = [self._record(credential) for credential in self._rotation.credentials]
        # Said only if it was moved here: a process that knows no better must not undo another's rotation.
        current = self._rotation.get_current()
        active = current.fingerprint if current is not None else None
        active, self._shared_active = active if active != self._shared_active else None, active
        return records, active

    def _record(self, c: APICredential) -> CredentialRecord:
        requests, rate_limited = self._saved.get(c.fingerprint, (0, 0))
        self._saved[c.fingerprint] = (c.requests, c.rate_limited)
        state = "invalid" if c.is_invalid else "exhausted" if c.is_exhausted else "ready"
        pool = self._rotation.pool_of(c)
        deltas = (c.requests - requests, c.rate_limited - rate_limited)
        return CredentialRecord(
            c.fingerprint, c.name, c.organization, pool.name, pool.cooldown_until, state, c.exhausted_until,
            c.last_error, *deltas, updated_at=self._marked_at.get(c.fingerprint, 0.0),
            learned=pool.learned(self._clock.now(), self._clock.monotonic()),
        )  # fmt: skip

    def absorb(self, records: Sequence[CredentialRecord], active: str | None, *, trust_marks: bool) -> None:
        """Take over what the store knows; see `CredentialRing.absorb`."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        rotation = self._rotation
        known = {credential.fingerprint: credential for credential in rotation.credentials}
        for record in records:
            credential = known.get(record.fingerprint)
            if credential is None:
                continue
            if not credential.proven:
                rotation.observe(credential, record.organization)
                rotation.pool_of(credential).recall(record.learned, now, monotonic)
            pool = rotation.pool_of(credential)
            if record.cooldown_until > max(pool.cooldown_until, now):
                pool.cooldown_until = min(record.cooldown_until, now + _LONGEST_COOLDOWN_S)
                pool.probing = True
            self._absorb_mark(credential, record, now, trust_marks=trust_marks)
        self._absorb_active(active, now)

    def _absorb_mark(
        self, credential: APICredential, record: CredentialRecord, now: float, *, trust_marks: bool
    ) -> None:
        own = self._marked_at.get(credential.fingerprint, -1.0)
        if record.updated_at < own:
            self.is_dirty = True  # somebody wrote over what we know better
        if record.updated_at <= own:
            return
        if record.state == "exhausted" and (trust_marks or record.exhausted_until > now):
            credential.is_exhausted, credential.exhausted_until = True, record.exhausted_until
        elif record.state == "invalid" and trust_marks:
            credential.is_invalid = True
        elif record.state == "ready" and own >= 0:  # put right by hand elsewhere, after our own mark
            credential.is_invalid, credential.is_exhausted, credential.exhausted_until = False, False, 0.0
            credential.proven = False
        else:
            return
        credential.last_error = record.last_error
        self._marked_at[credential.fingerprint] = record.updated_at

    def _absorb_active(self, active: str | None, now: float) -> None:
        current = self._rotation.get_current()
        if current is None or active is None or active == self._shared_active:
            return
        # What a hand moved here is newer than what was saved; what an error moved gives way to a hand elsewhere.
        moved_here = self.moved_by_hand and current.fingerprint != self._shared_active
        self._shared_active = active
        for index, credential in enumerate(self._rotation.credentials):
            if credential.fingerprint == active and credential.is_usable(now) and not moved_here:
                self._rotation.current_index = index
