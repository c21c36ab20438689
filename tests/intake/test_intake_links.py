"""What a task waits for and the resources it needs, as its line states them."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from agentdash.engine.intake import BadLines, read_tasks
from agentdash.model import TaskSpec


def read(**fields: Any) -> TaskSpec:
    bad = BadLines()
    line = json.dumps({"prompt": "p"} | fields).encode()
    (spec,) = read_tasks(["-"], stdin=io.BytesIO(line), bad=bad)
    assert not bad
    return spec


def reason(**fields: Any) -> str:
    bad = BadLines()
    line = json.dumps({"id": "t1", "prompt": "p"} | fields).encode()
    assert list(read_tasks(["-"], stdin=io.BytesIO(line), bad=bad)) == []
    return bad.first[0].reason


@pytest.mark.parametrize(
    ("given", "kept"),
    [("a", ("a",)), (["b", "a", "b"], ("b", "a")), ([], ()), (["ä ö"], ("ä ö",)), ("x" * 200, ("x" * 200,))],
)
def test_one_id_or_several(given: object, kept: tuple[str, ...]) -> None:
    spec = read(id="t1", after=given)
    assert spec.after == kept
    assert json.loads(spec.body)["after"] == list(kept)


@pytest.mark.parametrize(("given", "kept"), [("db", ("db",)), (["gpu", "db", "gpu"], ("db", "gpu")), ([], ())])
def test_one_resource_or_several_in_one_order(given: object, kept: tuple[str, ...]) -> None:
    spec = read(id="t1", lock=given)
    assert spec.locks == kept
    assert json.loads(spec.body)["lock"] == list(kept)


def test_a_task_without_an_id_may_wait_and_need_a_resource() -> None:
    spec = read(after="a", lock="db")
    assert (spec.after, spec.locks, spec.auto_id) == (("a",), ("db",), True)


def test_what_a_task_waits_for_belongs_to_its_content() -> None:
    assert read(id="t1").body_hash != read(id="t1", after="a").body_hash
    assert read(id="t1", after="a").body_hash == read(id="t1", after=["a"]).body_hash
    assert read(id="t1", lock=["a", "b"]).body_hash == read(id="t1", lock=["b", "a"]).body_hash


@pytest.mark.parametrize("name", ["after", "lock"])
@pytest.mark.parametrize(
    ("given", "why"),
    [
        (7, "must be a string or an array of strings, found an integer"),
        (None, "must be a string or an array of strings, found null"),
        (["a", 7], "must be a string or an array of strings, found an integer in it"),
        ([["a"]], "must be a string or an array of strings, found an array in it"),
        ("", "holds an empty name"),
        (["a", " "], "holds an empty name"),
        ("a\nb", "holds the control character U+000A at character 2 of a name"),
        ("x" * 201, "holds a name of 201 characters, at most "),
    ],
)
def test_what_is_no_name_is_refused(name: str, given: object, why: str) -> None:
    assert reason(**{name: given}).startswith(f"{name} {why}")


def test_a_task_cannot_wait_for_itself() -> None:
    assert reason(after=["a", "t1"]) == "after names the task itself"


def test_a_task_cannot_need_what_its_own_lock_is_called() -> None:
    assert reason(id="resource:db", lock="db") == "lock would be named 'resource:db', as the task's own"


def test_the_batches_form_has_neither() -> None:
    bad = BadLines()
    params = {"model": "m", "max_tokens": 1, "messages": [{}]}
    line = json.dumps({"custom_id": "a", "params": params, "after": "b"}).encode()
    assert list(read_tasks(["-"], stdin=io.BytesIO(line), bad=bad)) == []
    assert bad.first[0].reason == "after not allowed next to custom_id and params: the two forms do not mix"
