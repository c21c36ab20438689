"""Understands the stream of JSON that Claude Code writes (`--output-format stream-json --verbose`).

What stands here is what version 2.1.329 was seen to do (tests/agents/recorded). Failures say
`"subtype": "success"`, too: `is_error`, `api_error_status` and the exit code decide. And it may end with code 0 without
any result.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from agentdash.engine.command.sessioncost import SessionCost, number
from agentdash.engine.command.verdict import Ended, FailureRule, describe_end, ruled
from agentdash.engine.conversation import short, shown
from agentdash.engine.failures import ErrorFacts, StatedFailureError, classify
from agentdash.model import Answer, Failure, FailureClass

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


class ClaudeReader:
    """One attempt's session of Claude Code.

    `session` is what earlier attempts have left: the id to go on with, and what is counted of its cost. Only a session
    in which something was answered is worth going on with; and one that the program does not know any more is
    forgotten.
    """

    def __init__(self, session: Mapping[str, Any], rules: tuple[FailureRule, ...] = ()) -> None:
        self._rules = rules
        self._known = session.get("id")
        self._cost = SessionCost(session.get("counted"))
        self._news: Mapping[str, Any] | None = None
        self._result: Mapping[str, Any] | None = None
        self._wait: tuple[float, str] | None = None

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

    def wait(self) -> tuple[float, str] | None:
        """Its own wait before it asks again; told once."""
        wait, self._wait = self._wait, None
        return wait

    def session(self) -> Mapping[str, Any] | None:
        """The session, when it has become worth keeping, has cost something, or is to be forgotten; told once."""
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
            stated = ruled(ended, self._rules)
            failure = stated.failure if stated is not None else _failure(result, ended)
            raise StatedFailureError.of(replace(failure, usage=self._cost.usage, cost_usd=self._cost.cost_usd))
        return Answer(
            output=_text(result.get("result")),
            value={
                "session_id": result.get("session_id"),
                "turns": result.get("num_turns"),
                "permission_denials": _denials(result),
            },
            usage=self._cost.usage,
            cost_usd=self._cost.cost_usd,
        )

    # -- events ------------------------------------------------------------------------------------------------------
    def _system(self, event: Mapping[str, Any]) -> str:
        if event.get("subtype") == "api_retry":
            return self._retry(event)
        if event.get("subtype") == "permission_denied":
            return f"[not allowed: {short(event.get('tool_name') or event.get('message') or 'a tool')}]\n"
        return ""

    def _retry(self, event: Mapping[str, Any]) -> str:
        """Its own retry: of an overload it may go on, but keys and limits are not its business."""
        status, wait_s = _status(event.get("error_status")), (number(event.get("retry_delay_ms")) or 0.0) / 1000
        what = f"{status or ''} {short(event.get('error'))}".strip()
        if status == _LIMITED:
            raise StatedFailureError(FailureClass.LIMITED, what, status_code=_LIMITED, retry_after=wait_s)
        if status in _REFUSED:
            raise StatedFailureError(FailureClass.CREDENTIAL, what, status_code=status)
        self._wait = wait_s, what
        return f"[{what}: it asks again in {wait_s:.1f} s]\n"

    def _assistant(self, event: Mapping[str, Any]) -> str:
        message = event.get("message")
        if not isinstance(message, Mapping) or message.get("model") == _MADE_UP:
            return ""
        session = event.get("session_id")
        if isinstance(session, str) and session != self._known:
            self._known, self._news = session, {"id": session}
        return "".join(shown(block) for block in _blocks(message))

    def _user(self, event: Mapping[str, Any]) -> str:
        message = event.get("message")
        return "".join(shown(block) for block in _blocks(message)) if isinstance(message, Mapping) else ""

    def _end(self, event: Mapping[str, Any]) -> str:
        self._result = event
        self._cost.take(event)
        if isinstance(self._known, str) and (counted := self._cost.record()) is not None:
            self._news = {"id": self._known, "counted": list(counted)}
        if not event.get("is_error"):
            return ""
        if _NO_SESSION in _errors(event):
            self._known, self._news = None, {}
        return f"[{short(_words(event))}]\n"


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


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _status(value: Any) -> int | None:
    """A status of HTTP that says what failed."""
    return value if type(value) is int and 400 <= value <= 599 else None
