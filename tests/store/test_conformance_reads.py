"""What every form of the task store must do: tasks are read back, in pages and one by one, with any text there is."""

from __future__ import annotations

import json

import pytest

from agentdash.engine.results import succeeded_line
from agentdash.model import Answer, Attempt, TaskState
from tests.support.stored import NOW, Store, check, claim, end, run, spec, specs, task_of

SUCCEEDED, FAILED, PENDING = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.PENDING


async def test_tasks_by_state_in_pages(store: Store) -> None:
    await store.add(specs(2100))
    await run(store, "t2")
    await run(store, "t3", FAILED)
    assert [r.id for r in store.tasks([SUCCEEDED, FAILED])] == ["t2", "t3"]
    assert len(list(store.tasks([PENDING]))) == 2098
    assert [r.seq for r in store.tasks(after=2, limit=2)] == [3, 4]
    assert [r.seq for r in store.tasks([PENDING], after=2, limit=1200)] == list(range(4, 1204))
    assert list(store.tasks(limit=0)) == []
    assert list(store.tasks(after=2100)) == []


async def test_unknown_tasks(store: Store) -> None:
    for task_id in ("nope", "", "\udcff", "a\0b"):
        assert store.find(task_id) is None
        assert store.payload(task_id) is None
        assert store.result(task_id) is None
        assert store.attempts(task_id) == []
        assert store.source(task_id) is None
    assert store.load(1) is None
    await store.add([spec("a")])
    assert await store.cancel(["a\0b", "\udcff"], NOW) == (0, 0)
    assert await store.requeue(["a\0b", "\udcff"]) == 0
    assert await store.requeue(None, error_contains="\udcff") == 0


async def test_hostile_text_goes_through(store: Store) -> None:
    ids = ["it's", 'a "b"', "../x/y", "x'); DROP TABLE tasks;--", "日本 😀", "%_", "\\u0000", "[1]", "null"]
    await store.add(spec(task_id, f"{task_id} \u2028 {'é' * 10}") for task_id in ids)
    for task_id in ids:
        held = await claim(store, task_id, owner=task_id, worker=task_id)
        (row,) = store.running()
        assert (row.id, row.owner, row.worker) == (task_id, task_id, task_id)
        error = f"{task_id}: 'quoted' \"too\" \\n \n \u2028 \x1b[31m 😀"
        assert await store.settle(held, end(held, FAILED, error=error, error_type=task_id))
        record = store.find(task_id)
        assert record is not None
        assert (record.error_message, record.error_type) == (error, task_id)
        assert store.attempts(task_id)[0].error_message == error
        assert json.loads(store.result(task_id) or "")["result"]["error"]["message"] == error
        assert json.loads(store.payload(task_id) or "") == {"prompt": f"{task_id} \u2028 {'é' * 10}"}
    assert await store.requeue(None, error_contains="'quoted'") == len(ids)
    assert await store.cancel(ids, NOW) == (len(ids), 0)
    check(store)


@pytest.mark.parametrize("text", ["a lone \ud800 surrogate", "a NUL \0 inside", "\0"])
async def test_text_that_is_no_text_harms_nothing(store: Store, text: str) -> None:
    await store.add(specs(2))
    held = await claim(store, "t1")
    assert await store.settle(held, end(held, FAILED, error=f"{text} end", error_type=f"E{text}"))
    record = store.find("t1")
    assert record is not None
    assert (record.error_message or "").endswith(" end")
    assert (store.attempts("t1")[0].error_message or "").endswith(" end")
    assert len(list(store.tasks())) == 2
    line = store.result("t1") or ""
    assert json.loads(line.encode())["result"]["error"]["message"] == f"{text} end"
    await run(store, "t2", output=text)
    line = store.result("t2") or ""
    assert "\n" not in line
    assert json.loads(line.encode())["agentdash"]["output"] == text
    assert await store.requeue(None, error_contains=text) == 1


async def test_large_prompts_and_outputs(store: Store) -> None:
    big = "ü\"'\\\n" * 1_000_000
    await store.add([spec("big", big), spec("small")])
    assert task_of(store, "big").payload == {"prompt": big}
    held, small = await claim(store, "big"), await claim(store, "small")
    one, other = store.settle(held, end(held, SUCCEEDED, output=big)), store.settle(small, end(small, SUCCEEDED))
    assert [await one, await other] == [True, True]
    assert json.loads(store.result("big") or "")["agentdash"]["output"] == big
    check(store)


async def test_results_lines_are_json_whatever_a_function_returns() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    circle: list[object] = []
    circle.append(circle)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    values = [{(1, 2): "tuple key"}, circle, Rude(), {"r": Rude(), 1: float("nan")}, deep, 10**5000, {1, 2}, b"\xff"]
    for value in [*values, {"a": float("inf"), "b": "\ud800"}]:
        line = succeeded_line("t", 1, Attempt(1, "w", None, None, NOW, NOW, "succeeded"), Answer("x", value=value))
        assert "value" in json.loads(line.encode())["agentdash"]
