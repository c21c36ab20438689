"""The table of who pays for a failure, with the SDK's own exceptions."""

from __future__ import annotations

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.failures import BY_STATUS, BY_TROUBLE, ErrorFacts, classify, stated_date
from agentdash.model import FailureClass
from tests.engine.sdkerrors import CLIENT, REQUEST, answered, failure

TASK, LIMITED, QUOTA, CREDENTIAL = (
    FailureClass.TASK,
    FailureClass.LIMITED,
    FailureClass.QUOTA,
    FailureClass.CREDENTIAL,
)
OVERLOAD, SERVICE = FailureClass.OVERLOAD, FailureClass.SERVICE


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


def test_each_status_and_trouble_is_in_one_table() -> None:
    assert set(BY_STATUS.values()) | set(BY_TROUBLE.values()) == set(FailureClass) - {FailureClass.CRASH}


@given(st.text(), st.one_of(st.none(), st.integers(100, 999)), st.one_of(st.none(), st.text()))
def test_any_text_gives_a_failure(text: str, status: int | None, kind: str | None) -> None:
    found = classify(ErrorFacts("X", text, status_code=status, api_type=kind, error_code=kind))
    assert found.failure_class in FailureClass
    assert found.message.isprintable()
    assert len(found.message) <= 2001


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
