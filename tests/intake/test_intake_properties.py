"""For any task and any bytes: what goes in comes out, and nothing but what is promised is raised."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdash.engine.intake import BadLines, fields, read_tasks
from agentdash.engine.intake.bad import Reject
from agentdash.engine.intake.sources import READERS
from agentdash.errors import BadInputError
from agentdash.model import TaskSpec

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FILLED = TEXT.filter(lambda text: bool(text.strip()))
IDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=200)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=8)
TASKS = st.fixed_dictionaries(
    {"prompt": FILLED},
    optional={
        "id": IDS,
        "system": TEXT,
        "model": FILLED,
        "max_tokens": st.integers(1, 2**31 - 1),
        "priority": st.integers(-1_000_000, 1_000_000),
        "metadata": st.dictionaries(TEXT, JSON),
    },
)
PIECES = st.sampled_from(
    [
        *(bytes([byte]) for byte in b'{}[]",:\n\0'),
        *(b"\r\n", b"\xff\xfe", b"\xef\xbb\xbf", b"NaN", b"1e999", b"9" * 700, b"\\ud800"),
        *(b'"prompt"', b'"id"', b'"custom_id"', b'"params"'),
        *(b'{"prompt":"a"}', b'{"requests":[', b"id,prompt\n"),
    ]
)
BYTES = st.binary() | st.lists(PIECES | st.binary(max_size=4)).map(b"".join)


def one(task: dict[str, Any], *, ascii_only: bool = False) -> TaskSpec:
    bad = BadLines()
    (spec,) = read_tasks(["-"], stdin=io.BytesIO(json.dumps(task, ensure_ascii=ascii_only).encode()), bad=bad)
    assert not bad
    return spec


@given(TASKS, st.booleans())
def test_a_task_comes_out_as_it_went_in(task: dict[str, Any], ascii_only: bool) -> None:
    spec = one(task, ascii_only=ascii_only)
    assert spec.id == task.get("id", spec.id)
    assert spec.auto_id == ("id" not in task)
    assert spec.priority == task.get("priority", 0)
    assert json.loads(spec.body) == {key: value for key, value in task.items() if key not in ("id", "priority")}


@given(TASKS, st.data())
def test_the_order_of_keys_changes_nothing(task: dict[str, Any], data: st.DataObject) -> None:
    def shuffled(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: shuffled(value[key]) for key in data.draw(st.permutations(list(value)))}

    assert one(shuffled(task)) == one(task)


@pytest.mark.parametrize("extension", sorted(READERS))
@given(BYTES)
def test_any_bytes_are_tasks_or_bad_lines_or_bad_input(extension: str, content: bytes) -> None:
    bad = BadLines()
    with suppress(BadInputError):
        for spec in READERS[extension](io.BytesIO(content), "file", bad):
            assert spec.id
            json.loads(spec.body)
            assert spec.body.encode()
    assert all(str(line).isprintable() and 0 < line.line <= content.count(b"\n") + 1 for line in bad)


@given(st.lists(TASKS, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n", "\n\n"]))
@settings(max_examples=30)
def test_array_and_lines_agree(tasks: list[dict[str, Any]], separator: str) -> None:
    def read(extension: str, text: str) -> Iterator[tuple[str, bytes]]:
        bad = BadLines()
        yield from ((spec.id, spec.body_hash) for spec in READERS[extension](io.BytesIO(text.encode()), "f", bad))
        assert not bad

    lines = [json.dumps(task) for task in tasks]
    assert list(read(".jsonl", separator.join(lines))) == list(read(".json", json.dumps(tasks, indent=1)))


def test_an_extension_field_is_checked_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(name: str, value: Any) -> Any:
        if value != ["a"]:
            raise Reject(f"{name} must be ['a']")
        return value

    monkeypatch.setitem(fields.EXTENSION_FIELDS, "colour", check)
    assert one({"colour": ["a"], "prompt": "p"}).body == '{"prompt":"p","colour":["a"]}'
    bad = BadLines()
    assert list(read_tasks(["-"], stdin=io.BytesIO(b'{"prompt":"p","colour":1}'), bad=bad)) == []
    assert [line.reason for line in bad] == ["colour must be ['a']"]
