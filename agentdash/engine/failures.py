"""From an error to who pays for it: one pure table over neutral facts.

`classify` looks the facts up; `errorfacts` reads them off an exception. The classes are those of `FailureClass`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from agentdash.engine.sanitising import clean_message, clean_name
from agentdash.model import Failure, FailureClass, Usage

_T, _L, _Q, _C = FailureClass.TASK, FailureClass.LIMITED, FailureClass.QUOTA, FailureClass.CREDENTIAL
_O, _S = FailureClass.OVERLOAD, FailureClass.SERVICE

BY_STATUS: Mapping[int, FailureClass] = {
    400: _T,
    401: _C,
    402: _Q,
    403: _C,
    404: _T,
    408: _S,
    409: _S,
    413: _T,
    422: _T,
    425: _S,
    429: _L,
    499: _S,
    500: _S,
    502: _S,
    503: _O,
    504: _S,
    529: _O,
}
"""HTTP status → class. Other 4xx are the task's, other 5xx the service's."""

BY_TROUBLE: Mapping[str, FailureClass] = {
    "unreachable": _O,
    "timeout": _S,
    "dropped": _S,
    "cut": _S,
    "garbled": _S,
    "too large": _S,
    "error event": _S,
}
"""What went wrong below or beside an HTTP status → class."""

_QUOTA_TEXT = re.compile(
    r"usage limit|spend(?:ing)? limit|\bquota\b|credit balance|regain access|billing|insufficient (?:funds|credit)",
    re.IGNORECASE,
)
# A 400 may quote the request, so a word alone says nothing: one bad task must not take every key out of use.
_QUOTA_SENTENCE = re.compile(
    r"\b(?:reached|exceeded|exhausted|used up)\b.{0,60}\b(?:(?:usage|spend|spending) limits?|quota)\b"
    r"|\b(?:(?:usage|spend|spending) limits?|quota)\b.{0,40}\b(?:reached|exceeded|exhausted|used up)\b"
    r"|credit balance is|regain access on|insufficient (?:funds|credit|quota)",
    re.IGNORECASE,
)
_RATE_TEXT = re.compile(r"per[- ](?:second|minute|hour)|rate[- ]limit", re.IGNORECASE)
_QUOTA_CODE = re.compile(r"quota|spend|credit|billing|usage_limit", re.IGNORECASE)
_REGAIN = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:(?:T| at |\s)(\d\d):(\d\d)(?::(\d\d))?)?")
_REGAIN_WORDS = re.compile(r"regain access", re.IGNORECASE)


class ServiceTroubleError(Exception):
    """An answer that is none, though no exception said so: a cut stream, a body that is not JSON.

    `trouble` is a key of `BY_TROUBLE`.
    """

    def __init__(self, trouble: str, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.request_id = request_id


class StatedFailureError(Exception):
    """A failure of which the processor itself knows who pays: a program said so. Times and costs as in `Failure`."""

    def __init__(
        self,
        failure_class: FailureClass,
        message: str,
        *,
        error_type: str = "CommandFailed",
        permanent: bool = False,
        status_code: int | None = None,
        retry_after: float | None = None,
        until: float | None = None,
        usage: Usage | None = None,
        cost_usd: float | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = Failure(
            failure_class,
            clean_name(error_type) or "CommandFailed",
            clean_message(message),
            permanent=permanent,
            status_code=status_code,
            retry_after=retry_after,
            until=until,
            usage=usage,
            cost_usd=cost_usd,
        )

    @classmethod
    def of(cls, failure: Failure) -> StatedFailureError:
        """An exception for a failure that was classified already."""
        error = cls(failure.failure_class, failure.message)
        error.failure = replace(failure, message=error.failure.message)
        return error


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """What is known of an error. `retry_after` in seconds from now; `trouble` is a key of `BY_TROUBLE` or None."""

    name: str
    message: str
    status_code: int | None = None
    api_type: str | None = None
    error_code: str | None = None
    trouble: str | None = None
    retry_after: float | None = None
    request_id: str | None = None


def classify(facts: ErrorFacts) -> Failure:
    """Look the facts up in the tables. What neither names is the task's own, and worth another try."""
    failure_class, permanent, until = _T, False, None
    if facts.trouble is not None:
        failure_class = BY_TROUBLE[facts.trouble]
    elif facts.status_code is not None:
        failure_class = BY_STATUS.get(facts.status_code, _T if facts.status_code < 500 else _S)
        if facts.status_code in (400, 429) and _says_quota(facts):
            failure_class = _Q
        permanent = failure_class is _T
    if failure_class is _Q:
        until = stated_date(facts.message)
    return Failure(
        failure_class=failure_class,
        error_type=clean_name(facts.api_type) or clean_name(facts.name) or "Exception",
        message=clean_message(facts.message) or clean_name(facts.name) or "",
        permanent=permanent,
        status_code=facts.status_code,
        retry_after=facts.retry_after,
        until=until,
        request_id=clean_name(facts.request_id),
    )


def stated_date(message: str) -> float | None:
    """The moment a quota answer states ("regain access on 2026-12-01 at 00:00 UTC"), in seconds since the epoch.

    Of several dates the one behind these words is meant: another may say of which month the limit was.
    """
    words = _REGAIN_WORDS.search(message)
    found = _REGAIN.search(message, words.start() if words else 0)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _says_quota(facts: ErrorFacts) -> bool:
    if facts.error_code is not None and _QUOTA_CODE.search(facts.error_code):
        return True
    pattern = _QUOTA_SENTENCE if facts.status_code == 400 else _QUOTA_TEXT
    return bool(pattern.search(facts.message)) and not _RATE_TEXT.search(facts.message)
