"""Times as a user writes them: how long (`2h30m`), and when (`07:30`, `2026-11-22T07:30+01:00`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

LONGEST_S = 1e9
"""Thirty years: a longer time is a mistake."""

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in _UNITS), re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_ZONE = r"(?P<zone>Z|[+-]\d\d:?\d\d)?"
_TIME = re.compile(rf"(?P<hour>\d\d?):(?P<minute>\d\d)(?::(?P<second>\d\d))?{_ZONE}", re.ASCII)
_MOMENT = re.compile(rf"(?P<date>\d\d\d\d-\d\d-\d\d)[T ](?P<time>\d\d?:\d\d(?::\d\d)?{_ZONE})", re.ASCII)


def parse_duration(value: object) -> float:
    """`30s`, `45m`, `2h30m`, `1d`, or a number of seconds, as seconds. Raises ValueError, also for 0 and less."""
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    elif text and (found := _DURATION.fullmatch(text)):
        seconds = sum(float(found[unit]) * size for unit, size in _UNITS.items() if found[unit])
    else:
        raise ValueError("no duration")
    if not 0 < seconds < LONGEST_S:
        raise ValueError("no possible duration")
    return seconds


def parse_moment(value: object) -> Callable[[float], float]:
    """`07:30` or `2026-11-22T07:30`, each in local time unless a zone follows (`Z`, `+01:00`).

    Returns what gives the moment, in seconds since the epoch, from the present one: a time without a date is the next
    such time. Raises ValueError.
    """
    if isinstance(value, datetime | time):  # TOML has both
        value = value.isoformat(sep=" ") if isinstance(value, datetime) else value.isoformat()
    text = value.strip() if isinstance(value, str) else ""
    if found := _MOMENT.fullmatch(text):
        moment = datetime.combine(date.fromisoformat(found["date"]), _time(found["time"]))
        try:
            at = moment.timestamp()
        except (OverflowError, OSError):  # a year that this system's clock cannot have
            raise ValueError("no possible moment") from None
        return lambda now: at
    clock = _time(text)
    return lambda now: _next(clock, now)


def written_duration(seconds: float) -> str:
    """As `parse_duration` reads it: `2h30m`, `45m`, `1.5s`."""
    whole, rest = divmod(seconds, 60)
    parts = []
    left = int(whole)
    for unit, size in (("d", 1440), ("h", 60), ("m", 1)):
        number, left = divmod(left, size)
        parts += [f"{number}{unit}"] if number else []
    parts += [f"{rest:g}s"] if rest or not parts else []
    return "".join(parts)


def _time(text: str) -> time:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("no time")
    zone = time.fromisoformat(f"00:00{found['zone']}").tzinfo if found["zone"] else None
    return time(int(found["hour"]), int(found["minute"]), int(found["second"] or 0), tzinfo=zone)


def _next(clock: time, now: float) -> float:
    today = datetime.fromtimestamp(now, clock.tzinfo or UTC)
    if clock.tzinfo is None:
        today = datetime.fromtimestamp(now)  # noqa: DTZ006 - local time is what is meant
    for days in range(3):  # a day that is not 24 hours long may have put it off
        at = datetime.combine(today.date() + timedelta(days=days), clock).timestamp()
        if at > now:
            return at
    raise AssertionError(clock)
