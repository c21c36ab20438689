"""What keys share and what a request needs: limit pools, leases on them, and whether one can be had."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from agentdash.engine.credentials import APICredential
from agentdash.engine.estimate import RequestSize
from agentdash.engine.lateness import Lateness
from agentdash.engine.pacing import PoolPacer, Ticket

_SILENCE_S = 0.5
_MOST_DOUBLINGS = 10
_REMEMBERED_S = 86_400.0

Advertised = Mapping[str, tuple[tuple[str, float], ...]]
"""The limits a minute that answers advertised, for each model."""


def may_be_open(silent_s: float) -> int:
    """How many requests may be on their way where none was answered yet: one, and each half second twice as many.

    Refusals come at once and answers take their time: what has been silent for so long is at work, not refused.
    """
    return 1 if silent_s < _SILENCE_S else int(2 ** min(silent_s // _SILENCE_S, _MOST_DOUBLINGS))


def may_be_one_more(open_requests: int, since: float, now: float) -> float | None:
    """When one more request may go beside those not answered since then; None: now. Monotonic."""
    if open_requests < may_be_open(now - since):
        return None
    at = since + _SILENCE_S * max(1, math.ceil(math.log2(open_requests + 1)))
    return at if at > now else None


@dataclass(slots=True, eq=False)
class LimitPool:
    """One limit that several keys may share: an organisation's, or the `limit_group` a user set.

    `cooldown_until` is in seconds since the epoch. After a cooldown one request probes before the others follow;
    requests that were sent before it (`limited_at`, monotonic) are no probes and count no second limit. Limits differ
    by model, and so each model has a pacer. `advertised` is what tells this pool from another of its organisation.
    """

    name: str
    cooldown_until: float = 0.0
    limited_in_a_row: int = 0
    limited_at: float = float("-inf")
    probing: bool = False
    probes: int = 0
    probed_at: float = 0.0
    share: float = 1.0
    lateness: Lateness = field(default_factory=Lateness)
    advertised: dict[str, tuple[tuple[str, float], ...]] = field(default_factory=dict)
    pacers: dict[str, PoolPacer] = field(default_factory=dict)

    def pacer(self, model: str, now: float) -> PoolPacer:
        """The pacer of a model's requests; `now` is monotonic."""
        pacer = self.pacers.get(model)
        if pacer is None:
            pacer = self.pacers[model] = PoolPacer(now, self.lateness)
            pacer.set_share(now, self.share)
        return pacer

    def busiest(self) -> PoolPacer | None:
        """The pacer that sent most: the one to show."""
        return max(self.pacers.values(), key=lambda pacer: pacer.requests, default=None)

    def learned(self, wall: float, now: float) -> str:
        """What is known of its limits, as JSON for another process or a later run; empty if nothing is."""
        pacer = self.busiest()
        limits = pacer.learned(now) if pacer is not None else {}
        model = next((name for name, known in self.pacers.items() if known is pacer), "")
        return json.dumps({**limits, "model": model, "at": round(wall, 3)}) if limits else ""

    def recall(self, learned: str, wall: float, now: float, model: str = "") -> None:
        """Begin from what an earlier run or another process learned, where nothing was learned here yet."""
        if not learned or any(pacer.is_known for pacer in self.pacers.values()):
            return
        try:
            limits = json.loads(learned)
            age = wall - float(limits.pop("at"))
            model = str(limits.pop("model", model))
            if 0 <= age < _REMEMBERED_S:
                self.pacer(model, now).recall(now, limits, age)
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
            return  # another version's: learned anew

    @staticmethod
    def learned_at(learned: str) -> float:
        """When it was learned (seconds since the epoch); 0 if that is not said."""
        try:
            return float(json.loads(learned)["at"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return 0.0

    def agrees(self, advertised: Advertised) -> bool:
        """Whether these limits can be this pool's: no model has another one here."""
        for model, limits in advertised.items():
            known = dict(self.advertised.get(model, ()))
            if any(known.get(name, limit) != limit for name, limit in limits):  # an answer may name fewer of them
                return False
        return True


@dataclass(slots=True, eq=False)
class Lease:
    """The right to send one request with a credential; given back with `release`. `again` renews it for one more."""

    credential: APICredential
    pool: LimitPool
    sent_at: float
    is_probe: bool
    ticket: Ticket
    size: RequestSize

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
