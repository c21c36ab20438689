"""The beginning of a prompt from a body that is cut anywhere, and what errors have in common."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdash.engine.errorpattern import PATTERN_CHARS, pattern_of
from agentdash.engine.preview import PREVIEW_BYTES, PREVIEW_CHARS, beginning_of, preview

texts = st.text(max_size=300) | st.text(alphabet='"\\\n\t\x01é😀{}[],: a', max_size=300)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def body_of(value: Any, *, ascii_only: bool) -> str:
    return json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))


@given(prompt=texts, ascii_only=st.booleans(), rest=st.dictionaries(st.sampled_from(["system", "model"]), texts))
def test_a_whole_body_gives_the_beginning_of_its_prompt(prompt: str, ascii_only: bool, rest: dict[str, str]) -> None:
    body = body_of({"prompt": prompt} | rest, ascii_only=ascii_only)
    assert preview(body) == prompt[:PREVIEW_CHARS]


@given(prompt=texts, ascii_only=st.booleans(), data=st.data())
def test_a_cut_body_gives_what_is_there_of_the_prompt(prompt: str, ascii_only: bool, data: st.DataObject) -> None:
    body = body_of({"prompt": prompt}, ascii_only=ascii_only)
    cut = data.draw(st.integers(len('{"prompt":"'), len(body)))
    found = preview(body[:cut])
    assert prompt.startswith(found)
    # No more than one character's writing (a pair of escapes) is lost at the cut.
    assert len(body_of({"prompt": found}, ascii_only=ascii_only)) + 12 >= min(cut, len(body)) or len(found) == 200


@given(prompt=st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=PREVIEW_CHARS, max_size=400))
def test_so_many_bytes_are_enough_for_so_many_characters(prompt: str) -> None:
    head = body_of({"prompt": prompt}, ascii_only=False).encode()[:PREVIEW_BYTES]
    assert preview(head.decode(errors="ignore")) == prompt[:PREVIEW_CHARS]


@given(text=texts.filter(bool), before=st.dictionaries(st.sampled_from(["model", "system"]), values, max_size=2))
@pytest.mark.parametrize("blocks", [True, False])
def test_the_batches_form_shows_its_first_user_message(text: str, before: dict[str, Any], blocks: bool) -> None:
    content: Any = [{"type": "text", "text": text}] if blocks else text
    answer = {"role": "assistant", "content": "not this"}
    body = body_of({"params": before | {"messages": [answer, {"role": "user", "content": content}]}}, ascii_only=False)
    assert preview(body) == text[:PREVIEW_CHARS]


@given(value=values, data=st.data())
def test_json_that_is_cut_anywhere_is_read_as_far_as_it_goes(value: Any, data: st.DataObject) -> None:
    body = body_of(value, ascii_only=data.draw(st.booleans()))
    assert beginning_of(body) == value
    cut = body[: data.draw(st.integers(0, len(body)))]
    beginning_of(cut)
    assert len(preview(cut)) <= PREVIEW_CHARS


@given(text=st.text(max_size=100) | st.text(alphabet='{}[]",:\\u1a ', max_size=100))
def test_text_that_is_no_json_does_no_harm(text: str) -> None:
    assert len(preview(text)) <= PREVIEW_CHARS


def test_depth_without_end_is_cut() -> None:
    assert preview("[" * 16_000) == "[" * PREVIEW_CHARS


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("Timed out after 12.5 s", "Timed out after … s"),
        ("request req_011CSHoEeqs5C35K2UUqR7Fy was refused", "request … was refused"),
        ("no 'task-17' and no 'model'", "no … and no 'model'"),
        ("id 123e4567-e89b-12d3-a456-426614174000 is\n  unknown", "id … is unknown"),
        ("commit deadbee1f00d, defaced", "commit …, defaced"),
        ("at 12:30:45", "at …"),
        ("", ""),
    ],
)
def test_what_changes_is_left_out(message: str, pattern: str) -> None:
    assert pattern_of(message) == pattern


@given(st.text())
def test_a_pattern_is_short_and_on_one_line(message: str) -> None:
    pattern = pattern_of(message)
    assert len(pattern) <= PATTERN_CHARS
    assert pattern == pattern.strip()
    assert "\n" not in pattern
