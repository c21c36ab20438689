"""The line of the results file for each way a task can end: a superset of the Message Batches result line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from agentdash.clock import isoformat
from agentdash.model import Answer, Attempt, Failure, TaskState, Usage

_MAX_DEPTH = 50
_MAX_INT = 10**4000  # Python refuses to write longer ones
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def succeeded_line(task_id: str, attempts: int, attempt: Attempt, answer: Answer, *, cost_before: float = 0.0) -> str:
    """The line of a task that went well; `cost_before` is what the attempts before this one have cost."""
    result = {"type": "succeeded", "message": answer.message}
    cost = answer.cost_usd + cost_before if answer.cost_usd is not None else None
    return _line(task_id, result, TaskState.SUCCEEDED, attempts, attempt, answer, cost)


def failed_line(task_id: str, attempts: int, attempt: Attempt, failure: Failure, *, cost_usd: float = 0.0) -> str:
    """The line of a task that failed for good; `cost_usd` is what all its attempts have cost."""
    error: dict[str, Any] = {"type": api_error_type(failure), "message": failure.message}
    if failure.status_code is not None:
        error["status_code"] = failure.status_code
    if failure.request_id is not None:
        error["request_id"] = failure.request_id
    result = {"type": "errored", "error": error}
    return _line(task_id, result, TaskState.FAILED, attempts, attempt, None, cost_usd or None)


def cancelled_line(
    task_id: str, attempts: int, finished_at: float, attempt: Attempt | None = None, *, cost_usd: float = 0.0
) -> str:
    """The line of a task that was cancelled, before it ran (`attempt` None) or while it did; `cost_usd` is what its
    attempts have cost."""
    attempt = attempt or Attempt(0, "", None, None, finished_at, finished_at, TaskState.CANCELLED)
    return _line(task_id, {"type": "canceled"}, TaskState.CANCELLED, attempts, attempt, None, cost_usd or None)


def api_error_type(failure: Failure) -> str:
    """The error type as the API names it, or the exception's name where the API said nothing."""
    if failure.error_type.endswith("_error") or failure.error_type == "request_too_large":
        return failure.error_type
    return _ERROR_TYPES.get(failure.status_code or 0, failure.error_type)


def _line(
    task_id: str,
    result: Mapping[str, Any],
    state: TaskState,
    attempts: int,
    attempt: Attempt,
    answer: Answer | None,
    cost_usd: float | None,
) -> str:
    details: dict[str, Any] = {
        "state": state.value,
        "attempts": attempts,
        "worker": attempt.worker or None,
        "credential": attempt.credential,
        "organization": attempt.organization,
        "started_at": isoformat(attempt.started_at),
        "finished_at": isoformat(attempt.finished_at),
        "duration_s": round(attempt.finished_at - attempt.started_at, 3),
        "usage": _usage(answer.usage) if answer and answer.usage else None,
        "cost_usd": cost_usd,
        "output": answer.output if answer else None,
    }
    if answer is not None and answer.first_token_s is not None:
        details["first_token_s"] = round(answer.first_token_s, 3)
    # The value of a function that returns the SDK's message is the message, which stands above already.
    if answer is not None and answer.value is not None and (answer.message is None or isinstance(answer.value, dict)):
        details["value"] = answer.value
    return to_json({"custom_id": task_id, "result": result, "agentdash": details})


def _usage(usage: Usage) -> dict[str, int]:
    return {  # by hand: `dataclasses.asdict` copies deeply and costs as much as the rest of the line
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_creation_input_tokens": usage.cache_creation_input_tokens,
        "cache_read_input_tokens": usage.cache_read_input_tokens,
    }


def to_json(value: Any) -> str:
    """Compact JSON that is always valid UTF-8: text with lone surrogates is written with escapes.

    What JSON cannot hold (a user's function may return anything) is written as its `repr`.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_repr)
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_repr)
    except (ValueError, TypeError, RecursionError):
        return json.dumps(_plain(value), separators=(",", ":"))
    return text


def _plain(value: Any, depth: int = 0) -> Any:
    """The slow way round what JSON does not take: NaN, Infinity, keys of other types, circles, enormous integers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        return {key if isinstance(key, str) else _repr(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, int) and abs(value) < _MAX_INT:
        return value
    return _repr(value)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a user's `__repr__`: the answer that was paid for must not be lost for it
        return f"<{type(value).__name__}>"
