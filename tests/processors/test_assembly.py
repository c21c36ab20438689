"""Whatever a stream says, the assembler makes a message of it or says that it is none: nothing else can happen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agentdash.engine.failures import ServiceTroubleError
from agentdash.engine.processors.assembly import MessageAssembler
from agentdash.engine.processors.messages import answer_of
from agentdash.model import Answer
from tests.processors.asking import END, START, STOP, STOP_BLOCK, TEXT_BLOCK, text

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
indexes = st.integers(-1, 3) | anything
words = st.sampled_from(["text", "tool_use", "thinking", "image", "citations"]) | anything
deltas = (
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                ["text_delta", "input_json_delta", "thinking_delta", "signature_delta", "citations_delta", "new_delta"]
            )
        },
        optional={
            "text": st.text(max_size=3) | anything,
            "partial_json": st.sampled_from(["{", "}", '{"a":', "1", ""]) | anything,
            "thinking": anything,
            "signature": anything,
            "citation": anything,
        },
    )
    | anything
)
usages = st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "cache_read_input_tokens"]), anything)
messages = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("message") | anything,
        "model": st.just("claude-sonnet-4-5") | anything,
        "content": st.just([]) | anything,
        "usage": usages | anything,
        "stop_reason": anything,
    },
)
blocks = st.fixed_dictionaries(
    {}, optional={"type": words, "text": st.text(max_size=3) | anything, "input": anything, "citations": anything}
)
events = (
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                [
                    "message_start",
                    "content_block_start",
                    "content_block_delta",
                    "content_block_stop",
                    "message_delta",
                    "message_stop",
                    "ping",
                    "another",
                ]
            )
        },
        optional={
            "message": messages | anything,
            "index": indexes,
            "content_block": blocks | anything,
            "delta": deltas | st.fixed_dictionaries({"stop_reason": st.sampled_from(["end_turn", None])}),
            "usage": usages | anything,
        },
    )
    | st.sampled_from([START, TEXT_BLOCK, text("x"), STOP_BLOCK, END, STOP])
    | anything
)
infinite = END | {"usage": {"output_tokens": float("inf")}}
deep: dict[str, Any] = {"type": "input_json_delta", "partial_json": "[" * 200_000}


@given(st.lists(events, max_size=12))
@example([START, TEXT_BLOCK, text("x"), STOP_BLOCK, infinite, STOP])
@example([START, TEXT_BLOCK, {"type": "content_block_delta", "index": 0, "delta": deep}, STOP_BLOCK, END, STOP])
def test_any_sequence_gives_an_answer_or_trouble(sequence: list[Any]) -> None:
    assembler = MessageAssembler()
    try:
        for event in sequence:
            assert isinstance(assembler.feed(event), str)
        message = assembler.finish()
        answer = answer_of(message, None, None)
    except ServiceTroubleError:
        return
    assert isinstance(answer, Answer)
    assert isinstance(answer.output, str)
    assert message["stop_reason"] is not None


@given(st.lists(st.text(max_size=20), max_size=10), st.data())
def test_text_is_put_together_in_order(pieces: list[str], data: st.DataObject) -> None:
    assembler = MessageAssembler()
    shown: list[str] = []
    for event in [START, TEXT_BLOCK, *(text(piece) for piece in pieces), STOP_BLOCK, END, STOP]:
        shown.append(assembler.feed(event))
        if data.draw(st.booleans()):
            assembler.feed({"type": "ping"})
    assert assembler.finish()["content"] == [{"type": "text", "text": "".join(pieces)}]
    assert "".join(shown) == "".join(pieces)


@given(st.dictionaries(st.text(max_size=10), scalars.filter(lambda v: v == v), max_size=5), st.integers(1, 7))
def test_tool_input_survives_any_cutting(value: dict[str, Any], size: int) -> None:
    whole = json.dumps(value)
    assembler = MessageAssembler()
    block = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    assembler.feed(START)
    assembler.feed({"type": "content_block_start", "index": 0, "content_block": block})
    for at in range(0, len(whole), size):
        delta = {"type": "input_json_delta", "partial_json": whole[at : at + size]}
        assert assembler.feed({"type": "content_block_delta", "index": 0, "delta": delta}) == ""
    for event in (STOP_BLOCK, END, STOP):
        assembler.feed(event)
    assert assembler.finish()["content"] == [{**block, "input": value}]


def test_a_tool_call_without_input_has_an_empty_one() -> None:
    assembler = MessageAssembler()
    for event in (
        START,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "f", "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": ""}},
        STOP_BLOCK,
        END,
        STOP,
    ):
        assembler.feed(event)
    assert assembler.finish()["content"][0]["input"] == {}


def test_citations_are_gathered() -> None:
    assembler = MessageAssembler()
    for event in (
        START,
        TEXT_BLOCK,
        {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"n": 1}}},
        text("As it is said."),
        {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"n": 2}}},
        STOP_BLOCK,
        END,
        STOP,
    ):
        assembler.feed(event)
    assert assembler.finish()["content"] == [
        {"type": "text", "text": "As it is said.", "citations": [{"n": 1}, {"n": 2}]}
    ]


@pytest.mark.parametrize("kept", range(5))
def test_a_stream_that_ends_early_is_cut(kept: int) -> None:
    assembler = MessageAssembler()
    for event in (START, TEXT_BLOCK, text("x"), STOP_BLOCK, END, STOP)[: kept + 1]:
        assembler.feed(event)
    with pytest.raises(ServiceTroubleError) as caught:
        assembler.finish()
    assert caught.value.trouble == "cut"


def test_the_events_themselves_are_left_alone() -> None:
    """The assembler copies what it changes: an event may be looked at again."""
    before = json.dumps([START, TEXT_BLOCK, END])
    assembler = MessageAssembler()
    for event in (START, TEXT_BLOCK, text("x"), STOP_BLOCK, END, STOP):
        assembler.feed(event)
    assert json.dumps([START, TEXT_BLOCK, END]) == before
