"""From an exception to the facts that the table in `failures` takes.

They are read off by name and attribute, so that this module needs neither the SDK nor its HTTP library.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from agentdash.engine.failures import ErrorFacts, ServiceTroubleError, StatedFailureError, classify
from agentdash.engine.retryafter import retry_after_seconds
from agentdash.model import Failure

_BEGUN_OBJECT = re.compile(r"\s*\{(?:.*[^}\s])?\s*", re.DOTALL)
"""JSON that was not written to its end."""
_MOST_OF_AN_ERROR = 65_536

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


def failure_of(error: BaseException, now: float) -> Failure:
    """What an exception of a processor is: as it says itself, or by the tables."""
    return error.failure if isinstance(error, StatedFailureError) else classify(describe(error, now))


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


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
