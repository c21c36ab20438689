"""A mirror of one token bucket on the server: what may be in it now, and what answers teach of its rate and size.

A request arrives after it was sent, never before. So a mirror that is not ahead of the server's bucket when a request
is sent is not ahead when it arrives; the only thing that a late arrival takes away is what a full bucket could not hold
meanwhile. That is all the pessimism there is here (`lateness`), and only buckets of almost no size feel it.
"""

from __future__ import annotations

import math

from agentdash.engine.lateness import MOST_LATENESS, Lateness
from agentdash.engine.refill import FEW, FirstBurst, Spell, measured_anew, slowed

_GUARD_SHARE = 0.05
"""The part of a bucket that is left in it on purpose, as far as that is no more than one unit."""
_TINY = 3.0
"""Buckets of so few requests have no room for arrivals that bunch: there the lateness is learned, not the rate."""
_GROWTH_PER_S = 0.01
_GROWTH_DOUBLES_S = 8.0
_MOST_GROWTH_PER_S = 0.05
"""How a rate grows that is below the limit, or has none: by so much a second, twice as fast after each such time."""
_REGROWS_S = 60.0
_REGROWTH = 0.1
"""A size found from rejections is tried a little larger after each such time without one: it may have been chance."""
_FIRST_INACCURACY = 0.25
_LEAST_INACCURACY = 0.05
_INACCURACY_DECAY = 0.998
_MISJUDGED = 0.6
"""How far off the estimated tokens of a request are: at first, at least, how fast it is forgotten, and at most."""
_LEAST_A_MINUTE = 0.01


class Meter:
    """One limit of a pool. Units are requests or tokens, times are monotonic seconds.

    `limit` is the advertised rate a second (None: not advertised), `rate` the one in use, `size` the bucket's size as
    believed, `unit` the smallest amount the headers tell apart. Before anything is known it is open: everything may go.
    """

    __slots__ = (
        "_at", "_cut_at", "_first", "_full_since", "_grown_at", "_inaccuracy", "_level", "_own", "_passed",
        "_resumed_at", "_sized_at", "_trusts_remaining", "lateness", "limit", "rate", "share", "size", "spent", "unit",
        "unsettled",
    )  # fmt: skip

    def __init__(self, now: float, *, unit: float = 1.0, lateness: Lateness | None = None) -> None:
        self.limit: float | None = None
        self.rate = math.inf
        self.size = math.inf
        self.unit = unit
        self.share = 1.0
        self.spent = 0.0
        """All that was ever spent, less what was given back: two moments of it tell what went out between them."""
        self.unsettled = 0.0
        """What was spent by estimates of which no answer has said yet how far off they are."""
        self.lateness = lateness or Lateness()
        self._level = math.inf
        self._own = math.inf
        """The level by our own accounts alone: headers that lie cannot raise it."""
        self._at = now
        self._trusts_remaining = True
        self._passed = 0.0
        self._first: FirstBurst | None = None
        """Known where the limit is not advertised."""
        self._full_since = True
        self._inaccuracy = _FIRST_INACCURACY
        self._cut_at = self._grown_at = self._sized_at = now
        self._resumed_at: float | None = None

    # -- before sending ----------------------------------------------------------------------------------------------
    @property
    def is_known(self) -> bool:
        """Whether there is a limit to keep to."""
        return self.rate < math.inf

    def level(self, now: float) -> float:
        """What may be taken now; negative while in debt."""
        if self.rate == math.inf:
            return math.inf
        elapsed = now - self._at
        return min(self.size, self._level + elapsed * self.rate) if elapsed > 0 else self._level

    def ready_at(self, now: float, cost: float) -> float:
        """When `cost` may be sent. More than the size waits until the bucket is full."""
        if self.rate == math.inf or cost <= 0:
            return now
        need = min(cost, self.size)
        need += min(self._guard(cost), self.size - need)
        missing = need - self.level(now)
        return max(now, self._at) + missing / self.rate if missing > 1e-9 else now

    def spend(self, now: float, cost: float) -> float:
        """`cost` is sent. Returns what was there before by our own accounts."""
        self.spent += cost
        self.unsettled += cost
        self._passed += cost
        if self.rate == math.inf:
            return math.inf
        if self._resumed_at is None:
            self._resumed_at = now
        self._move_to(now)
        before = self._own
        if before >= self.size:
            self._full_since = True
        if not self._trusts_remaining and now - self._sized_at > _REGROWS_S:
            self._sized_at = now
            self.size = min(self.size + max(self.unit, _REGROWTH * self.size), 60 * self.rate)
        if self._level - cost < self._guard(cost) + self.unit:
            self._grow(now)
        held = self.size - min(self.rate * self.lateness.seconds, MOST_LATENESS * self.unit)
        if self.size <= _TINY * self.unit:
            self.lateness.decay()
        self._level = min(self._level, held) - cost
        self._own = min(before, held) - cost
        return before

    @property
    def is_tiny(self) -> bool:
        """Whether the bucket takes no bursts, so that requests have to leave at their moment."""
        return self.size <= _TINY * self.unit

    def moment(self, now: float) -> float:
        """When a request that is built now shall go: at once, but where no bursts are taken at its moment."""
        return self.lateness.moment(self.ready_at(now, self.unit)) if self.is_tiny else now

    def late(self, now: float, late_s: float) -> None:
        """The last request went out so long after its moment: a bucket that was full has lost what came meanwhile."""
        if late_s > 0 and self.is_tiny:
            self._move_to(now)
            self._level -= min(self.rate * late_s, MOST_LATENESS * self.unit)

    def give_back(self, now: float, amount: float) -> None:
        """So much of what was spent was not used (negative: more was)."""
        self.spent -= amount
        self._passed -= amount
        if self.rate < math.inf:
            self._move_to(now)
            self._level = min(self.size, self._level + amount)
            self._own = min(self.size, self._own + amount)

    # -- what answers teach ------------------------------------------------------------------------------------------
    def learn(
        self, now: float, per_minute: float, remaining: float | None, sent_at: float, cost: float, sent_since: float
    ) -> None:
        """An answer said the limit, and what remained. Its request took `cost`, and `sent_since` was spent after it.

        The server may have written that when the request came or when the answer left, so it bounds what is there now
        from both sides. It never raises the mirror once it has been caught hiding how small the bucket is.
        """
        limit = per_minute / 60
        if limit != self.limit:
            self._advertised(now, limit, per_minute)
        if remaining is None:
            if self.size == math.inf:
                self._begin(now, limit * self.share, 0.0)
            return
        remaining *= self.share
        if self.size == math.inf:
            most = per_minute * self.share
            self._begin(now, min(most, remaining + max(cost, self.unit)), max(cost, self.unit) + sent_since)
        self._move_to(now)
        slop = self.unit if self.unit == 1 else self.unit / 2
        most = remaining + slop + max(0.0, self.rate * (now - sent_at) - sent_since)
        self._level = min(self._level, most)
        if self._trusts_remaining:
            least = remaining - (0 if self.unit == 1 else slop) - sent_since
            if least > self.size:
                self.size = min(per_minute * self.share, least)
            self._level = max(self._level, min(least, self.size))

    def refuse(self, now: float, cost: float, before: float, remaining: float | None) -> None:
        """A request of `cost` was rejected for this limit, although `before` was there by our own accounts.

        So the bucket is empty, and smaller or slower than believed.
        """
        before = min(before, self.size)  # infinite: it was sent before anything was known
        off = self._guard(cost) if self.unit == 1 else _MISJUDGED * cost
        if remaining is not None and remaining >= cost + self.unit + off:
            self._trusts_remaining = False
        self._passed -= cost
        self.spent -= cost
        sending = now - self._resumed_at if self._resumed_at is not None else 0.0
        spell = Spell(self._passed, now - self._cut_at, sending, self._full_since)
        if self.limit is None and self._first is not None:
            self.rate, self.size = measured_anew(self.rate, self.size, self._first, spell)
        elif self.size > self.unit and (self._full_since or self._passed < FEW) and before - cost > off:
            # The mirror was full once and held so much still, the bucket nothing: it never was that large.
            most = self.size - (before - cost)
            self.size = max(self.unit, math.floor(most) if self.unit == 1 else most)
        elif self.size <= _TINY * self.unit:
            if self.unit <= self._passed < self.size:  # so few pass between two refusals: that is all it holds
                self.size = max(self.unit, self._passed)
            self._came_too_close(spell)
        elif self.unit == 1 or remaining is None or remaining < (1 - _MISJUDGED) * cost:  # else it was misjudged itself
            self.rate = slowed(self.rate, spell, self.unit)
        told = remaining * self.share - self.unit / 2 if remaining is not None and self._trusts_remaining else 0.0
        self._emptied(now, max(0.0, min(told, self.size)) if self.unit > 1 else 0.0)

    def passed(self, estimate: float, used: float) -> None:
        """A request went through that was thought to take `estimate`: the bucket holds at least what it took."""
        self.size = max(self.size, used)
        off = min(_MISJUDGED, used / estimate - 1) if estimate > 0 else 0.0
        self._inaccuracy = max(off, _LEAST_INACCURACY, self._inaccuracy * _INACCURACY_DECAY)

    def guess(self, now: float, elapsed: float, speed: float) -> None:
        """The first rejection of a limit that nobody told; requests went out at `speed` a second by then.

        What went through came from a bucket and its refill, and they cannot be told apart yet. The rate is taken for as
        high as it can be, so that the bucket is soon empty once more: between two such moments all is refill.
        """
        self._first = first = FirstBurst(max(1.0, self._passed), max(elapsed, 0.1), speed)
        self.rate = max(first.passed / first.seconds, speed / 2)
        self.size = max(1.0, 0.5 * first.passed)
        self._emptied(now, 0.0)

    def set_share(self, now: float, share: float) -> None:
        """So large a part of the limit is ours: other processes of the run use the rest."""
        if share == self.share:
            return
        if self.rate < math.inf:
            factor = share / self.share
            self._move_to(now)
            self._level *= factor
            self._own *= factor
            self.rate *= factor
            self.size = max(self.unit, self.size * factor)
        self.share = share

    def recall(
        self, now: float, per_minute: float, size: float, level: float, age_s: float, *, is_advertised: bool
    ) -> None:
        """Begin with what was known `age_s` seconds ago. Raises `ValueError` for numbers that cannot be."""
        if not (_LEAST_A_MINUTE <= per_minute < math.inf and 0 < size < math.inf and math.isfinite(level)):
            raise ValueError("no limit")
        self.limit = per_minute / 60 if is_advertised else None
        self.rate = per_minute / 60 * self.share
        self._begin(now, size * self.share, 0.0)
        self._level = self._own = min(self.size, (level + age_s * per_minute / 60) * self.share)
        if not is_advertised:
            self._first = FirstBurst(size + per_minute / 60, 1.0, per_minute / 60)

    # -- inside ------------------------------------------------------------------------------------------------------
    def _move_to(self, now: float) -> None:
        elapsed = now - self._at
        if elapsed > 0:
            refill = elapsed * self.rate
            self._level = min(self.size, self._level + refill)
            self._own = min(self.size, self._own + refill)
            self._at = now

    def _guard(self, cost: float) -> float:
        """What is left in the bucket on purpose: as much as the mirror may be wrong by."""
        if self.unit == 1:
            return min(1.0, _GUARD_SHARE * self.size)
        return max(self._inaccuracy * (cost + self.unsettled), min(self.unit, _GUARD_SHARE * self.size))

    def _begin(self, now: float, size: float, spent: float) -> None:
        """The first that is known of the bucket: it was full before what was spent by now."""
        self.size = max(self.unit, size)
        self._level = self._own = self.size - spent
        self._at = now
        self._full_since = True

    def _emptied(self, now: float, level: float) -> None:
        self._level = self._own = level
        self._at = self._cut_at = self._grown_at = self._sized_at = now
        self._passed, self._full_since, self._resumed_at = 0.0, False, None

    def _advertised(self, now: float, limit: float, per_minute: float) -> None:
        """The limit is told for the first time, or has changed: a higher one may come with a larger bucket."""
        old, self.limit = self.limit, limit
        if self.rate < math.inf:
            self._move_to(now)
        self.rate = limit * self.share
        if old is not None and self.size < math.inf:
            self.size = min(max(self.unit, self.size * max(1.0, limit / old)), per_minute * self.share)
            self._level, self._own = min(self._level, self.size), min(self._own, self.size)
        self._cut_at = self._grown_at = now

    def _came_too_close(self, spell: Spell) -> None:
        """A bucket of almost no size: two arrivals were closer than their sending, or the rate is too high."""
        if self.lateness.seconds >= MOST_LATENESS * self.unit / self.rate:  # it cannot be that alone
            self.rate = slowed(self.rate, spell, self.unit)
        else:
            self.lateness.learn(self.unit / self.rate)

    def _grow(self, now: float) -> None:
        """Called when somebody waited for this limit: back to what is advertised, or on to find what there is."""
        most = math.inf if self.limit is None else self.limit * self.share
        elapsed, self._grown_at = min(1.0, now - self._grown_at), now
        if self.rate >= most:
            return
        doublings = min(10.0, (now - self._cut_at) / _GROWTH_DOUBLES_S)
        growth = min(_MOST_GROWTH_PER_S, _GROWTH_PER_S * 2**doublings)
        self.rate = min(most, self.rate * (1 + growth * elapsed))
