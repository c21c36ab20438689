"""What is known of one task, as text under heads: for the screen that shows it and for the file that keeps it.

Made off the event loop: a task may hold megabytes. Nothing is cleaned here; whoever draws does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agentdash.figures import local_time, work
from agentdash.model import FINISHED_STATES, Attempt, KeptOutput, LinkedTask, TaskDetail, TaskState
from agentdash.ui.format import NONE, span, task_look, task_word

_MOST_JSON: Final = 100_000
_ONE_LINE: Final = 60
"""JSON that is no longer stands on one line."""
_ORGANIZATION_CHARS = 8
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""What a file leaves out: who looks at it in a terminal must not be steered by it."""
_OUTCOMES: Final = {
    "succeeded": ("✔", "done"),
    "failed": ("✖", "failed"),
    "task": ("✖", "refused"),
    "limited": ("✖", "rate limited"),
    "quota": ("✖", "quota used up"),
    "credential": ("✖", "key refused"),
    "overload": ("✖", "server overloaded"),
    "service": ("✖", "service error"),
    "crash": ("✖", "process died"),
    "crashed": ("✖", "process died"),
    "cancelled": ("⊘", "cancelled"),
    "pending": ("○", "put back"),
}
"""How an attempt ended, for people. Anything else (it was interrupted, it was not sent) leaves the task pending."""
_API_ERROR = re.compile(r"[a-z_]+_error|4\d\d")
"""What the API calls its errors; those of Python are written otherwise."""

_ELSEWHERE = "Nothing yet. What a worker of another process writes can be seen when it has finished."


@dataclass(frozen=True, slots=True)
class TaskText:
    """The parts of a task as text. `answer` is "" where there is none."""

    parameters: str
    prompt: str
    attempts: str
    answer: str
    usage: str
    error: str = ""
    task_id: str = ""
    after: str = ""
    needed_by: str = ""
    kept: tuple[str, str] = ("", "")
    """The head and the text of what the last attempt's program has written, where that is no answer."""

    def sections(self, state: TaskState, *, live: bool) -> list[tuple[str, str]]:
        """(head, text) of what there is to read: how it ended comes first. Live output takes the answer's place."""
        output = "" if live or state is TaskState.PENDING else self.answer
        parts: tuple[tuple[str, str], ...]
        known = "\n".join(part for part in (self._id_line, self.parameters) if part)
        prompt, attempts, parameters = ("Prompt", self.prompt), ("Attempts", self.attempts), ("Parameters", known)
        after, needed_by = ("Waits for", self.after), ("Needed by", self.needed_by)
        if state in FINISHED_STATES:
            error = self.error if state is TaskState.FAILED else ""
            ended = (("Error", error), ("Output", output), self.kept)
            parts = (*ended, prompt, attempts, ("Usage", self.usage), parameters, needed_by)
        else:
            if not output and not live and state is TaskState.RUNNING:
                output = _ELSEWHERE
            first = (after,) if state is TaskState.PENDING else ()
            kept = self.kept if state is TaskState.PENDING else ("", "")
            ends = (attempts, ("Usage", self.usage), ("Output", output), kept)
            parts = (*first, prompt, parameters, needed_by, *ends)
        return [(head, text) for head, text in parts if text]

    @property
    def _id_line(self) -> str:
        """The whole id: the title has room for a part of a long one only."""
        return f"id: {self.task_id}" if self.task_id else ""


def describe(detail: TaskDetail) -> TaskText:
    """Everything of a task as text."""
    parameters, prompt = _split(detail.payload)
    return TaskText(
        parameters="\n".join(_field(name, value) for name, value in parameters.items()),
        prompt=prompt,
        attempts="\n".join(_attempt(attempt) for attempt in detail.history) or _not_tried(detail),
        answer=answer_of(detail.result),
        usage="\n".join(_usage(detail)),
        error=_error(detail),
        task_id=detail.row.id,
        after="\n".join(map(_link, detail.after)),
        needed_by="\n".join(map(_link, detail.needed_by)),
        kept=_kept(detail.kept),
    )


def _kept(kept: KeptOutput | None) -> tuple[str, str]:
    """What the program of a failed attempt wrote is why it failed, more often than not."""
    if kept is None:
        return "", ""
    before = f"… {kept.left_out:,} bytes before this are in the file …\n" if kept.left_out else ""
    return f"Output of attempt {kept.attempt}", f"{kept.path}\n\n{before}{kept.text}"


def _link(link: LinkedTask) -> str:
    """A task that this one waits for, or that waits for it, and how that stands."""
    look = task_look(link.state)
    return f"{look.glyph} {link.id}  {task_word(link.state)}{', held' if link.held else ''}"


def saved_text(task_id: str, text: TaskText) -> str:
    """A task as a Markdown file: what was asked, how, and what came back."""
    parts = [f"# {task_id}"]
    for head, part in (("Parameters", text.parameters), ("Prompt", text.prompt), ("Answer", text.answer), text.kept):
        if part:
            parts.append(f"## {head}\n\n{part}")
    return _CONTROL.sub("", "\n\n".join(parts)) + "\n"


def answer_of(result: Mapping[str, Any] | None) -> str:
    """The answer in a line of the results file."""
    details = _mapping(_mapping(result).get("agentdash"))
    output = details.get("output")
    if isinstance(output, str) and output:
        return output
    value = details.get("value")
    return "" if value is None else _text(value)


def _split(payload: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """(everything but the prompt, the prompt or the messages)."""
    rest = dict(payload)
    params = rest.get("params")
    if isinstance(params, Mapping) and isinstance(params.get("messages"), Sequence):
        rest["params"] = {name: value for name, value in params.items() if name != "messages"}
        if not rest["params"]:
            del rest["params"]
        return rest, "\n\n".join(_message(message) for message in params["messages"])
    prompt = rest.pop("prompt", "")
    return rest, _text(prompt)


def _message(message: Any) -> str:
    if not isinstance(message, Mapping):
        return _text(message)
    content = message.get("content")
    blocks = content if isinstance(content, list) else [content]
    said = "\n".join(_block(block) for block in blocks)
    return f"{message.get('role', '?')}:\n{said}"


def _block(block: Any) -> str:
    if isinstance(block, Mapping) and block.get("type") == "text" and isinstance(block.get("text"), str):
        return str(block["text"])
    return _text(block)


def _field(name: str, value: Any) -> str:
    text = _text(value)
    return f"{name}:\n{_indented(text)}" if "\n" in text else f"{name}: {text}"


def _text(value: Any) -> str:
    """A string as it is, anything else as JSON that is easy to read, cut off where it is endless."""
    if isinstance(value, str):
        return value
    if len(text := _json(value, _ONE_LINE, None)) <= _ONE_LINE:
        return text
    text = _json(value, _MOST_JSON, 2)
    return text if len(text) <= _MOST_JSON else f"{text[:_MOST_JSON]}\n… and more"


def _json(value: Any, most: int, indent: int | None) -> str:
    """A value as JSON; no more of it is made than shows that it is longer than `most`."""
    found: list[str] = []
    room = most
    try:
        for piece in json.JSONEncoder(indent=indent, ensure_ascii=False, default=repr).iterencode(value):
            found.append(piece)
            room -= len(piece)
            if room < 0:
                break
    except (RecursionError, ValueError):
        found.append("… and more, too deep to be shown")
    return "".join(found)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


def _not_tried(detail: TaskDetail) -> str:
    if detail.row.state is TaskState.RUNNING:
        return f"The first one began {local_time(detail.claimed_at)}."
    return "None yet." if detail.row.state is TaskState.PENDING else "None."


def _attempt(attempt: Attempt) -> str:
    """How it ended, when, how long and by whom; an error and the request's id below it."""
    glyph, outcome = _OUTCOMES.get(attempt.outcome, ("○", attempt.outcome))
    if attempt.outcome == "task" and not _API_ERROR.fullmatch(attempt.error_type or ""):
        outcome = "failed"  # an exception of a function's own: nobody refused anything
    took = span(attempt.finished_at - attempt.started_at)
    organization = (attempt.organization or "")[:_ORGANIZATION_CHARS]  # as keys and events call it
    who = "  ".join(part for part in (attempt.worker, attempt.credential, organization) if part)
    lines = [f"{attempt.fence}. {glyph} {outcome}  {local_time(attempt.started_at)}  {took}  {who or NONE}"]
    if attempt.error_type:
        lines.append(_indented(f"{attempt.error_type}: {attempt.error_message or ''}"))
    if attempt.request_id:
        lines.append(f"  request {attempt.request_id}")
    return "\n".join(lines)


def _error(detail: TaskDetail) -> str:
    """What a failed task failed of: as its line of the results file says, or else its last attempt."""
    said = _mapping(_mapping(_mapping(detail.result).get("result")).get("error"))
    kind, message = said.get("type"), said.get("message")
    if not said and detail.history:
        kind, message = detail.history[-1].error_type, detail.history[-1].error_message
    return ": ".join(_text(part) for part in (kind, message) if part)


def _usage(detail: TaskDetail) -> Iterator[str]:
    """Tokens, cost, times and names of a finished task. What an error's attempt tells is not told again."""
    line = _mapping(detail.result)
    if not line:
        return
    details, result = _mapping(line.get("agentdash")), _mapping(line.get("result"))
    message, error = _mapping(result.get("message")), _mapping(result.get("error"))
    tokens = _mapping(details.get("usage"))
    if worktree := _mapping(_mapping(details.get("value")).get("worktree")):
        yield f"worktree: {work(worktree)}"
    if shown := [f"{_plain(name)} {number:,}" for name, number in tokens.items() if isinstance(number, int) and number]:
        yield f"tokens: {', '.join(shown)}"
    if isinstance(cost := details.get("cost_usd"), int | float):
        yield f"cost: ${cost:,.6f}"
    is_told = detail.row.state is TaskState.FAILED and bool(detail.history)
    for name, key in (("first token", "first_token_s"), ("duration", "duration_s")):
        if isinstance(seconds := details.get(key), int | float) and not (is_told and name == "duration"):
            yield f"{name}: {span(seconds)}"
    request = details.get("request_id") or error.get("request_id") or _last_request(detail)
    of_attempt = (
        ("worker", details.get("worker")),
        ("credential", details.get("credential")),
        ("organization", details.get("organization")),
        ("request", request),
    )
    of_answer = (
        ("model", message.get("model")),
        ("stopped by", message.get("stop_reason")),
        ("message", message.get("id")),
    )
    for name, value in (*(() if is_told else of_attempt), *of_answer):
        if value:
            yield f"{name}: {value}"
    if detail.service_failures:
        yield f"service failures: {detail.service_failures:,}"
    if detail.crashes:
        yield f"crashes: {detail.crashes:,}"


def _last_request(detail: TaskDetail) -> str | None:
    return detail.history[-1].request_id if detail.history else None


def _plain(name: object) -> str:
    return str(name).removesuffix("_tokens").replace("_", " ")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
