"""How unevenly requests arrive: what a bucket of almost no size has to be given for it."""

from __future__ import annotations

MOST_LATENESS = 0.5
"""The longest lateness that is learned, in intervals between two requests."""
_FIRST_S = 0.0035
_GROWTH = 1.2
_DECAY = 0.999


class Lateness:
    """How much later than another a request may arrive that was sent as long before: of this machine and its network,
    and so shared by all pools of a run. Learned where two came too close; forgotten slowly. In seconds."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = _FIRST_S

    def learn(self, interval_s: float) -> None:
        """Two requests were closer than they were sent, at a limit that has this interval."""
        self.seconds = max(self.seconds, min(_GROWTH * self.seconds, MOST_LATENESS * interval_s))

    def decay(self) -> None:
        """One more request went well."""
        if self.seconds > _FIRST_S:
            self.seconds *= _DECAY
