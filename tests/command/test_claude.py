"""What the real Claude Code wrote (tests/agents/recorded), understood: who pays for each way it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.command.claude import ClaudeReader
from agentdash.engine.command.verdict import Ended, FailureRule
from agentdash.engine.failures import StatedFailureError
from agentdash.model import Answer, Failure, FailureClass, Usage

RECORDED = Path(__file__).parents[1] / "agents" / "recorded"
CASES: dict[str, dict[str, Any]] = json.loads((RECORDED / "cases.json").read_text())
SESSION = "00000000-0000-4000-8000-000000000001"
DECEMBER = 1796083200.0

FAILURES = {
    "bad-request": (FailureClass.TASK, True),
    "cut": (FailureClass.SERVICE, False),
    "dropped": (FailureClass.SERVICE, False),
    "error-event": (FailureClass.OVERLOAD, False),
    "forbidden": (FailureClass.CREDENTIAL, False),
    "interrupted": (FailureClass.TASK, False),
    "interrupted-request": (FailureClass.TASK, False),
    "killed": (FailureClass.TASK, False),
    "max-budget": (FailureClass.TASK, True),
    "max-turns": (FailureClass.TASK, True),
    "no-connection": (FailureClass.OVERLOAD, False),
    "no-key": (FailureClass.CREDENTIAL, False),
    "no-such-model": (FailureClass.TASK, True),
    "out-of-credit": (FailureClass.QUOTA, False),
    "overloaded": (FailureClass.OVERLOAD, False),
    "overloaded-midway": (FailureClass.OVERLOAD, False),
    "quota": (FailureClass.QUOTA, False),
    "quota-400": (FailureClass.QUOTA, False),
    "rate-limited": (FailureClass.LIMITED, False),
    "refusal": (FailureClass.TASK, True),
    "refused-key": (FailureClass.CREDENTIAL, False),
    "retried-key": (FailureClass.CREDENTIAL, False),
    "retried-limit": (FailureClass.LIMITED, False),
    "server-error": (FailureClass.SERVICE, False),
    "session-id-twice": (FailureClass.TASK, False),
    "session-unknown": (FailureClass.TASK, False),
    "stream-stalled": (FailureClass.SERVICE, False),
    "terminated": (FailureClass.TASK, False),
    "timed-out": (FailureClass.SERVICE, False),
}
SUCCESSES = {"success", "tool-use", "permission-denied", "retried", "resumed", "resumed-again"}


class Played:
    """One recording, read to its end."""

    def __init__(self, case: str, session: dict[str, Any] | None = None, rules: tuple[FailureRule, ...] = ()) -> None:
        reader = ClaudeReader(session or {}, rules)
        self.shown = ""
        self.sessions: list[Any] = []
        self.waits: list[tuple[float, str]] = []
        self.answer: Answer | None = None
        self.failure: Failure | None = None
        try:
            for line in (RECORDED / f"{case}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True):
                self.shown += reader.read(line)
                if (wait := reader.wait()) is not None:
                    self.waits.append(wait)
                if (news := reader.session()) is not None:
                    self.sessions.append(news)
            self.answer = reader.answer(Ended(CASES[case]["exit"], CASES[case]["stderr"]))
        except StatedFailureError as stated:
            self.failure = stated.failure


def failure_of(case: str) -> Failure:
    failure = Played(case).failure
    assert failure is not None
    return failure


def answer_of(case: str) -> Answer:
    answer = Played(case).answer
    assert answer is not None
    return answer


def test_every_recording_is_looked_at() -> None:
    assert {path.stem for path in RECORDED.glob("*.jsonl")} == set(FAILURES) | SUCCESSES


@pytest.mark.parametrize("case", sorted(FAILURES))
def test_who_pays_for_a_failure(case: str) -> None:
    failure = failure_of(case)
    assert (failure.failure_class, failure.permanent) == FAILURES[case]
    assert failure.message


def test_a_quota_says_until_when_and_a_limit_for_how_long() -> None:
    assert failure_of("quota").until == failure_of("quota-400").until == DECEMBER
    limited = failure_of("retried-limit")
    assert (limited.status_code, limited.retry_after) == (429, 3.719)


@pytest.mark.parametrize("case", sorted(SUCCESSES))
def test_what_a_session_brought(case: str) -> None:
    answer = answer_of(case)
    assert answer.output
    assert answer.cost_usd
    assert answer.usage
    assert answer.usage.output_tokens > 0
    assert answer.value["session_id"] == SESSION


def test_each_run_of_a_session_has_its_own_cost_and_nothing_is_counted_twice() -> None:
    first = Played("resumed")
    then = Played("resumed-again", first.sessions[-1])
    assert first.answer is not None
    assert then.answer is not None
    assert (first.answer.cost_usd, first.answer.usage) == (0.09816, Usage(24085, 91))
    assert then.answer.cost_usd == pytest.approx(0.148424 - 0.09816)
    assert then.answer.usage == Usage(36206 - 24085, 180 - 91)


def test_what_was_spent_by_a_run_without_a_result_is_counted_with_the_next_one() -> None:
    """It was told to end, and the session's figures hold what it used."""
    then = Played("resumed-again", {"id": SESSION})
    assert then.answer is not None
    assert (then.answer.cost_usd, then.answer.usage) == (0.148424, Usage(36206, 180))


def test_what_was_spent_by_a_run_that_was_killed_is_not_guessed() -> None:
    """The session's figures have begun anew: there is only what this run has said of itself."""
    then = Played("resumed-again", {"id": SESSION, "counted": [0.5, 99_000, 900, 0, 0]})
    assert then.answer is not None
    assert then.answer.cost_usd == pytest.approx(0.050264)
    assert then.answer.usage == Usage(12121, 89)


def test_a_failure_has_cost_something_as_well() -> None:
    for case in ("max-turns", "refusal", "overloaded-midway", "cut", "interrupted"):
        failure = failure_of(case)
        assert failure.cost_usd
        assert failure.usage
    assert failure_of("overloaded-midway").usage == Usage(11911, 38)
    assert failure_of("overloaded-midway").cost_usd == pytest.approx(0.048404)
    assert failure_of("overloaded").cost_usd == 0
    assert failure_of("terminated").cost_usd is None


def test_what_was_not_allowed_is_kept() -> None:
    played = Played("permission-denied")
    assert played.answer is not None
    (denial,) = played.answer.value["permission_denials"]
    assert denial == {"tool": "Write", "input": {"file_path": "/project/notes.txt", "content": "one\n"}}
    assert "[not allowed: Write]\n" in played.shown


def test_what_it_does_can_be_watched() -> None:
    shown = Played("tool-use").shown
    assert "▸ Write notes.txt\n" in shown
    assert "▸ Bash cat notes.txt\n  two\n" in shown
    assert "Looking at" in shown
    assert "[529 overloaded: it asks again in 0.5 s]\n" in Played("retried").shown
    assert Played("retried").waits == [(0.535, "529 overloaded")]
    assert Played("overloaded").shown.startswith("[API Error: 529 Overloaded.")


def test_a_session_is_kept_once_it_has_answered_and_told_once() -> None:
    begun, ended = Played("tool-use").sessions
    assert begun == {"id": SESSION}
    assert ended == {"id": SESSION, "counted": [0.244488, 59827, 259, 0, 0]}
    assert Played("killed").sessions == [{"id": SESSION}]
    assert Played("tool-use", {"id": SESSION}).sessions == [ended]
    for case in ("overloaded", "refused-key", "no-connection", "interrupted-request"):  # nothing to go on with
        assert Played(case).sessions == []


def test_a_session_that_is_gone_is_forgotten() -> None:
    assert Played("session-unknown", {"id": SESSION}).sessions == [{}]


def test_what_the_user_says_of_failures_goes_first() -> None:
    rule = FailureRule(FailureClass.SERVICE, exit_code=143)
    assert Played("terminated", rules=(rule,)).failure.failure_class is FailureClass.SERVICE  # type: ignore[union-attr]
    assert Played("overloaded", rules=(rule,)).failure.failure_class is FailureClass.OVERLOAD  # type: ignore[union-attr]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    "is_error", "result", "errors", "api_error_status", "api_error", "api_error_type", "terminal_reason", "modelUsage",
    "model_usage_since_last_result", "permission_denials", "session_id", "total_cost_usd", "stop_reason",
    "error_status", "error", "retry_delay_ms",
)  # fmt: skip
blocks = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "tool_use", "tool_result"])},
    optional=dict.fromkeys(("text", "name", "input", "content", "is_error"), json_values),
)
messages = json_values | st.fixed_dictionaries({"content": json_values | st.lists(blocks | json_values, max_size=3)})
events = st.fixed_dictionaries(
    {"type": st.sampled_from(["result", "system", "assistant", "user", "other"])},
    optional=dict.fromkeys(NAMES, json_values)
    | {"message": messages, "subtype": st.sampled_from(["api_retry", "permission_denied", "success"])},
)


@given(events=st.lists(events, max_size=6), noise=st.text(max_size=20), code=st.integers(-9, 255))
def test_whatever_it_writes_is_an_answer_or_a_failure(events: list[dict[str, Any]], noise: str, code: int) -> None:
    reader = ClaudeReader({})
    try:
        for event in events:
            assert isinstance(reader.read(json.dumps(event) + "\n"), str)
        reader.read(noise)
        assert isinstance(reader.answer(Ended(code, "")), Answer)
    except StatedFailureError:
        pass
