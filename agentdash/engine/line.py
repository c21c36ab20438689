"""The line in which tasks wait for their turn to be sent: first come, first served, at the pace of the limits."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from agentdash.clock import Clock
from agentdash.engine.estimate import RequestSize
from agentdash.engine.limits import Lease
from agentdash.engine.rotation import APIRotationState

_PATIENCE_S = 2.0
"""A task whose turn does not come because every pool cools for longer goes back to the queue meanwhile."""
_AHEAD_S = 1.0
"""Tasks are claimed so long before their turn, so that the line does not run dry while the next ones are claimed."""

_RATE_S = 0.05
"""For so long the rate of the limits is taken for the same: it is asked for at every task."""


@dataclass(slots=True, eq=False)
class _Place:
    size: RequestSize
    turn: asyncio.Future[Lease | None]


class LeaseLine:
    """Hands out leases in the order in which they were asked for.

    One timer, for the first in line: nobody else is woken for nothing. `on_room` is called when somebody has left the
    line, so that the next task may be claimed.
    """

    def __init__(self, rotation: APIRotationState, clock: Clock, *, on_room: Callable[[], None] = lambda: None) -> None:
        self.on_room = on_room
        self._rotation = rotation
        self._clock = clock
        self._places: deque[_Place] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._is_looking = False
        self._most, self._most_at = 1, -math.inf

    def __len__(self) -> int:
        return len(self._places)

    @property
    def most(self) -> int:
        """How many may stand in line: as many as the limits let go in the next second, at least one."""
        now = self._clock.monotonic()
        if not self._most_at <= now < self._most_at + _RATE_S:
            rate = self._rotation.rate()
            self._most = 1 << 30 if rate == math.inf else max(1, math.ceil(rate * _AHEAD_S))
            self._most_at = now
        return self._most

    async def turn(self, size: RequestSize) -> Lease | None:
        """Wait for a lease; None if none can be had soon, or when the line is sent away."""
        if not self._places:
            self._rotation.hear()
            lease = self._rotation.lease(size, paced=True)
            if lease is not None:
                return lease
            if self._is_hopeless():
                return None
        place = _Place(size, asyncio.get_running_loop().create_future())
        self._places.append(place)
        self._arm()
        try:
            return await place.turn
        except asyncio.CancelledError:
            if place.turn.done() and not place.turn.cancelled() and (lease := place.turn.result()) is not None:
                self._rotation.release(lease, unsent=True)
            elif place in self._places:
                self._places.remove(place)
                self._arm()
            raise

    def look(self) -> None:
        """Something has changed: let everybody go whose turn has come."""
        if self._is_looking:  # what is heard here is a change as well; it is minded by the look that is under way
            return
        self._is_looking = True
        try:
            if self._places:
                self._rotation.hear()
            has_room = self._let_go()
        finally:
            self._is_looking = False
        self._arm()
        if has_room:
            self.on_room()

    def _let_go(self) -> bool:
        """Hand out what may be sent now; returns whether anybody has left the line."""
        before = len(self._places)
        while self._places:
            place = self._places[0]
            if not place.turn.done():  # else it is being cancelled, and does not know of it yet
                lease = self._rotation.lease(place.size, paced=True)
                if lease is None:
                    break
                place.turn.set_result(lease)
            self._places.popleft()
        if self._places and self._is_hopeless():
            self.send_away()
        return len(self._places) < before

    def send_away(self) -> None:
        """Nobody in line is to be sent now: their tasks go back."""
        while self._places:
            if not (place := self._places.popleft()).turn.done():  # else it is being cancelled
                place.turn.set_result(None)

    def next_at(self) -> float:
        """When (monotonic) the next request may go."""
        return self._rotation.next_at(self._places[0].size) if self._places else self._rotation.next_at()

    def _is_hopeless(self) -> bool:
        """Whether nothing can be sent for longer than a task may be held for it."""
        readiness = self._rotation.readiness()
        if readiness.ready:
            return False
        return not readiness.usable or (readiness.at or 0.0) > self._clock.now() + _PATIENCE_S

    def _arm(self) -> None:
        """Have a timer for the first in line; the one there is, if it is for the same moment."""
        at = self.next_at() if self._places else math.inf
        if self._timer is not None:
            if at == self._timer_at and not self._timer.cancelled():
                return
            self._timer.cancel()
            self._timer = None
        self._timer_at = at
        if at < math.inf:
            wait = max(0.0, at - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(wait, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.look()
