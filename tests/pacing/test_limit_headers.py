"""What is read of an answer's headers, good ones and any others."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.limitheaders import (
    INPUT_TOKENS,
    NOTHING_READ,
    OUTPUT_TOKENS,
    REQUESTS,
    TOKENS,
    LimitReading,
    Standing,
    read_limits,
)

_PREFIX = "anthropic-ratelimit-"
_NAMES = [f"{_PREFIX}{kind}-{part}" for kind in ("requests", "input-tokens", "output-tokens", "tokens")
          for part in ("limit", "remaining", "reset")]  # fmt: skip
GOOD = {
    "anthropic-organization-id": "org-a",
    "anthropic-ratelimit-requests-limit": "1200",
    "anthropic-ratelimit-requests-remaining": "1199",
    "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:00Z",
    "anthropic-ratelimit-input-tokens-limit": "600000",
    "anthropic-ratelimit-input-tokens-remaining": "597000",
    "anthropic-ratelimit-output-tokens-limit": "240000",
    "anthropic-ratelimit-output-tokens-remaining": "240000",
    "anthropic-ratelimit-tokens-limit": "840000",
    "anthropic-ratelimit-tokens-remaining": "837000",
}


def test_the_documented_headers() -> None:
    reading = read_limits(GOOD)
    assert reading.organization == "org-a"
    assert reading.workspace is None
    assert reading.standings == {
        REQUESTS: Standing(1200, 1199),
        INPUT_TOKENS: Standing(600_000, 597_000),
        OUTPUT_TOKENS: Standing(240_000, 240_000),
    }


def test_tokens_together_count_where_input_has_no_limit_of_its_own() -> None:
    headers = {name: value for name, value in GOOD.items() if "input" not in name}
    assert set(read_limits(headers).standings or ()) == {REQUESTS, OUTPUT_TOKENS, TOKENS}


def test_what_is_advertised_does_not_change_with_what_is_left() -> None:
    less = GOOD | {"anthropic-ratelimit-requests-remaining": "3"}
    other = GOOD | {"anthropic-ratelimit-requests-limit": "50"}
    assert read_limits(GOOD).advertised == read_limits(less).advertised
    assert read_limits(GOOD).advertised != read_limits(other).advertised
    assert LimitReading().advertised == ()


def test_an_answer_without_any_of_them() -> None:
    assert read_limits({"content-type": "application/json"}) is NOTHING_READ


def test_a_workspace_is_read_beside_its_organization() -> None:
    headers = {"anthropic-organization-id": "org-a", "anthropic-workspace-id": "space-1"}
    assert read_limits(headers) == LimitReading("org-a", "space-1", {})


def test_empty_names_are_none() -> None:
    headers = GOOD | {"anthropic-organization-id": "", "anthropic-workspace-id": ""}
    reading = read_limits(headers)
    assert (reading.organization, reading.workspace) == (None, None)


@pytest.mark.parametrize("value", ["", "nan", "inf", "-inf", "1e999", "-1", "0", "many", "1,200", "0x10", "1e13", "½"])
def test_a_limit_that_is_no_limit_is_left_out(value: str) -> None:
    reading = read_limits(GOOD | {"anthropic-ratelimit-requests-limit": value})
    assert REQUESTS not in (reading.standings or {})
    assert INPUT_TOKENS in (reading.standings or {})


@pytest.mark.parametrize("value", ["", "nan", "inf", "-1", "1e999", "soon"])
def test_what_is_left_may_be_no_number_while_the_limit_is_one(value: str) -> None:
    reading = read_limits(GOOD | {"anthropic-ratelimit-requests-remaining": value})
    assert (reading.standings or {})[REQUESTS] == Standing(1200, None)


def test_nothing_left_is_something() -> None:
    reading = read_limits(GOOD | {"anthropic-ratelimit-requests-remaining": "0"})
    assert (reading.standings or {})[REQUESTS] == Standing(1200, 0)


_values = st.one_of(
    st.text(max_size=20),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["1e400", "-0", "0.0", "٣", "1_000", " 5 ", "\x00", "9" * 5000]),
)


@given(st.dictionaries(st.sampled_from([*_NAMES, "anthropic-organization-id", "anthropic-workspace-id"]), _values))
def test_nothing_is_raised_and_every_number_can_be_reckoned_with(headers: dict[str, str]) -> None:
    reading = read_limits(headers)
    for standing in (reading.standings or {}).values():
        assert 0 < standing.per_minute < math.inf
        assert standing.remaining is None or 0 <= standing.remaining < math.inf
    assert set(reading.standings or ()) != {INPUT_TOKENS, TOKENS}
    assert reading.organization != ""


@pytest.mark.parametrize("value", ["1e-320", "1e-9"])
def test_a_limit_of_next_to_nothing_is_none(value: str) -> None:
    """It would stop the pool for ever, or divide by nothing."""
    assert not read_limits({"anthropic-ratelimit-requests-limit": value}).standings
