"""The names of everything that can become of a request, in one place: config, rules, records and tests all use them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """What became of a request (`RequestRecord.kind`), or what a rule or a failure rate asks for."""

    PENDING = "pending"
    ANSWER = "answer"
    LONG = "long"
    TOOL_USE = "tool_use"
    REFUSAL = "refusal"
    SLOW = "slow"
    HANG = "hang"
    HANG_STREAM = "hang_stream"
    INVALID_REQUEST = "invalid_request"
    UNAUTHORIZED = "unauthorized"
    CREDIT = "credit"
    BILLING = "billing"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD = "method_not_allowed"
    TOO_LARGE = "too_large"
    UNPROCESSABLE = "unprocessable"
    RATE_LIMITED = "rate_limited"
    QUOTA = "quota"
    API_ERROR = "api_error"
    BAD_GATEWAY = "bad_gateway"
    UNAVAILABLE = "unavailable"
    GATEWAY_TIMEOUT = "gateway_timeout"
    OVERLOADED = "overloaded"
    DROP_BEFORE = "drop_before"
    RESET_BEFORE = "reset_before"
    DROP_STREAM = "drop_stream"
    RESET_STREAM = "reset_stream"
    CUT_STREAM = "cut_stream"
    ERROR_EVENT = "error_event"
    DISCONNECTED = "disconnected"
    BROKEN = "broken"


class ErrorShape(NamedTuple):
    """The HTTP answer for a kind of error."""

    status: int
    type: str
    message: str


ERRORS: Final[dict[Kind, ErrorShape]] = {
    Kind.INVALID_REQUEST: ErrorShape(400, "invalid_request_error", "messages: this input is refused by the simulator"),
    Kind.CREDIT: ErrorShape(
        400,
        "invalid_request_error",
        "Your credit balance is too low to access the Anthropic API. "
        "Please go to Plans & Billing to upgrade or purchase credits.",
    ),
    Kind.UNAUTHORIZED: ErrorShape(401, "authentication_error", "invalid x-api-key"),
    Kind.BILLING: ErrorShape(402, "billing_error", "There is an issue with your billing or payment information."),
    Kind.FORBIDDEN: ErrorShape(
        403, "permission_error", "Your API key does not have permission to use the specified resource."
    ),
    Kind.NOT_FOUND: ErrorShape(404, "not_found_error", "Not found"),
    Kind.METHOD: ErrorShape(405, "invalid_request_error", "Method Not Allowed"),
    Kind.TOO_LARGE: ErrorShape(413, "request_too_large", "Request exceeds the maximum size"),
    Kind.UNPROCESSABLE: ErrorShape(422, "invalid_request_error", "messages: the input could not be processed"),
    Kind.RATE_LIMITED: ErrorShape(
        429, "rate_limit_error", "This request would exceed your organization's rate limit. Please try again later."
    ),
    Kind.API_ERROR: ErrorShape(500, "api_error", "Internal server error"),
    Kind.BAD_GATEWAY: ErrorShape(502, "api_error", "Bad gateway"),
    Kind.UNAVAILABLE: ErrorShape(503, "api_error", "Service unavailable"),
    Kind.GATEWAY_TIMEOUT: ErrorShape(504, "timeout_error", "Request timed out"),
    Kind.OVERLOADED: ErrorShape(529, "overloaded_error", "Overloaded"),
}

RULE_KINDS: Final = frozenset(Kind) - {
    Kind.PENDING,
    Kind.UNAUTHORIZED,
    Kind.METHOD,
    Kind.QUOTA,
    Kind.DISCONNECTED,
    Kind.BROKEN,
}
