"""What tasks wait for: ids and circles are looked at before any is added; what holds a task is right at any moment."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from agentdash.engine.store import SqliteTaskStore
from agentdash.errors import BadInputError
from agentdash.model import Counts, LinkedTask, TaskSpec, TaskState
from tests.support.stored import NOW, Store, check, claim, end, run, spec, specs, task_of

SUCCEEDED, FAILED, CANCELLED = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED
PENDING, RUNNING = TaskState.PENDING, TaskState.RUNNING


def ready_ids(store: Store) -> list[str]:
    return [ready.id for ready in store.ready(100, NOW)]


def waiting(store: Store, task_id: str) -> tuple[int, str | None]:
    record = store.find(task_id)
    assert record is not None
    return record.waits_for, record.held_by


def diamond() -> list[TaskSpec]:
    """`end` waits for `left` and `right`, which wait for `start`; the lines stand the wrong way round."""
    return [
        spec("end", after=["left", "right"]),
        spec("right", after=["start"]),
        spec("left", after=["start"]),
        spec("start"),
    ]


# -- what is refused -------------------------------------------------------------------------------------------------
async def refused(store: Store, *lines: TaskSpec) -> str:
    before = store.counts()
    with pytest.raises(BadInputError) as caught:
        await store.add(lines, {"f": "stamp"})
    assert store.counts() == before
    assert store.source("f") is None
    assert caught.value.hint is not None
    assert "--skip-bad" in caught.value.hint
    check(store)
    return caught.value.message


async def test_an_unknown_id_is_refused_with_its_line(store: Store) -> None:
    message = await refused(store, spec("a"), spec("b", after=["a", "nobody"], source="t.jsonl:2"))
    assert message.startswith("1 task that waits for what cannot be, nothing was added:\n")
    assert "t.jsonl:2: after names 'nobody': there is no such task here or in this project" in message


async def test_what_waits_for_a_refused_task_is_no_fault_of_its_own(store: Store) -> None:
    message = await refused(store, spec("a", after=["nobody"]), spec("b", after=["a"]))
    assert message.count("\n") == 1


async def test_many_unknown_ids_are_shortened(store: Store) -> None:
    message = await refused(store, spec("a", after=[f"x{n}" for n in range(9)]))
    assert "after names 'x0', 'x1', 'x2' and 6 more:" in message


async def test_a_circle_is_refused_with_its_ids_in_order(store: Store) -> None:
    await store.add([spec("known")])
    lines = [
        spec("free"),
        spec("b", after=["c"], source="t.jsonl:2"),
        spec("c", after=["known", "a"]),
        spec("a", after=["b"]),
    ]
    message = await refused(store, *lines)
    assert "t.jsonl:2: after goes in a circle: 'b' → 'c' → 'a' → 'b'" in message


async def test_each_circle_is_told_once_and_what_hangs_on_it_is_not(store: Store) -> None:
    circles = [spec("a", after=["b"]), spec("b", after=["a"]), spec("x", after=["y"]), spec("y", after=["x"])]
    message = await refused(store, spec("hangs", after=["a"]), *circles, spec("further", after=["hangs", "x"]))
    assert message.startswith("2 tasks that wait for what cannot be")
    assert "'a' → 'b' → 'a'" in message
    assert "'x' → 'y' → 'x'" in message


async def test_a_long_circle_is_shortened(store: Store) -> None:
    number = 5000
    message = await refused(store, *(spec(f"t{n}", after=[f"t{(n + 1) % number}"]) for n in range(number)))
    assert "'t0' → 't1' → 't2' → 't3' → 't4' → 't5' → … (4,993 more) … → 't4999' → 't0'" in message


async def test_the_good_ones_are_added_without_those_that_wait_for_bad_ones(store: Store) -> None:
    lines = [
        spec("good"),
        spec("unknown", after=["nobody"]),
        spec("one", after=["two"]),
        spec("two", after=["one"]),
        spec("on_unknown", after=["good", "unknown"], source="f:5"),
        spec("on_circle", after=["one"]),
        spec("further", after=["on_unknown"]),
        spec("fine", after=["good"]),
    ]
    report = await store.add(lines, skip_conflicts=True)
    assert (report.added, report.conflicts) == (2, 5)
    assert "f:5: after names 'unknown', which is left out" in report.conflict_lines
    assert [r.id for r in store.tasks()] == ["good", "fine"]
    assert waiting(store, "fine") == (1, None)
    check(store)
    again = await store.add(lines, skip_conflicts=True)
    assert (again.added, again.known, again.conflicts) == (0, 2, 5)
    assert (await store.add([spec("unknown"), spec("more", after=["unknown"])])).added == 2
    check(store)


async def test_a_changed_dependency_is_a_changed_task(store: Store) -> None:
    await store.add([spec("a"), spec("b", after=["a"])])
    with pytest.raises(BadInputError, match="with another content"):
        await store.add([spec("b")])
    assert (await store.add([spec("b", after=["a"])])).known == 1


# -- what waits ------------------------------------------------------------------------------------------------------
async def test_a_diamond_is_run_from_its_start(store: Store) -> None:
    await store.add(diamond())
    check(store)
    assert ready_ids(store) == ["start"]
    assert not await store.claim(task_of(store, "end"), "me", "w1", NOW)
    await run(store, "start")
    assert ready_ids(store) == ["right", "left"]
    await run(store, "left")
    assert ready_ids(store) == ["right"]
    assert waiting(store, "end") == (1, None)
    await run(store, "right")
    assert ready_ids(store) == ["end"]
    await run(store, "end")
    check(store)
    assert store.counts() == Counts(succeeded=4)


@pytest.mark.parametrize("state", [SUCCEEDED, FAILED, CANCELLED, RUNNING, PENDING])
async def test_new_tasks_may_wait_for_known_ones_in_any_state(store: Store, state: TaskState) -> None:
    await store.add([spec("old")])
    if state is CANCELLED:
        await store.cancel(["old"], NOW)
    elif state is RUNNING:
        await claim(store, "old")
    elif state is not PENDING:
        await run(store, "old", state)
    await store.add([spec("new", after=["old"]), spec("newer", after=["new"])])
    check(store)
    bad = state in (FAILED, CANCELLED)
    assert waiting(store, "new") == (state is not SUCCEEDED, "old" if bad else None)
    assert waiting(store, "newer") == (1, "old" if bad else None)
    assert store.counts().held == 2 * bad
    assert ("new" in ready_ids(store)) == (state is SUCCEEDED)


async def test_a_failed_task_holds_all_that_hangs_on_it(store: Store) -> None:
    await store.add([*diamond(), spec("apart")])
    await run(store, "start", FAILED)
    check(store)
    assert store.counts() == Counts(pending=4, failed=1, held=3)
    assert store.counts().open == 1
    assert ready_ids(store) == ["apart"]
    assert store.holders(5) == ["start"]
    await store.requeue(["start"])
    check(store)
    assert store.counts().held == 0
    assert ready_ids(store) == ["start", "apart"]
    await run(store, "start")
    assert ready_ids(store) == ["right", "left", "apart"]


async def test_a_task_that_two_hold_is_free_when_both_are(store: Store) -> None:
    await store.add([spec("a"), spec("b"), spec("end", after=["a", "b"]), spec("further", after=["end"])])
    await run(store, "a", FAILED)
    await store.cancel(["b"], NOW)
    check(store)
    assert store.counts().held == 2
    await store.requeue(["a"])
    check(store)
    assert waiting(store, "further") == (1, "b")
    await store.requeue(["b"])
    check(store)
    assert store.counts().held == 0


async def test_cancelling_a_held_task_and_taking_it_back(store: Store) -> None:
    await store.add(diamond())
    await run(store, "start", FAILED)
    await store.cancel(["left"], NOW)
    check(store)
    assert store.counts() == Counts(pending=2, failed=1, cancelled=1, held=2)
    await store.undo()
    check(store)
    assert waiting(store, "left") == (1, "start")
    await store.cancel(["left"], NOW)
    await store.requeue(["start"])
    check(store)
    assert (waiting(store, "end"), waiting(store, "right")) == ((2, "left"), (1, None))
    await store.undo()  # of the requeue
    check(store)
    assert waiting(store, "right") == (1, "start")
    await store.requeue(["left"])
    check(store)
    assert waiting(store, "left") == (1, "start")


@pytest.mark.parametrize("state", [PENDING, SUCCEEDED, FAILED, CANCELLED])
async def test_a_running_dependency_ends_in_any_way(store: Store, state: TaskState) -> None:
    await store.add([spec("a"), spec("b", after=["a"])])
    held = await claim(store, "a")
    await store.cancel(["a"], NOW)
    check(store)
    await store.settle(held, end(held, state))
    check(store)
    assert store.counts().held == (state in (FAILED, CANCELLED))
    await store.undo()
    check(store)
    assert ready_ids(store) == {PENDING: ["a"], SUCCEEDED: ["b"], FAILED: [], CANCELLED: ["a"]}[state]


async def test_a_dead_owners_dependency_is_settled_once_for_those_that_wait(store: Store) -> None:
    await store.add([spec("a"), spec("b", after=["a"])])
    late = await claim(store, "a")
    (row,) = store.running()
    assert await store.reclaim(row, end(row, PENDING))
    assert not await store.settle(late, end(late, SUCCEEDED))
    check(store)
    await run(store, "a")
    assert not await store.settle(late, end(late, SUCCEEDED))
    assert waiting(store, "b") == (0, None)
    check(store)


async def test_links_are_listed_with_their_states(store: Store) -> None:
    await store.add(diamond())
    await run(store, "start", FAILED)
    after, needed_by = store.linked("left", 10)
    assert after == [LinkedTask("start", FAILED)]
    assert needed_by == [LinkedTask("end", PENDING, held=True)]
    assert [len(links) for links in store.linked("start", 1)] == [0, 1]
    assert store.linked("nobody", 1) == ([], [])
    (record,) = [r for r in store.tasks() if r.id == "end"]
    assert set(record.after) == {"left", "right"}
    assert store.has_dependents(task_of(store, "start").seq)
    assert not store.has_dependents(task_of(store, "end").seq)


# -- priorities ------------------------------------------------------------------------------------------------------
async def test_priorities_change_the_order_and_can_be_taken_back(store: Store) -> None:
    await store.add([spec("a"), spec("b"), spec("c", after=["a"]), spec("d")])
    held = await claim(store, "d")
    assert await store.prioritize(["b", "c", "d", "nobody"], to=5) == 2
    assert ready_ids(store) == ["b", "a"]
    assert await store.prioritize(["a"], by=6) == 1
    assert ready_ids(store) == ["a", "b"]
    assert await store.undo() == (1, 0)
    assert ready_ids(store) == ["b", "a"]
    assert await store.undo() == (0, 0)
    await store.settle(held, end(held, SUCCEEDED))
    assert await store.prioritize(["d"], to=1) == 0
    check(store)


async def test_a_priority_is_not_taken_back_from_a_task_that_has_begun(store: Store) -> None:
    await store.add(specs(2))
    await store.prioritize(["t1", "t2"], to=3)
    await claim(store, "t1")
    assert await store.undo() == (1, 1)
    assert (task_of(store, "t1").priority, task_of(store, "t2").priority) == (3, 0)


# -- resources -------------------------------------------------------------------------------------------------------
async def test_tasks_that_need_a_resource_come_first_and_are_left_out_while_it_is_busy(store: Store) -> None:
    await store.add([spec("a"), spec("b", locks=["db"]), spec("c", locks=["disk", "gpu"]), spec("d", priority=1)])
    assert ready_ids(store) == ["d", "b", "c", "a"]
    assert task_of(store, "c").locks == ("disk", "gpu")
    assert [r.id for r in store.ready(9, NOW, {"db"})] == ["d", "c", "a"]
    assert [r.id for r in store.ready(9, NOW, {"gpu", "other"})] == ["d", "b", "a"]
    assert [r.locks for r in store.ready(9, NOW, {"gpu", "other"})] == [(), ("db",), ()]
    assert [r.id for r in store.ready(1, NOW, {"gpu", "db"})] == ["d"]


async def test_past_many_tasks_of_a_busy_resource_the_first_of_others_are_found(sqlite: SqliteTaskStore) -> None:
    chance = random.Random(7)
    lines = [spec(f"x{n}", locks=["db"], priority=chance.randrange(4)) for n in range(3000)]
    lines += [spec(f"y{n}", locks=[f"r{n % 500}"]) for n in range(1000)]
    await sqlite.add([*lines, *specs(20)])
    found = [r.id for r in sqlite.ready(2000, NOW, {"db"})]
    assert found[-20:] == [f"t{n}" for n in range(1, 21)]
    assert found[:-20] == [f"y{n}" for n in range(500)]
    few = [r.id for r in sqlite.ready(100, NOW, {"db"})]
    assert len(few) == 100
    assert "x" not in {name[0] for name in few}


# -- size ------------------------------------------------------------------------------------------------------------
async def test_a_long_chain_is_added_held_and_let_go_without_recursion(sqlite: SqliteTaskStore) -> None:
    number = 20_000

    def chain() -> Iterator[TaskSpec]:
        return (spec(f"t{n}", after=[f"t{n - 1}"] if n else []) for n in range(number))

    await sqlite.add(chain())
    assert ready_ids(sqlite) == ["t0"]
    await run(sqlite, "t0", FAILED)
    assert sqlite.counts().held == number - 1
    await sqlite.requeue(None)
    assert sqlite.counts().held == 0
    await run(sqlite, "t0")
    assert ready_ids(sqlite) == ["t1"]
    assert (await sqlite.add(chain())).known == number
