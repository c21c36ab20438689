"""What is read off an exception: the SDK's, its HTTP library's, ours, and any that a user's function may raise."""

from __future__ import annotations

from typing import Any

import aiohttp
import anthropic
import httpx2
import pytest
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.failures import BY_TROUBLE, ServiceTroubleError
from agentdash.model import FailureClass
from tests.engine.sdkerrors import CLIENT, REQUEST, answered, failure

TASK, OVERLOAD, SERVICE = FailureClass.TASK, FailureClass.OVERLOAD, FailureClass.SERVICE


@pytest.mark.parametrize(
    ("text", "expected", "permanent"),
    [
        ('{"', SERVICE, False),  # it may have been a quota: nobody knows
        ('{"type":"error","error":{"type":"invalid_re', SERVICE, False),
        ('{"type": "error", "error": \x80}', TASK, True),  # whole, though it is none
        ("{} {", SERVICE, False),
        ('{"' + "x" * 70_000, TASK, True),  # the bound on answers may have cut it
        ("<html>400 Bad Request</html>", TASK, True),
        ("", TASK, True),
    ],
)
def test_a_bad_request_whose_reason_was_cut_off_is_asked_again(
    text: str, expected: FailureClass, permanent: bool
) -> None:
    response = httpx2.Response(400, text=text, request=REQUEST)
    found = failure(CLIENT._make_status_error_from_response(response))
    assert (found.failure_class, found.permanent) == (expected, permanent)


@pytest.mark.parametrize("kind", ["overloaded_error", "api_error", "rate_limit_error"])
def test_an_error_event_in_a_stream_has_status_200_and_is_the_services(kind: str) -> None:
    found = failure(answered(200, kind, "Overloaded"))
    assert found.failure_class is SERVICE
    assert found.error_type == kind
    assert found.status_code is None


def connector_error(kind: type[aiohttp.ClientConnectorError] = aiohttp.ClientConnectorError) -> Exception:
    key = ConnectionKey("api.anthropic.com", 443, True, True, None, None, None)
    return kind(key, OSError(111, "Connection refused"))


def caused(error: BaseException, *causes: BaseException) -> BaseException:
    link = error
    for cause in causes:
        link.__cause__ = cause
        link = cause
    return error


def connection_error(*causes: BaseException) -> BaseException:
    return caused(anthropic.APIConnectionError(request=REQUEST), *causes)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (connection_error(httpx2.ConnectError("x"), connector_error()), OVERLOAD),
        (connection_error(httpx2.ConnectError("x"), connector_error(aiohttp.ClientConnectorDNSError)), OVERLOAD),
        (connection_error(httpx2.ConnectError("x"), aiohttp.ServerDisconnectedError()), SERVICE),
        (connection_error(httpx2.ConnectError("x"), aiohttp.ClientOSError(104, "reset")), SERVICE),
        # Without aiohttp a ConnectError says what its name says.
        (connection_error(httpx2.ConnectError("All connection attempts failed")), OVERLOAD),
        (httpx2.ConnectError("All connection attempts failed"), OVERLOAD),
        (connection_error(), SERVICE),
        (connection_error(httpx2.RemoteProtocolError("peer closed")), SERVICE),
        (caused(anthropic.APITimeoutError(request=REQUEST), httpx2.ConnectTimeout("x")), OVERLOAD),
        (caused(anthropic.APITimeoutError(request=REQUEST), httpx2.ReadTimeout("x")), SERVICE),
        (anthropic.APITimeoutError(request=REQUEST), SERVICE),
        (httpx2.ReadError("dropped in the middle of a stream"), SERVICE),
        (httpx2.RemoteProtocolError("incomplete chunked read"), SERVICE),
        (httpx2.ReadTimeout("x"), SERVICE),
        (httpx2.PoolTimeout("x"), SERVICE),
        (httpx2.ProxyError("x"), OVERLOAD),
        (aiohttp.ClientPayloadError("cut"), SERVICE),
        (ConnectionRefusedError(111, "refused"), OVERLOAD),
        (ConnectionResetError(104, "reset"), SERVICE),
        (BrokenPipeError(32, "pipe"), SERVICE),
        (ConnectionError("gone"), SERVICE),
        (TimeoutError(), SERVICE),
        (
            anthropic.APIResponseValidationError(httpx2.Response(200, request=REQUEST), None),
            SERVICE,
        ),
        *((ServiceTroubleError(trouble, "x"), expected) for trouble, expected in BY_TROUBLE.items()),
    ],
    ids=repr,
)
def test_trouble_below_an_answer(error: BaseException, expected: FailureClass) -> None:
    found = failure(error)
    assert found.failure_class is expected
    assert not found.permanent
    assert found.status_code is None


@pytest.mark.parametrize("error", [ValueError("bad"), KeyError("x"), RuntimeError(), SystemExit(3), OSError(2, "gone")])
def test_a_processors_own_exception_is_the_tasks_and_worth_another_try(error: BaseException) -> None:
    found = failure(error)
    assert found.failure_class is TASK
    assert not found.permanent
    assert found.error_type == type(error).__name__
    assert found.message


def test_the_wordless_connection_error_names_its_cause() -> None:
    found = failure(connection_error(httpx2.ConnectError("Cannot connect to host x:1")))
    assert "Cannot connect to host" in found.message


class HostileError(Exception):
    """Raises wherever it is looked at."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__

    @property
    def message(self) -> str:
        raise ZeroDivisionError

    @property
    def status_code(self) -> int:
        raise KeyError("status_code")

    @property
    def response(self) -> object:
        raise OSError


def test_a_hostile_exception_is_classified_all_the_same() -> None:
    found = failure(HostileError())
    assert (found.failure_class, found.error_type, found.message) == (TASK, "HostileError", "HostileError")


class OddError(Exception):
    """Carries whatever a library may put into attributes that we read."""

    def __init__(self, status: Any, message: Any, headers: Any, kind: Any) -> None:
        super().__init__(message)
        self.status_code, self.message, self.type, self.error_code, self.request_id = status, message, kind, kind, kind
        self.response = type("Response", (), {"headers": headers})()


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.integers(), max_size=2)
)
headers = st.one_of(anything, st.dictionaries(st.sampled_from(["retry-after", "date"]), anything))


@given(anything, anything, headers, anything)
def test_any_exception_gives_a_failure(status: Any, message: Any, header: Any, kind: Any) -> None:
    found = failure(OddError(status, message, header, kind))
    assert found.message.isprintable()
    assert found.message
    assert found.error_type


def test_a_chain_of_causes_without_end() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert failure(first).failure_class is TASK
