"""What the in-memory store remembers of credentials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agentdash.engine.store.records import CredentialRecord


class MemoryCredentials:
    """The records by fingerprint, and which key is active; what they mean is said at `CredentialRecord`."""

    def __init__(self) -> None:
        self.active: str | None = None
        self._records: dict[str, CredentialRecord] = {}

    def all(self) -> list[CredentialRecord]:
        """By name."""
        return sorted(self._records.values(), key=lambda record: record.name)

    def save(self, records: Sequence[CredentialRecord], active: str | None) -> None:
        """Take over what is new of each; `active` None leaves the active key as it is."""
        for record in records:
            old = self._records.get(record.fingerprint, replace(record, requests=0, rate_limited=0))
            mark = record if record.updated_at >= old.updated_at or record.updated_at == 0 else old
            self._records[record.fingerprint] = replace(
                record,
                organization=record.organization or old.organization,
                pool=record.pool or old.pool,
                cooldown_until=max(record.cooldown_until, old.cooldown_until),
                requests=record.requests + old.requests,
                rate_limited=record.rate_limited + old.rate_limited,
                state=mark.state,
                exhausted_until=mark.exhausted_until,
                last_error=mark.last_error,
                updated_at=mark.updated_at,
                learned=record.learned or old.learned,
            )
        self.active = active if active is not None else self.active

    def clock_went_back(self, seconds: float) -> None:
        """Cooldowns end so many seconds earlier."""
        for key, record in self._records.items():
            self._records[key] = replace(record, cooldown_until=record.cooldown_until - seconds)
