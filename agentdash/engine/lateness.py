"""How unevenly requests arrive: what a bucket of almost no size has to be given for it."""

from __future__ import annotations

import math

MOST_LATENESS = 0.5
"""The longest lateness that is learned, in intervals between two requests."""
_FIRST_S = 0.0022
_GROWTH = 1.2
_DECAY = 0.999
_APART_S = 0.005
"""How far apart the moments of two requests are kept: to be built, written and taken in, one takes one to three ms."""
_APART_SHARE = 0.5
"""The most of it, in mean times between two moments: many pools together do not slow each other down."""
_MEMORY = 0.05


class Lateness:
    """How much later than another a request may arrive that was sent as long before: of this machine and its network,
    and so shared by all pools of a run. Learned where two came too close; forgotten slowly. In seconds."""

    __slots__ = ("_between_s", "_last_at", "seconds")

    def __init__(self) -> None:
        self.seconds = _FIRST_S
        self._last_at = -math.inf
        self._between_s = 2 * _APART_S

    def moment(self, at: float) -> float:
        """The moment (monotonic) for a request that may go `at`: then, or a little later beside another pool's.

        Pools that begin together would go on in step, and the request of each would make the others' late.
        """
        since = at - self._last_at
        apart = min(_APART_S, _APART_SHARE * self._between_s)
        if abs(since) < apart:
            at = self._last_at + apart
        if at > self._last_at:
            self._between_s += _MEMORY * (min(at - self._last_at, 1.0) - self._between_s)
            self._last_at = at
        return at

    def learn(self, interval_s: float) -> None:
        """Two requests were closer than they were sent, at a limit that has this interval."""
        self.seconds = max(self.seconds, min(_GROWTH * self.seconds, MOST_LATENESS * interval_s))

    def decay(self) -> None:
        """One more request went well."""
        if self.seconds > _FIRST_S:
            self.seconds *= _DECAY
