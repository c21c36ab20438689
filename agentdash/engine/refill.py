"""How fast a bucket refills, as rejections tell: between two moments when it was empty, all that passed was refill.

Pure: what went out and how long it took is passed in. Rates are a second, amounts in the units of the limit.
"""

from __future__ import annotations

from typing import NamedTuple

_CUT = 0.97
"""Of a rate that was measured so much is used."""
_BLIND_CUT = 0.9
_FAR_CUT = 0.6
"""What a rate is cut by that cannot be measured; and where hardly anything passed although there was time."""
_MEASURED_S = 1.0
FEW = 5
"""A rate is measured over at least so long, and with at least so many requests."""
_CAUTION = 0.85


class FirstBurst(NamedTuple):
    """The first that is known of a limit that nobody told: what `passed` before a rejection, in how many seconds, and
    how many a second went out by then (`speed`)."""

    passed: float
    seconds: float
    speed: float


class Spell(NamedTuple):
    """The time since the bucket was last empty.

    `passed` went through in `elapsed` seconds, of which it was sent in the last `sending`; `was_full`: the bucket may
    have been full in between, so that not all of it need be refill.
    """

    passed: float
    elapsed: float
    sending: float
    was_full: bool


def slowed(rate: float, spell: Spell, unit: float) -> float:
    """The rate is below what was believed: measured, where the bucket was empty before and never full since."""
    if spell.elapsed >= _MEASURED_S and not spell.was_full:
        measured = max(spell.passed, unit) / spell.elapsed
        return max(0.5 * rate, min(rate, measured)) * _CUT
    return rate * _BLIND_CUT


def measured_anew(rate: float, size: float, first: FirstBurst, spell: Spell) -> tuple[float, float]:
    """Rate and size of a bucket of requests whose limit is not advertised, after one more rejection."""
    if spell.passed < FEW and size > 1:
        # Rejected after so few, although it was let fill up: that few is all it holds, and what it took before was
        # nearly all refill.
        return max(rate, _CAUTION * first.speed), max(1.0, min(size - 1, spell.passed))
    if spell.elapsed < _MEASURED_S or spell.passed < FEW:
        return rate * (_BLIND_CUT if spell.elapsed < _MEASURED_S else _FAR_CUT), size
    whole = max(1.0, spell.passed) / spell.elapsed
    held = first.passed - whole * first.seconds
    paused = spell.elapsed - spell.sending
    if held < 0.5 * whole * paused:  # so small a bucket overflowed while nothing was sent
        whole = max(1.0, spell.passed) / max(0.1, spell.sending)
    return min(rate, whole) * _CUT, max(1.0, held)
