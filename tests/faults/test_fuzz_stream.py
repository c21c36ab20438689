"""Streams that were changed on their way, over a real socket: a whole answer or a failure of the service, never half.

What a stream says is read a second time here, by the letter of the event stream format, to compare with.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agentdash.model import FailureClass
from tests.faults.mutation import mutated
from tests.faults.raw_server import RawServer, Request, message_events, sse
from tests.processors.asking import Asked, ask

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n"
TOOL = {"type": "tool_use", "id": "u", "name": "n", "input": {}}
EVENTS: list[dict[str, Any]] = [
    *message_events("Hello é漢 " * 3)[:4],
    {"type": "ping"},
    {"type": "content_block_start", "index": 1, "content_block": TOOL},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a": '}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "[1]}"}},
    {"type": "content_block_stop", "index": 1},
    *message_events("")[-2:],
]
WHOLE = b"".join(map(sse, EVENTS))
SERVICE = {FailureClass.SERVICE, FailureClass.OVERLOAD}
MANY = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass
class Saying:
    """A server that says what it is told to, in pieces, with a length or until it hangs up."""

    body: bytes = b""
    cuts: list[int] = field(default_factory=list)
    length: int | None = None
    url: str = ""

    def __call__(self, _: Request) -> Iterator[bytes]:
        size = b"content-length: %d\r\n" % self.length if self.length is not None else b""
        yield HEAD + size + b"\r\n"
        ends = [*sorted(min(cut, len(self.body)) for cut in self.cuts), len(self.body)]
        yield from (self.body[start:end] for start, end in zip([0, *ends], ends, strict=False))


@pytest.fixture(scope="module")
def saying() -> Iterator[Saying]:
    """One server for all examples."""
    said = Saying()
    with RawServer(said) as server:
        said.url = server.url
        yield said


def asked(said: Saying, body: bytes, cuts: list[int] | None = None, length: int | None = None) -> Asked:
    """One request that this body answers."""
    said.body, said.cuts, said.length = body, cuts or [], length
    return asyncio.run(ask(said.url, idle_timeout_s=5, first_token_timeout_s=5))


pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def read_again(body: bytes) -> list[Any]:
    """The events of a body up to the last whole one, as far as their data are JSON."""
    events = []
    for block in re.split(r"(?:\r\n|\n|\r){2,}", body.decode("utf-8", "replace")):
        lines = [line for line in re.split(r"\r\n|\n|\r", block) if line.startswith("data:")]
        try:
            events.append(json.loads("\n".join(line[5:].removeprefix(" ") for line in lines)))
        except ValueError:
            events.append(None)
    return events


def text_of(events: list[Any]) -> str:
    """The text that whole events carry, in the order of their blocks."""
    blocks: dict[int, str] = {}
    for event in events:
        if not isinstance(event, dict):
            continue
        if event.get("type") == "content_block_start" and event["content_block"].get("type") == "text":
            blocks[event["index"]] = str(event["content_block"].get("text") or "")
        # A block of another kind may have text, too, which is not the answer's.
        elif event.get("type") == "content_block_delta" and event["index"] in blocks:
            blocks[event["index"]] += event["delta"]["text"] if event["delta"].get("type") == "text_delta" else ""
    return "".join(blocks[index] for index in sorted(blocks))


def assert_whole_or_trouble(result: Asked, body: bytes) -> None:
    """An answer has all of the text that was sent, and the stream said that it was at its end."""
    assert (result.answer is None) != (result.failure is None)
    if result.failure is not None:
        assert result.failure.failure_class in SERVICE, result.error
        assert result.failure.message.isprintable()
        assert not result.failure.permanent
        return
    assert result.answer is not None
    events = read_again(body)
    kinds = [event.get("type") for event in events if isinstance(event, dict)]
    assert "message_stop" in kinds
    assert "error" not in kinds
    assert result.answer.output == text_of(events)
    assert len("".join(result.progress)) >= len(result.answer.output)
    if result.answer.usage is not None:
        assert all(0 <= count < 2**63 for count in vars_of(result.answer.usage))


def vars_of(usage: object) -> list[int]:
    return [getattr(usage, name) for name in usage.__slots__]  # type: ignore[attr-defined]


@MANY
@given(mutated(WHOLE), st.lists(st.integers(0, len(WHOLE)), max_size=4))
@example(WHOLE.replace(b'"output_tokens": 5', b'"output_tokens": ' + b"9" * 30), [])
@example(WHOLE.replace(b'"output_tokens": 5', b'"output_tokens": ' + b"9" * 5000), [])
@example(WHOLE.replace(b'"output_tokens": 5', b'"output_tokens": -5'), [])
@example(WHOLE.replace(b'"output_tokens": 5', b'"output_tokens": 1e999'), [])
@example(WHOLE.replace(b'"input_tokens": 10', b'"input_tokens": ' + b"[" * 5000), [])
@example(WHOLE + WHOLE, [])
def test_changed_bytes(saying: Saying, body: bytes, cuts: list[int]) -> None:
    assert_whole_or_trouble(asked(saying, body, cuts), body)


@MANY
@given(st.lists(st.sampled_from(EVENTS), max_size=14), st.lists(st.integers(0, len(WHOLE)), max_size=3))
@example([event for event in EVENTS if event["type"] != "content_block_stop"], [])
@example([event for event in EVENTS if event["type"] != "content_block_start"], [])
@example([*EVENTS, EVENTS[2]], [])
@example([*EVENTS[:3], EVENTS[0], *EVENTS[3:]], [])
@example([EVENTS[0], *EVENTS[-2:]], [])
def test_events_in_any_order(saying: Saying, events: list[dict[str, Any]], cuts: list[int]) -> None:
    body = b"".join(map(sse, events))
    assert_whole_or_trouble(asked(saying, body, cuts), body)


def test_split_at_any_byte(saying: Saying) -> None:
    chance = random.Random(4711)
    for cut in chance.sample(range(len(WHOLE)), 30):
        result = asked(saying, WHOLE, [cut, min(len(WHOLE), cut + 1)])
        assert result.answer is not None, (cut, result.error)
        assert result.answer.output == "Hello é漢 " * 3


def test_cut_at_any_byte(saying: Saying) -> None:
    """The connection ends too early, with a length that was promised and without one."""
    chance = random.Random(4711)
    whole = WHOLE.index(b"event: message_stop") + len(sse({"type": "message_stop"})) - 2
    for cut in [*chance.sample(range(len(WHOLE)), 30), whole - 1]:
        for length in (None, len(WHOLE)):
            result = asked(saying, WHOLE[:cut], length=length)
            assert_whole_or_trouble(result, WHOLE[:cut])
            assert result.failure is not None or cut >= whole
