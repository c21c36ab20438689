"""The exceptions that the SDK makes of answers, and what becomes of an exception."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2

from agentdash.engine.errorfacts import describe
from agentdash.engine.failures import classify
from agentdash.model import Failure
from tests.support.virtual_loop import EPOCH

KEY = "sk-ant-api03-Zx9-abcdefghijklmnopqrstuvwxyz0123456789-AA"
REQUEST = httpx2.Request("POST", "https://api.anthropic.com/v1/messages", headers={"x-api-key": KEY})
CLIENT = anthropic.Anthropic(api_key=KEY, base_url="https://api.anthropic.com")


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
