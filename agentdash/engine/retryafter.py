"""The `retry-after` header: when a server wants to be asked again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

_MAX_RETRY_AFTER_S = 7 * 86400.0


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """The `retry-after` header in seconds from now: a number of seconds or an HTTP date (RFC 9110, section 10.2.3).

    A date is read against the response's own `date`, so that clocks which differ do no harm. Nonsense is None; what
    is negative is 0; more than a week is taken as a week.
    """
    value = str(headers.get("retry-after") or "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        at, reference = _http_date(value), _http_date(str(headers.get("date") or ""))
        if at is None:
            return None
        seconds = at - (reference if reference is not None else now)
    if seconds != seconds:
        return None
    return min(max(0.0, seconds), _MAX_RETRY_AFTER_S)


def _http_date(value: str) -> float | None:
    try:
        at = parsedate_to_datetime(value)
        # `-0000` and the asctime form come back without a zone; HTTP dates are UTC whatever the machine's zone is.
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
