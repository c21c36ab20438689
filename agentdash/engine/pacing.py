"""When the next request of a limit pool may go: learned from what its answers say. Pure: every time is passed in."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentdash.engine.cost import ONE_REQUEST, Cost
from agentdash.engine.lateness import Lateness
from agentdash.engine.limitheaders import (
    INPUT_TOKENS,
    NOTHING_READ,
    OUTPUT_TOKENS,
    REQUESTS,
    TOKENS,
    LimitReading,
    Standing,
)
from agentdash.engine.meter import Meter

FIRST_SPEED = 60.0
"""Requests a second at which a pool begins of which nothing is known."""
_SPEED_OF_RATE = 4.0
_DOUBLES_IN_S = 0.5
_DOUBLES_IN_TRIPS = 3.0
"""The speed doubles in so many round trips: what goes out before the first rejection is back stays a small part."""
_MOST_STEP = 2.0
_SHORTEST_TRIP_S = 0.001
_TOGETHER_S = 0.005
"""While no limit is known, what the speed lets go within so short a time goes out together: a busy loop looks no more
often than that, and would let one go each time."""
_FASTEST = 1e5
BUILD_S = 0.005
"""How long before its moment a request is built, where a bucket takes no bursts: mostly that takes one to three ms."""
_TOKEN_UNIT = 1000.0
"""The headers round tokens to the nearest thousand."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A request that was sent: when, at what cost, and what had been spent of each limit by then."""

    sent_at: float
    cost: Cost
    pacer: PoolPacer
    leaves_at: float
    """When it shall go out, once it is built: `sent_at`, or a little later where that has to be exact."""
    marks: dict[str, tuple[float, float]] = field(default_factory=dict)
    """For each limit what had been spent with it, and what was there before it."""
    is_open: bool = True
    has_left: bool = False

    @property
    def has_moment(self) -> bool:
        """Whether it has to go out at a moment, and not just now."""
        return self.leaves_at > self.sent_at


class PoolPacer:
    """Paces the requests of one limit pool.

    It is told of each request that is `sent` and of how it ended, and says when the next one may go (`next_at`).
    Limits come from the headers; without any, from what is rejected. Bursts go out as fast as the pool has shown that
    it takes them: the speed begins at a few a second (at four times the limit, where one is known), and doubles every
    half second, or every three round trips if these are shorter, as long as nothing is rejected.
    """

    def __init__(self, now: float, lateness: Lateness | None = None) -> None:
        self.meters: dict[str, Meter] = {REQUESTS: Meter(now, lateness=lateness)}
        self.share = 1.0
        self.speed = FIRST_SPEED
        self.in_flight = 0
        self.requests = 0
        self.typical = ONE_REQUEST
        self._last_sent = -math.inf
        """When the last request went out; at speeds too high for the loop to keep to, when it should have."""
        self._first_sent: float | None = None
        self._refused_at = -math.inf
        self._trip_s = math.inf
        """The shortest time in which something came back."""

    # -- before sending ----------------------------------------------------------------------------------------------
    @property
    def is_known(self) -> bool:
        """Whether any limit is known."""
        return any(meter.is_known for meter in self.meters.values())

    def rate(self) -> float:
        """Requests like the last ones a second that the limits allow in the long run; infinite while none is known."""
        amounts = ((meter.rate, self.typical.of(name)) for name, meter in self.meters.items())
        return min((rate / amount for rate, amount in amounts if amount > 0), default=math.inf)

    def room(self, now: float) -> float:
        """How many requests like the last ones the buckets hold now."""
        levels = ((max(0.0, meter.level(now)), self.typical.of(name)) for name, meter in self.meters.items())
        return min((level / amount for level, amount in levels if amount > 0), default=math.inf)

    def next_at(self, now: float, cost: Cost = ONE_REQUEST) -> float:
        """The moment from which such a request may go: `now` or earlier if it may at once."""
        at = self._last_sent + 1 / self.speed
        for name, meter in self.meters.items():
            if meter.is_known and (ready := meter.ready_at(now, cost.of(name))) > at:
                at = ready
        return at - BUILD_S if self.meters[REQUESTS].is_tiny else at

    def sent(self, now: float, cost: Cost = ONE_REQUEST) -> Ticket:
        """A request goes out now."""
        step = 1 / self.speed
        last = now
        if step < _TOGETHER_S and not self.is_known:
            last = max(now - _TOGETHER_S, min(now, self._last_sent + step))
        gap, self._last_sent = last - self._last_sent, last
        if gap < 2 * step:  # somebody waited for the speed: only then it has been tried
            doublings = gap / min(_DOUBLES_IN_S, _DOUBLES_IN_TRIPS * self._trip_s)
            self.speed = min(_FASTEST, self.speed * min(_MOST_STEP, 2.0 ** min(doublings, 1.0)))
        if self._first_sent is None:
            self._first_sent = now
        self.typical = cost if not self.requests else self.typical.towards(cost)
        ticket = Ticket(now, cost, self, self.meters[REQUESTS].moment(now))
        for name, meter in self.meters.items():
            before = meter.spend(ticket.leaves_at, cost.of(name))
            ticket.marks[name] = (meter.spent, before)
        self.in_flight += 1
        self.requests += 1
        return ticket

    def left(self, now: float, ticket: Ticket) -> None:
        """A request that was to leave at its moment (`leaves_at`) goes out only now."""
        self.meters[REQUESTS].late(now, now - ticket.leaves_at)

    # -- how it ended ------------------------------------------------------------------------------------------------
    def read(self, now: float, ticket: Ticket, reading: LimitReading) -> None:
        """The headers of an answer, of success or of failure, as soon as they are there."""
        if ticket.pacer is self:
            self._came_back(now, ticket)
        for name, standing in (reading.standings or {}).items():
            meter = self._meter(now, name)
            since = meter.spent - ticket.marks.get(name, (0.0, 0.0))[0]
            if ticket.pacer is not self:  # its key has joined this pool since, and nothing says when it was sent here
                since = self.in_flight * ticket.cost.of(name)
            was_known = meter.is_known
            cost = ticket.cost.of(name)
            meter.learn(now, standing.per_minute, standing.remaining, ticket.sent_at, cost, since)
            if name == REQUESTS and not was_known:
                self.speed = self._first_speed()

    def answered(self, now: float, ticket: Ticket, *, input_tokens: float | None, output_tokens: float | None) -> None:
        """It succeeded and used so many tokens (None: nobody says)."""
        if not self._close(ticket) or ticket.pacer is not self:
            return
        self._came_back(now, ticket)
        if not self.is_known:  # one at a time on the way is never many too many
            self.speed = max(self.speed, 1 / self._trip_s)
        cost = ticket.cost
        used_in = cost.input_tokens if input_tokens is None else input_tokens
        used_out = cost.output_tokens if output_tokens is None else output_tokens
        if used_in != cost.input_tokens or used_out != cost.output_tokens:
            used = Cost(used_in, used_out)
            for name, meter in self.meters.items():
                if name != REQUESTS:
                    meter.give_back(now, cost.of(name) - used.of(name))
                    meter.passed(cost.of(name), used.of(name))

    def rejected(self, now: float, ticket: Ticket, reading: LimitReading = NOTHING_READ) -> None:
        """It was refused with a 429: it took nothing, and a limit is smaller than was believed."""
        if not self._close(ticket):
            return
        standings = reading.standings or {}
        blamed = self._blamed(now, ticket, standings)
        for name, meter in self.meters.items():
            if name != blamed and ticket.pacer is self:
                meter.give_back(now, ticket.cost.of(name))
        meter = self.meters[blamed]
        if ticket.sent_at <= self._refused_at:  # it was on its way when the first of them came back
            meter.spent -= ticket.cost.of(blamed)
            return
        self._refused_at = now
        if meter.is_known:
            standing = standings.get(blamed)
            before = ticket.marks[blamed][1] if blamed in ticket.marks and ticket.pacer is self else 0.0
            meter.refuse(now, ticket.cost.of(blamed), before, standing.remaining if standing else None)
        else:
            meter.give_back(now, 1.0)
            meter.guess(now, now - (self._first_sent if self._first_sent is not None else now), self.speed)
        self.speed = self._first_speed()

    def failed(self, now: float, ticket: Ticket) -> None:
        """It failed in another way: what it took stays taken."""
        self._close(ticket)

    def unsent(self, now: float, ticket: Ticket) -> None:
        """It did not go out after all."""
        if self._close(ticket) and ticket.pacer is self:
            for name, meter in self.meters.items():
                meter.give_back(now, ticket.cost.of(name))

    def learned(self, now: float) -> dict[str, dict[str, float | str]]:
        """What is known of each limit, as plain data: how much a minute, the bucket's size, what may be in it now."""
        return {
            name: {
                "per_minute": round(60 * meter.rate / meter.share, 3),
                "burst": round(meter.size / meter.share, 3),
                "level": round(meter.level(now) / meter.share, 3),
                "state": "measured" if meter.limit is None else "advertised",
            }
            for name, meter in self.meters.items()
            if meter.is_known and meter.size < math.inf
        }

    def recall(self, now: float, learned: Mapping[str, Mapping[str, float | str]], age_s: float) -> None:
        """Begin with what `learned` said `age_s` seconds ago. Raises `ValueError`, `KeyError` or `TypeError`."""
        for name, known in learned.items():
            if name in (REQUESTS, INPUT_TOKENS, OUTPUT_TOKENS, TOKENS):
                numbers = (float(known["per_minute"]), float(known["burst"]), float(known["level"]))
                self._meter(now, name).recall(now, *numbers, age_s, is_advertised=known.get("state") == "advertised")
        self.speed = self._first_speed()

    def moved(self) -> PoolPacer:
        """A copy, as the beginning of another pool's: the requests on their way stay with this one."""
        new = copy.copy(self)
        new.meters = {name: copy.copy(meter) for name, meter in self.meters.items()}
        for meter in new.meters.values():
            meter.unsettled = 0.0
        new.in_flight = 0
        return new

    def set_share(self, now: float, share: float) -> None:
        """So large a part of the limits is this process's: others at work on the project have the rest."""
        self.share = share
        for meter in self.meters.values():
            meter.set_share(now, share)

    # -- inside ------------------------------------------------------------------------------------------------------
    def _came_back(self, now: float, ticket: Ticket) -> None:
        self._trip_s = min(self._trip_s, max(_SHORTEST_TRIP_S, now - ticket.sent_at))

    def _first_speed(self) -> float:
        rate = self.meters[REQUESTS].rate
        return max(FIRST_SPEED, _SPEED_OF_RATE * rate) if rate < math.inf else FIRST_SPEED

    def _meter(self, now: float, name: str) -> Meter:
        meter = self.meters.get(name)
        if meter is None:
            meter = self.meters[name] = Meter(now, unit=_TOKEN_UNIT)
            meter.set_share(now, self.share)
        return meter

    def _close(self, ticket: Ticket) -> bool:
        if not ticket.is_open:
            return False
        ticket.is_open = False
        ticket.pacer.in_flight -= 1
        for name in ticket.marks:
            meter = ticket.pacer.meters[name]
            meter.unsettled = max(0.0, meter.unsettled - ticket.cost.of(name))
        return True

    def _blamed(self, now: float, ticket: Ticket, standings: Mapping[str, Standing]) -> str:
        """The limit that was met: the one of which least is left, as the answer tells or else as the mirrors do.

        An answer that tells of enough for two such requests does not tell which limit it was.
        """
        told = {
            name: standing.remaining / max(1.0, ticket.cost.of(name))
            for name, standing in standings.items()
            if standing.remaining is not None and name in self.meters
        }
        if told and min(told.values()) < 2:
            return min(told, key=lambda name: told[name])
        known = [name for name, meter in self.meters.items() if meter.is_known and ticket.cost.of(name) > 0]
        if not known:
            return REQUESTS
        return min(known, key=lambda name: self.meters[name].level(now) / max(1.0, ticket.cost.of(name)))


def time_for(requests: float, flows: Sequence[tuple[float, float, float]]) -> float:
    """Seconds until so many requests can have gone out; infinite if never.

    `flows`: for each pool in how many seconds it may begin, how many may go at once, and how many a second.
    """
    at, room, rate = 0.0, 0.0, 0.0
    for begins, more_room, more_rate in sorted(flows):
        room_then = room + rate * (begins - at)
        if room_then >= requests:
            break
        at, room, rate = begins, room_then + more_room, rate + more_rate
    missing = requests - room
    return at if missing <= 0 else at + missing / rate if rate > 0 else math.inf
