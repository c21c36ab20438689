"""What every form of the task store must do: adding tasks, all of them or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from agentdash.errors import BadInputError, TransitionError
from agentdash.model import Counts, Task, TaskSpec, TaskState, Totals
from tests.support.stored import Store, check, claim, end, run, spec, specs, task_of

RUNNING = TaskState.RUNNING


async def test_added_tasks_are_pending_in_file_order(store: Store) -> None:
    report = await store.add(specs(5000))
    assert (report.added, report.known, report.conflicts) == (5000, 0, 0)
    assert store.counts() == Counts(pending=5000)
    assert [r.id for r in store.tasks(limit=3)] == ["t1", "t2", "t3"]
    assert store.payload("t7") == '{"prompt":"prompt of t7"}'
    assert task_of(store, "t7") == Task(7, "t7", {"prompt": "prompt of t7"})
    check(store)


async def test_known_tasks_are_not_added_twice(store: Store) -> None:
    await store.add(specs(3))
    await run(store, "t2")
    report = await store.add(specs(4))
    assert (report.added, report.known) == (1, 3)
    assert store.counts() == Counts(pending=3, succeeded=1)


@pytest.mark.parametrize("gap", [0, 3000])
async def test_a_duplicate_in_the_file_refuses_it_all(store: Store, gap: int) -> None:
    def lines() -> Iterator[TaskSpec]:
        yield spec("twice", source="a.jsonl:1")
        yield from specs(gap, "filler")
        yield spec("twice", source="a.jsonl:2")

    with pytest.raises(BadInputError, match=r"a.jsonl:2: duplicate id 'twice'"):
        await store.add(lines(), {"a.jsonl": "stamp"})
    assert store.counts() == Counts()
    assert store.source("a.jsonl") is None
    check(store)


@pytest.mark.parametrize("gap", [0, 3000])
async def test_a_duplicate_of_a_known_task_is_one_too(store: Store, gap: int) -> None:
    await store.add([spec("t1")])
    with pytest.raises(BadInputError, match="duplicate id 't1'"):
        await store.add([spec("t1"), *specs(gap, "filler"), spec("t1")])
    assert store.counts().total == 1


@pytest.mark.parametrize("gap", [0, 3000])
async def test_changed_tasks_are_named_in_the_same_words(store: Store, gap: int) -> None:
    await store.add([spec("t1")])
    changed = [spec("t1", "new", source="b:1"), *specs(gap, "f"), spec("t1", "new", source="b:2")]
    with pytest.raises(BadInputError) as caught:
        await store.add(changed)
    assert caught.value.message.startswith("2 conflicting tasks, nothing was added:\n")
    assert "b:1: task 't1' is in this project already, with another content" in caught.value.message
    assert "b:2: task 't1' is in this project already, with another content" in caught.value.message
    assert store.counts().total == 1


async def test_twenty_conflicts_are_listed_and_all_are_counted(store: Store) -> None:
    await store.add(specs(30))
    with pytest.raises(BadInputError) as caught:
        await store.add(spec(f"t{n}", "changed") for n in range(1, 31))
    assert caught.value.message.count("with another content") == 20
    assert caught.value.message.endswith("… and 10 more")


async def test_conflicts_can_be_left_out(store: Store) -> None:
    await store.add([spec("known"), spec("changed")])
    lines = [spec("new"), spec("known"), spec("changed", "x"), spec("new"), spec("newer")]
    report = await store.add(lines, {"f": "1"}, skip_conflicts=True)
    assert (report.added, report.known, report.conflicts, len(report.conflict_lines)) == (2, 1, 2, 2)
    assert [r.id for r in store.tasks()] == ["known", "changed", "new", "newer"]
    assert store.payload("changed") == '{"prompt":"prompt of changed"}'
    assert store.source("f") == "1"
    check(store)


async def test_repeated_lines_without_id_are_tasks_of_their_own_and_stable(store: Store) -> None:
    lines = [spec("h1", "same", auto_id=True) for _ in range(3)] + [spec("h2", "other", auto_id=True)]
    report = await store.add(lines)
    assert report.added == 4
    ids = [r.id for r in store.tasks()]
    assert ids == ["h1", "h1-2", "h1-3", "h2"]
    again = await store.add(lines)
    assert (again.added, again.known) == (0, 4)
    longer = await store.add([*lines, spec("h1", "same", auto_id=True)])
    assert (longer.added, longer.known) == (1, 4)
    assert [r.id for r in store.tasks()] == [*ids, "h1-4"]


async def test_repeated_lines_far_apart_are_stable_too(store: Store) -> None:
    lines = [spec("h1", "same", auto_id=True), *specs(2500), spec("h1", "same", auto_id=True)]
    assert (await store.add(lines)).added == 2502
    assert (await store.add(lines)).known == 2502
    assert store.find("h1-2") is not None


async def test_a_stream_that_breaks_adds_nothing(store: Store) -> None:
    def lines() -> Iterator[TaskSpec]:
        yield from specs(2500)
        raise BadInputError("tasks.jsonl:2501: no JSON")

    with pytest.raises(BadInputError, match="no JSON"):
        await store.add(lines())
    assert store.counts() == Counts()
    assert list(store.tasks()) == []
    assert (await store.add(specs(2))).added == 2
    check(store)


async def test_a_refused_stream_beside_other_writes_is_refused(store: Store) -> None:
    """The stream can be read once only: it must not be tried again as if it were empty."""
    await store.add(specs(1))
    refused, _ = await asyncio.gather(
        store.add(iter([spec("t2"), spec("t2")])), store.add_totals(Totals(requests=1)), return_exceptions=True
    )
    assert isinstance(refused, BadInputError)
    assert store.totals().requests == 1
    check(store)


async def test_a_stream_beside_a_write_that_fails_is_added_whole(store: Store) -> None:
    await store.add(specs(1))
    held = await claim(store, "t1")
    bad = store.settle(held, end(held, RUNNING)) if store.shared else None
    report = await store.add(iter([spec("a"), spec("b")]))
    assert report.added == 2
    if bad is not None:
        with pytest.raises(TransitionError):
            await bad
    check(store)


async def test_sources_are_remembered(store: Store) -> None:
    assert store.source("/a/tasks.jsonl") is None
    await store.add(specs(1), {"/a/tasks.jsonl": "12:34"})
    await store.add([], {"/a/tasks.jsonl": "56:78", "/b": "x"})
    assert store.source("/a/tasks.jsonl") == "56:78"
    assert store.source("/b") == "x"
