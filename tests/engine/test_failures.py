"""The table of who pays for a failure, with the SDK's own exceptions."""

from __future__ import annotations

import email.utils
import json
import time
from typing import Any

import aiohttp
import anthropic
import httpx2
import pytest
from aiohttp.client_reqrep import ConnectionKey
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.failures import (
    BY_STATUS,
    BY_TROUBLE,
    ErrorFacts,
    ServiceTroubleError,
    classify,
    clean_message,
    describe,
    retry_after_seconds,
    stated_date,
)
from agentdash.model import Failure, FailureClass
from agentdash.secret import Secret
from tests.support.virtual_loop import EPOCH

KEY = "sk-ant-api03-Zx9-abcdefghijklmnopqrstuvwxyz0123456789-AA"
REQUEST = httpx2.Request("POST", "https://api.anthropic.com/v1/messages", headers={"x-api-key": KEY})
CLIENT = anthropic.Anthropic(api_key=KEY, base_url="https://api.anthropic.com")
TASK, LIMITED, QUOTA, CREDENTIAL = (
    FailureClass.TASK,
    FailureClass.LIMITED,
    FailureClass.QUOTA,
    FailureClass.CREDENTIAL,
)
OVERLOAD, SERVICE = FailureClass.OVERLOAD, FailureClass.SERVICE


def answered(
    status: int, kind: str = "api_error", message: str = "no", headers: dict[str, str] | None = None, **error: Any
) -> Exception:
    """The exception that the SDK makes of an error answer."""
    body = {"type": "error", "error": {"type": kind, "message": message, **error}, "request_id": "req_1"}
    response = httpx2.Response(
        status, headers={"request-id": "req_1", **(headers or {})}, text=json.dumps(body), request=REQUEST
    )
    error_made: Exception = CLIENT._make_status_error_from_response(response)
    return error_made


def failure(error: BaseException, now: float = EPOCH) -> Failure:
    return classify(describe(error, now))


@pytest.mark.parametrize(
    ("status", "kind", "expected", "permanent"),
    [
        (400, "invalid_request_error", TASK, True),
        (401, "authentication_error", CREDENTIAL, False),
        (402, "billing_error", QUOTA, False),
        (403, "permission_error", CREDENTIAL, False),
        (404, "not_found_error", TASK, True),
        (408, "timeout_error", SERVICE, False),
        (409, "conflict_error", SERVICE, False),
        (413, "request_too_large", TASK, True),
        (418, "teapot_error", TASK, True),
        (422, "invalid_request_error", TASK, True),
        (429, "rate_limit_error", LIMITED, False),
        (500, "api_error", SERVICE, False),
        (501, "api_error", SERVICE, False),
        (502, "api_error", SERVICE, False),
        (503, "api_error", OVERLOAD, False),
        (504, "timeout_error", SERVICE, False),
        (520, "api_error", SERVICE, False),
        (529, "overloaded_error", OVERLOAD, False),
    ],
)
def test_error_answers(status: int, kind: str, expected: FailureClass, permanent: bool) -> None:
    found = failure(answered(status, kind, "it was refused"))
    assert found.failure_class is expected
    assert found.permanent is permanent
    assert found.status_code == status
    assert found.error_type == kind
    assert found.message == "it was refused"
    assert found.request_id == "req_1"


def test_an_error_answer_without_a_body() -> None:
    response = httpx2.Response(502, text="<html>Bad gateway</html>", request=REQUEST)
    found = failure(CLIENT._make_status_error_from_response(response))
    assert found.failure_class is SERVICE
    assert found.error_type == "InternalServerError"
    assert found.message


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


def test_each_status_and_trouble_is_in_one_table() -> None:
    assert set(BY_STATUS.values()) | set(BY_TROUBLE.values()) == set(FailureClass) - {FailureClass.CRASH}


# -- quota -------------------------------------------------------------------------------------------------------------
REGAIN = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, REGAIN),
        (429, REGAIN),
        (400, "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."),
        (429, "You exceeded your current quota, please check your plan and billing details."),
        (400, "This organization has reached its monthly spend limit."),
        (429, "Workspace spending limit reached"),
        (429, "You have reached your usage limit."),
        (429, "Insufficient credits"),
        (429, "Daily quota exhausted"),
        (402, "anything"),
    ],
)
def test_quota_answers(status: int, message: str) -> None:
    assert failure(answered(status, "invalid_request_error", message)).failure_class is QUOTA


def test_a_quota_told_by_its_code() -> None:
    error = answered(429, "rate_limit_error", "no", details={"error_code": "spend_limit_reached"})
    assert failure(error).failure_class is QUOTA


@pytest.mark.parametrize(
    "message",
    [
        "This request would exceed your organization's rate limit of 50,000 input tokens per minute.",
        "Quota exceeded: 20 requests per minute",
        "Number of request tokens has exceeded your per-minute rate limit",
        "Too many requests",
    ],
)
def test_rates_are_not_quotas(message: str) -> None:
    assert failure(answered(429, "rate_limit_error", message)).failure_class is LIMITED


@pytest.mark.parametrize(
    "message",
    [
        "tools.0.name: tool names must be unique: 'billing'",
        "messages.0.content.0: unknown field 'quota'",
        "metadata: 'spend limit' is not a valid user id",
        "system: text 'what is the usage limit of my plan' is not a list",
    ],
)
def test_a_bad_request_that_only_mentions_money_costs_no_key(message: str) -> None:
    """One bad task must not take every key out of use."""
    found = failure(answered(400, "invalid_request_error", message))
    assert found.failure_class is TASK
    assert found.permanent


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("You will regain access on 2026-12-01 at 00:00 UTC.", 1_796_083_200.0),
        ("regain access on 2026-12-01", 1_796_083_200.0),
        ("until 2026-12-01T06:30:15Z", 1_796_083_200.0 + 6.5 * 3600 + 15),
        ("limit of 2026-11-01 reached: you will regain access on 2026-12-01 at 00:00 UTC", 1_796_083_200.0),
        ("regain access on 2026-13-45", None),
        ("regain access on 0000-00-00", None),
        ("tomorrow", None),
    ],
)
def test_the_stated_date(message: str, expected: float | None) -> None:
    assert stated_date(message) == expected


def test_a_quota_failure_carries_its_date() -> None:
    assert failure(answered(400, "invalid_request_error", REGAIN)).until == 1_796_083_200.0


# -- retry-after -------------------------------------------------------------------------------------------------------
WEEK = 7 * 86400.0


def http_date(at: float) -> str:
    return email.utils.formatdate(at, usegmt=True)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("17", 17.0),
        (" 1.5 ", 1.5),
        ("-3", 0.0),
        ("nan", None),
        ("inf", WEEK),
        ("-inf", 0.0),
        ("1e400", WEEK),
        ("99999999999", WEEK),
        ("", None),
        ("soon", None),
        ("12 seconds", None),
        ("\x00", None),
        ("Wed, 99 Foo 9999 99:99:99 GMT", None),
        ("Mon, 01 Jan 99999999999999 00:00:00 GMT", None),
        (http_date(EPOCH + 40), 40.0),
        (http_date(EPOCH - 40), 0.0),
        (http_date(EPOCH + 40).replace("GMT", "-0000"), 40.0),
        (time.asctime(time.gmtime(EPOCH + 40)), 40.0),
    ],
)
def test_retry_after(value: str, expected: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        assert retry_after_seconds({"retry-after": value}, EPOCH) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_date_is_read_against_the_responses_own_clock() -> None:
    headers = {"retry-after": http_date(EPOCH + 1030), "date": http_date(EPOCH + 1000)}
    assert retry_after_seconds(headers, EPOCH) == 30
    assert retry_after_seconds(headers | {"date": "nonsense"}, EPOCH) == 1030


def test_the_sdks_headers_are_read_in_any_case() -> None:
    assert failure(answered(429, headers={"Retry-After": "12"})).retry_after == 12


@given(st.text(), st.text())
def test_no_header_raises(retry_after: str, date: str) -> None:
    found = retry_after_seconds({"retry-after": retry_after, "date": date}, EPOCH)
    assert found is None or 0 <= found <= WEEK


# -- messages ----------------------------------------------------------------------------------------------------------
def test_no_secret_in_a_message() -> None:
    plain = Secret("a-gateways-own-key-77")
    message = f"key {KEY} of Bearer abcdefgh12345678 and {plain.reveal()} is refused"
    for error in (answered(401, "authentication_error", message), RuntimeError(message)):
        found = failure(error)
        assert KEY not in repr(found)
        assert plain.reveal() not in repr(found)
        assert "abcdefgh12345678" not in repr(found)
        assert "is refused" in found.message


def test_a_secret_at_the_cut_is_not_shown_in_part() -> None:
    secret = Secret("gateway_" + "z" * 60)
    for lead in (1990, 3990):
        found = clean_message("x" * lead + secret.reveal() + "y" * 5000)
        assert "gateway_z" not in found
        assert len(found) <= 2001


def test_control_characters_and_length() -> None:
    found = clean_message("a\x1b[31mred\x07\nb\u202e\ud800 \x9b" + "c" * 10_000)
    assert found.isprintable()
    assert "red" in found
    assert len(found) == 2001
    found.encode()


def test_the_type_is_safe_to_show_too() -> None:
    found = failure(answered(500, f"\x1b]0;{KEY}\x07" + "x" * 5000))
    assert found.error_type.isprintable()
    assert KEY not in found.error_type
    assert len(found.error_type) <= 200


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


@given(st.text(), st.one_of(st.none(), st.integers(100, 999)), st.one_of(st.none(), st.text()))
def test_any_text_gives_a_failure(text: str, status: int | None, kind: str | None) -> None:
    found = classify(ErrorFacts("X", text, status_code=status, api_type=kind, error_code=kind))
    assert found.failure_class in FailureClass
    assert found.message.isprintable()
    assert len(found.message) <= 2001


def test_a_chain_of_causes_without_end() -> None:
    first, second = RuntimeError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert failure(first).failure_class is TASK
