"""The `retry-after` header: seconds, dates, and what is neither."""

from __future__ import annotations

import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.retryafter import retry_after_seconds
from tests.engine.sdkerrors import answered, failure
from tests.support.virtual_loop import EPOCH

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
