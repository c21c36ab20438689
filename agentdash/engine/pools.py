"""Which keys share which limits, and whether a pool's limits let a request go now."""

from __future__ import annotations

import itertools
import math

from agentdash.clock import Clock
from agentdash.engine.backoff import backoff_delay
from agentdash.engine.cost import Cost
from agentdash.engine.credentials import APICredential
from agentdash.engine.lateness import Lateness
from agentdash.engine.limitheaders import NOTHING_READ, LimitReading
from agentdash.engine.limits import Lease, LimitPool, may_be_one_more
from agentdash.engine.pacing import time_for
from agentdash.figures import amount

_COOLDOWN_S = 1.0
_MAX_COOLDOWN_S = 60.0
_BELIEVED_S = 600.0
"""No limit a minute needs as long as this to have room again: longer waits are probed after a minute, two, four."""


class LimitPools:
    """The limit pools of a run's keys.

    Each key begins in a pool of its own, or in that of its `limit_group`. An answer tells its organisation and limits,
    and it joins the pool of those: keys of one organisation share one unless different limits are advertised to them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pools: dict[str, LimitPool] = {}
        self._pool_of: dict[str, LimitPool] = {}
        self._told: dict[str, dict[str, tuple[tuple[str, float], ...]]] = {}
        self._share = 1.0
        self._lateness = Lateness()
        self._news: list[str] = []

    def of(self, credential: APICredential) -> LimitPool:
        """The limit pool a credential draws from."""
        return self._pool_of[credential.fingerprint]

    def begin(self, credential: APICredential) -> None:
        """A key of which nothing is known yet."""
        self._join(credential, f"group {credential.limit_group}" if credential.limit_group else credential.name)

    def learn(self, credential: APICredential, reading: LimitReading, model: str) -> bool:
        """An answer told whose limits it counted against; returns whether the key is in another pool now."""
        if reading.standings:
            self._told.setdefault(credential.fingerprint, {})[model] = reading.advertised
        if credential.limit_group is not None:
            return False
        told = self._told.get(credential.fingerprint, {})
        pool = self.of(credential)
        if credential.organization is None:
            return False
        base = f"{credential.server} {credential.organization}"
        siblings = [p for n, p in self._pools.items() if n == base or n.startswith(f"{base} limits ")]
        if pool in siblings and pool.agrees(told):
            if reading.standings and model not in pool.advertised:
                self._note(credential, reading)
            pool.advertised.update(told)
            return False
        found = next((sibling for sibling in siblings if sibling.agrees(told)), None)
        if found is None and pool in siblings and sum(other is pool for other in self._pool_of.values()) == 1:
            pool.advertised = dict(told)  # its own limits have changed
            self._note(credential, reading)
            return False
        free = (f"{base} limits {number}" if number > 1 else base for number in itertools.count(1))
        name = found.name if found is not None else next(name for name in free if name not in self._pools)
        self._join(credential, name)
        if found is None and reading.standings:
            self._note(credential, reading)
        self.of(credential).advertised.update(told)
        return True

    def take_news(self) -> list[str]:
        """What was learned of limits since the last call, in words."""
        news, self._news = self._news, []
        return news

    def _note(self, credential: APICredential, reading: LimitReading) -> None:
        limits = [f"{amount(limit)} {name.replace('_', ' ')}" for name, limit in reading.advertised]
        self._news.append(f"organization {str(credential.organization)[:8]} allows {', '.join(limits)} a minute")

    def set_share(self, share: float) -> None:
        """So large a part of every limit is this process's."""
        self._share = share
        now = self._clock.monotonic()
        for pool in self._pools.values():
            pool.share = share
            for pacer in pool.pacers.values():
                pacer.set_share(now, share)

    # -- may it go? --------------------------------------------------------------------------------------------------
    def is_held(self, credential: APICredential, now: float) -> float | None:
        """Until when (monotonic; infinite: until an answer comes) a key may not send at any pace; None: it may."""
        pool = self.of(credential)
        cools = pool.cooldown_until - self._clock.now()
        if cools > 0:
            return now + cools
        held = None
        if not credential.proven and credential.in_flight:
            held = may_be_one_more(credential.in_flight, credential.asked_at, now)
        if pool.probing and pool.probes:
            probing = may_be_one_more(pool.probes, pool.probed_at, now)
            held = probing if held is None or (probing is not None and probing > held) else held
        return held

    def next_at(self, credential: APICredential, model: str, cost: Cost, now: float) -> float:
        """When a key may send such a request: `now` or earlier if it may at once. Monotonic."""
        held = self.is_held(credential, now)
        if held is not None:
            return held
        return self.of(credential).pacer(model, now).next_at(now, cost)

    def clock_went_back(self, seconds: float) -> None:
        """The wall clock was put back: cooldowns last as long as they would have."""
        for pool in self._pools.values():
            pool.cooldown_until -= seconds

    # -- limits that were met ----------------------------------------------------------------------------------------
    def cool(self, lease: Lease, retry_after: float | None, reading: LimitReading = NOTHING_READ) -> None:
        """A request met the limit: its pool waits as long as the answer says, the latest deadline wins."""
        pool, now = self.of(lease.credential), self._clock.monotonic()
        if lease.sent_at > pool.limited_at:  # of many that left together the first one counts
            pool.limited_in_a_row += 1
            pool.limited_at = now
        wait = retry_after
        if not wait:  # None or nothing said: a server that always says "now" is not asked in a circle
            wait = backoff_delay(pool.limited_in_a_row, _COOLDOWN_S, _MAX_COOLDOWN_S)
        elif wait > _BELIEVED_S and pool.advertised:
            wait = min(wait, backoff_delay(pool.limited_in_a_row, _MAX_COOLDOWN_S, wait))
        pool.cooldown_until = max(pool.cooldown_until, self._clock.now() + wait)
        pool.probing = True
        pool.pacer(lease.size.model, now).rejected(now, lease.ticket, reading)

    def answered(self, credential: APICredential) -> bool:
        """The pool has room; returns whether that was the end of a cooldown."""
        pool = self.of(credential)
        if pool.cooldown_until > self._clock.now() or not (pool.probing or pool.limited_in_a_row):
            return False  # while it cools, an answer is one to a request from before
        pool.probing, pool.limited_in_a_row = False, 0
        return True

    # -- what is known -----------------------------------------------------------------------------------------------
    def rate(self, credentials: list[APICredential]) -> float:
        """Requests like the last ones a second that the pools of these keys allow; infinite if a limit is unknown."""
        pacers = [pool.busiest() for pool in self.used_by(credentials)]
        return sum(pacer.rate() if pacer is not None else math.inf for pacer in pacers)

    def seconds_for(self, credentials: list[APICredential], requests: float) -> float:
        """How long so many requests like the last ones take at the pace of the limits, cooldowns included.

        Infinite while any of the limits is unknown.
        """
        wall, now = self._clock.now(), self._clock.monotonic()
        flows: list[tuple[float, float, float]] = []
        for pool in self.used_by(credentials):
            pacer = pool.busiest()
            rate = pacer.rate() if pacer is not None else math.inf
            if pacer is None or rate == math.inf:
                return math.inf
            flows.append((max(0.0, pool.cooldown_until - wall), pacer.room(now), rate))
        return time_for(requests, flows)

    def used_by(self, credentials: list[APICredential]) -> list[LimitPool]:
        """The pools of these keys, each once."""
        return list({id(pool): pool for pool in map(self.of, credentials)}.values())

    def _join(self, credential: APICredential, name: str) -> None:
        old = self._pool_of.get(credential.fingerprint)
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = LimitPool(name, share=self._share, lateness=self._lateness)
            if old is not None:  # what was learned of its limits goes with it
                pool.pacers = {model: pacer.moved() for model, pacer in old.pacers.items()}
        if old is not None:
            pool.cooldown_until = max(pool.cooldown_until, old.cooldown_until)
            if old.probing and not pool.probing:
                pool.probing, pool.probed_at = True, old.probed_at
        self._pool_of[credential.fingerprint] = pool
        if old is not None and all(other is not old for other in self._pool_of.values()):
            self._pools.pop(old.name, None)
