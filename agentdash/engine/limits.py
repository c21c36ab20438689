"""What keys share and what a request needs: limit pools, leases on them, and whether one can be had."""

from __future__ import annotations

from dataclasses import dataclass

from agentdash.engine.credentials import APICredential


@dataclass(slots=True, eq=False)
class LimitPool:
    """One limit that several keys may share: an organisation's, or the `limit_group` a user set.

    `cooldown_until` is in seconds since the epoch. After a cooldown one request probes before the others follow;
    requests that were sent before it (`limited_at`, monotonic) are no probes and count no second limit.
    """

    name: str
    cooldown_until: float = 0.0
    limited_in_a_row: int = 0
    limited_at: float = float("-inf")
    probing: bool = False
    probes: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """The right to send one request with a credential; given back with `release`."""

    credential: APICredential
    pool: LimitPool
    sent_at: float
    is_probe: bool = False

    @property
    def limit_name(self) -> str:
        """The limit it counts against, in a few words."""
        organization = self.credential.organization
        if organization and self.credential.limit_group is None:
            return f"organization {organization[:8]}"
        return self.pool.name


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a lease can be had now; if not, `at` is when the next deadline ends (seconds since the epoch).

    `at` None: only a change (an answer under way, a key put right by hand) can end the wait. `reason` says it in words.
    """

    ready: bool
    at: float | None = None
    reason: str = ""
    usable: bool = True
