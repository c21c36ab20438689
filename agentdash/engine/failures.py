"""From an error to who pays for it: one pure table over neutral facts.

`describe` reads the facts off an exception by name and attribute, so that this module needs neither the SDK nor its
HTTP library; `classify` looks them up. The classes are those of `FailureClass`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from agentdash.model import Failure, FailureClass, Usage
from agentdash.secret import redact

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
_BEGUN_OBJECT = re.compile(r"\s*\{(?:.*[^}\s])?\s*", re.DOTALL)
"""JSON that was not written to its end."""
_MOST_OF_AN_ERROR = 65_536
_MAX_MESSAGE = 2000
_MAX_TYPE = 200
_MAX_RETRY_AFTER_S = 7 * 86400.0

_UNREACHABLE = frozenset(
    {"ClientConnectorError", "ClientConnectorDNSError", "ClientConnectorCertificateError", "ClientConnectorSSLError",
     "ConnectionTimeoutError", "ConnectTimeout", "ConnectionRefusedError", "gaierror", "UnsupportedProtocol",
     "ProxyError", "ClientProxyConnectionError", "SSLError"}
)  # fmt: skip
_CONNECTED = frozenset({"ServerDisconnectedError", "ClientOSError", "ServerConnectionError", "ClientConnectionError"})
"""What aiohttp says of a connection that was there; its transport for the SDK calls these `ConnectError` as well."""
_TIMEOUTS = frozenset({"APITimeoutError", "TimeoutException", "ReadTimeout", "WriteTimeout", "PoolTimeout",
                       "SocketTimeoutError", "ServerTimeoutError", "TimeoutError"})  # fmt: skip
_DROPPED = frozenset(
    {"APIConnectionError", "NetworkError", "ReadError", "WriteError", "CloseError", "RemoteProtocolError",
     "ProtocolError", "TransportError", "ConnectError", "ServerDisconnectedError", "ClientPayloadError",
     "ClientConnectionError", "ConnectionError", "ConnectionResetError", "BrokenPipeError", "StreamError",
     "IncompleteReadError"}
)  # fmt: skip
_GARBLED = frozenset({"APIResponseValidationError", "DecodingError"})


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


def failure_of(error: BaseException, now: float) -> Failure:
    """What an exception of a processor is: as it says itself, or by the tables."""
    return error.failure if isinstance(error, StatedFailureError) else classify(describe(error, now))


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


def describe(error: BaseException, now: float) -> ErrorFacts:
    """Read the facts off an exception: the SDK's, its HTTP library's, ours, or any with a `status_code`.

    A user's function may raise anything: nothing that the exception does while it is looked at gets out of here.
    """
    name = type(error).__name__
    request_id = _text(_attribute(error, "request_id"))
    if (ours := next((link for link in _chain(error) if isinstance(link, ServiceTroubleError)), None)) is not None:
        return ErrorFacts(type(ours).__name__, str(ours), trouble=ours.trouble, request_id=ours.request_id)
    status = _attribute(error, "status_code")
    message = _text(_attribute(error, "api_message")) or _text(_attribute(error, "message")) or _words(error)
    if isinstance(status, int) and not isinstance(status, bool) and 100 <= status <= 999:
        headers = _attribute(_attribute(error, "response"), "headers")
        return ErrorFacts(
            name,
            message,
            status_code=status if status >= 400 else None,
            api_type=_text(_attribute(error, "type")),
            error_code=_text(_attribute(error, "error_code")),
            trouble=_trouble_of(status, error),
            retry_after=retry_after_seconds(headers, now) if callable(_attribute(headers, "get")) else None,
            request_id=request_id,
        )
    return ErrorFacts(name, _first_words(error, message), trouble=_trouble(error), request_id=request_id)


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


def clean_message(message: str) -> str:
    """An outside message made safe to keep and show: no secret, no control characters, valid text, bounded."""
    text = redact(message[: 2 * _MAX_MESSAGE]).encode("utf-8", "replace").decode()
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = text.strip()
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}…"


def clean_name(name: str | None) -> str | None:
    """The same for a name or an id from outside; None for none."""
    return clean_message(name[: 2 * _MAX_TYPE])[:_MAX_TYPE] or None if name else None


def _trouble_of(status: int, error: BaseException) -> str | None:
    """What is wrong with an answer that has a status, beside that: an error event, or one that says too little.

    A 400 may be the task's fault or a used-up quota, which its words tell: where those were cut off, nobody knows.
    """
    if status == 400:
        body = _attribute(error, "body")  # the text, where it was no JSON
        is_short = isinstance(body, str) and len(body) < _MOST_OF_AN_ERROR  # a long one may have been cut by ourselves
        return "cut" if is_short and _BEGUN_OBJECT.fullmatch(body) else None
    if status > 400:
        return None
    return "garbled" if type(error).__name__ in _GARBLED else "error event"


def _says_quota(facts: ErrorFacts) -> bool:
    if facts.error_code is not None and _QUOTA_CODE.search(facts.error_code):
        return True
    pattern = _QUOTA_SENTENCE if facts.status_code == 400 else _QUOTA_TEXT
    return bool(pattern.search(facts.message)) and not _RATE_TEXT.search(facts.message)


def _trouble(error: BaseException) -> str | None:
    """What kind of network trouble an exception is, judged by the classes along its chain of causes."""
    kinds = {kind for link in _chain(error) for kind in _class_names(link)}
    if "ConnectError" in kinds and not kinds & _CONNECTED:
        return "unreachable"
    for trouble, names in (
        ("unreachable", _UNREACHABLE),
        ("timeout", _TIMEOUTS),
        ("dropped", _DROPPED),
        ("garbled", _GARBLED | {"APIStatusError"}),  # a status that is none: 000
    ):
        if kinds & names:
            return trouble
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    for _ in range(10):
        if link is None:
            return
        yield link
        link = link.__cause__


def _class_names(error: BaseException) -> Iterator[str]:
    return (cls.__name__ for cls in type(error).__mro__)


def _first_words(error: BaseException, message: str) -> str:
    """The message, and for the SDK's wordless "Connection error." the cause's as well."""
    cause = error.__cause__
    words = _words(cause) if cause is not None else ""
    if words and words not in message:
        return f"{message} ({type(cause).__name__}: {words})"
    return message


def _attribute(owner: object, name: str) -> Any:
    try:
        return getattr(owner, name, None)
    except Exception:  # noqa: BLE001 - a property of a foreign exception may raise anything, and then tells nothing
        return None


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - as above: an exception that cannot be printed is named by its class
        return ""


def _http_date(value: str) -> float | None:
    try:
        at = parsedate_to_datetime(value)
        # `-0000` and the asctime form come back without a zone; HTTP dates are UTC whatever the machine's zone is.
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
