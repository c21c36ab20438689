"""Understands the stream of JSON that Claude Code writes (`--output-format stream-json --verbose`).

What stands here is what version 2.1.329 was seen to do (tests/agents/recorded). Failures say
`"subtype": "success"`, too: `is_error`, `api_error_status` and the exit code decide. And it may end with code 0 without
any result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from agentdash.engine.command.verdict import Ended, FailureRule, describe_end, ruled
from agentdash.engine.failures import ErrorFacts, StatedFailureError, classify
from agentdash.model import Answer, Failure, FailureClass, Usage

_NAME: Final = "ClaudeCode"
_MADE_UP: Final = "<synthetic>"
"""The model of messages that the program writes itself, such as those of errors."""
_UNREACHABLE: Final = re.compile(
    r"ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|connection refused", re.IGNORECASE
)
_TIMED_OUT: Final = re.compile(r"timed? ?out", re.IGNORECASE)
_NOT_LOGGED_IN: Final = re.compile(r"not logged in|/login", re.IGNORECASE)
_NO_SESSION: Final = "No conversation found"
_LIMITED, _REFUSED = 429, frozenset({401, 403})
_LONGEST_SHOWN: Final = 300
_LARGEST: Final = 1e15


class ClaudeReader:
    """One attempt's session of Claude Code.

    `session` is what earlier attempts have left: the id to go on with. Only a session in which something was answered
    is worth going on with; and one that the program does not know any more is forgotten.
    """

    def __init__(self, session: Mapping[str, Any], rules: tuple[FailureRule, ...] = ()) -> None:
        self._rules = rules
        self._known = session.get("id")
        self._news: Mapping[str, Any] | None = None
        self._result: Mapping[str, Any] | None = None

    def read(self, line: str) -> str:
        """Take a line. Raises `StatedFailureError` for a retry of its own that is ours to decide."""
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return line  # said beside the stream
        if not isinstance(event, Mapping):
            return line
        reader = _READERS.get(str(event.get("type")))
        return "" if reader is None else reader(self, event)

    def session(self) -> Mapping[str, Any] | None:
        """The session, when it has become worth keeping, or is to be forgotten; told once."""
        news, self._news = self._news, None
        return news

    def answer(self, ended: Ended) -> Answer:
        """What the session brought. Raises `StatedFailureError`."""
        result = self._result
        if result is None:
            raise ruled(ended, self._rules) or StatedFailureError(
                FailureClass.TASK, f"ended without a result ({describe_end(ended)})", error_type="NoResult"
            )
        if result.get("is_error") or ended.exit_code:
            raise ruled(ended, self._rules) or StatedFailureError.of(_failure(result, ended))
        return Answer(
            output=_text(result.get("result")),
            value={
                "session_id": result.get("session_id"),
                "turns": result.get("num_turns"),
                "permission_denials": _denials(result),
            },
            usage=_usage(result),
            cost_usd=_number(result.get("total_cost_usd")),
        )

    # -- events ------------------------------------------------------------------------------------------------------
    def _system(self, event: Mapping[str, Any]) -> str:
        if event.get("subtype") == "api_retry":
            return self._retry(event)
        if event.get("subtype") == "permission_denied":
            return f"[not allowed: {_short(event.get('tool_name') or event.get('message') or 'a tool')}]\n"
        return ""

    def _retry(self, event: Mapping[str, Any]) -> str:
        """Its own retry: of an overload it may go on, but keys and limits are not its business."""
        status, wait_s = _status(event.get("error_status")), (_number(event.get("retry_delay_ms")) or 0.0) / 1000
        what = f"{status or ''} {_short(event.get('error'))}".strip()
        if status == _LIMITED:
            raise StatedFailureError(FailureClass.LIMITED, what, status_code=_LIMITED, retry_after=wait_s)
        if status in _REFUSED:
            raise StatedFailureError(FailureClass.CREDENTIAL, what, status_code=status)
        return f"[{what}: it asks again in {wait_s:.1f} s]\n"

    def _assistant(self, event: Mapping[str, Any]) -> str:
        message = event.get("message")
        if not isinstance(message, Mapping) or message.get("model") == _MADE_UP:
            return ""
        session = event.get("session_id")
        if isinstance(session, str) and session != self._known:
            self._known, self._news = session, {"id": session}
        return "".join(_shown(block) for block in _blocks(message))

    def _user(self, event: Mapping[str, Any]) -> str:
        message = event.get("message")
        return "".join(_shown(block) for block in _blocks(message)) if isinstance(message, Mapping) else ""

    def _end(self, event: Mapping[str, Any]) -> str:
        self._result = event
        if not event.get("is_error"):
            return ""
        if _NO_SESSION in _errors(event):
            self._known, self._news = None, {}
        return f"[{_short(_words(event))}]\n"


_READERS: Final[Mapping[str, Callable[[ClaudeReader, Mapping[str, Any]], str]]] = {
    "system": ClaudeReader._system,
    "assistant": ClaudeReader._assistant,
    "user": ClaudeReader._user,
    "result": ClaudeReader._end,
}


def _failure(result: Mapping[str, Any], ended: Ended) -> Failure:
    """Who pays for an end: the tables of `failures` know by status, the rest is told by its words."""
    words, reason = _words(result) or describe_end(ended), _text(result.get("terminal_reason"))
    status, name = _status(result.get("api_error_status")), _text(result.get("api_error_type")) or None
    if status is not None:
        return classify(ErrorFacts(_NAME, words, status_code=status, api_type=name))
    refused = result.get("stop_reason") == "refusal"
    if reason == "api_error" and not refused:
        if _NOT_LOGGED_IN.search(words):
            return Failure(FailureClass.CREDENTIAL, _NAME, words)
        trouble = "unreachable" if _UNREACHABLE.search(words) else "timeout" if _TIMED_OUT.search(words) else "dropped"
        return classify(ErrorFacts(_text(result.get("api_error")) or _NAME, words, trouble=trouble))
    # A limit that was reached, or a refusal: once more would be the same, and cost the same.
    permanent = refused or reason in ("max_turns", "budget_exhausted")
    return Failure(FailureClass.TASK, "refusal" if refused else reason or _NAME, words, permanent=permanent)


def _words(result: Mapping[str, Any]) -> str:
    return _text(result.get("result")) or _errors(result) or _text(result.get("subtype"))


def _errors(result: Mapping[str, Any]) -> str:
    errors = result.get("errors")
    return "; ".join(map(_text, errors)) if isinstance(errors, list) else ""


def _usage(result: Mapping[str, Any]) -> Usage | None:
    """All models' tokens together: of the whole session, as the cost is, where `usage` is of the last part only."""
    models = result.get("modelUsage")
    found = [m for m in models.values() if isinstance(m, Mapping)] if isinstance(models, Mapping) else []
    if not found:
        return None
    names = ("inputTokens", "outputTokens", "cacheCreationInputTokens", "cacheReadInputTokens")
    return Usage(*(sum(int(_number(model.get(name)) or 0) for model in found) for name in names))


def _denials(result: Mapping[str, Any]) -> list[Any]:
    denials = result.get("permission_denials")
    return [
        {"tool": denial.get("tool_name"), "input": denial.get("tool_input")}
        for denial in (denials if isinstance(denials, list) else ())
        if isinstance(denial, Mapping)
    ]


def _blocks(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    content = message.get("content")
    return (block for block in content if isinstance(block, Mapping)) if isinstance(content, list) else iter(())


def _shown(block: Mapping[str, Any]) -> str:
    """A part of the conversation, as it is shown while the task runs."""
    kind = block.get("type")
    if kind == "text":
        return f"{_text(block.get('text'))}\n"
    if kind == "tool_use":
        given = block.get("input")
        words = next((v for v in given.values() if isinstance(v, str)), "") if isinstance(given, Mapping) else ""
        return f"▸ {_short(block.get('name'))} {_short(words)}\n"
    if kind == "tool_result":
        content = block.get("content")
        parts = content if isinstance(content, list) else [content]
        words = " ".join(_text(part.get("text") if isinstance(part, Mapping) else part) for part in parts)
        return f"  {'✖ ' if block.get('is_error') else ''}{_short(words)}\n"
    return ""


def _short(value: Any) -> str:
    words = " ".join(_text(value)[: 4 * _LONGEST_SHOWN].split())
    return words if len(words) <= _LONGEST_SHOWN else f"{words[:_LONGEST_SHOWN]}…"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    """A number that can be counted with; None for all else."""
    return float(value) if type(value) in (int, float) and 0 <= value < _LARGEST else None


def _status(value: Any) -> int | None:
    """A status of HTTP that says what failed."""
    return value if type(value) is int and 400 <= value <= 599 else None
