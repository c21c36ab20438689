"""What every form of the task store must do, method by method."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from dataclasses import fields, replace

import hypothesis
import pytest
from hypothesis import strategies as st

from agentdash.engine.results import succeeded_line
from agentdash.engine.store import (
    TRANSITIONS,
    Claim,
    CredentialRecord,
    MemoryTaskStore,
    ProcessRecord,
    SqliteTaskStore,
)
from agentdash.engine.store.base import REQUEUEABLE, check_transition
from agentdash.errors import BadInputError, TransitionError
from agentdash.model import Answer, Attempt, Counts, Task, TaskSpec, TaskState, Totals
from tests.support.stored import NOW, Store, check, claim, end, run, spec, specs, task_of

SUCCEEDED, FAILED, CANCELLED = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED
PENDING, RUNNING = TaskState.PENDING, TaskState.RUNNING


def ready_ids(store: Store, now: float = NOW, limit: int = 100) -> list[str]:
    return [ready.id for ready in store.ready(limit, now)]


# -- the table -------------------------------------------------------------------------------------------------------
def test_the_transition_table_is_the_one_of_the_design() -> None:
    allowed = {(a.value, b.value) for a, after in TRANSITIONS.items() for b in after}
    assert allowed == {
        ("pending", "running"),
        ("pending", "cancelled"),
        ("pending", "failed"),
        ("running", "succeeded"),
        ("running", "failed"),
        ("running", "cancelled"),
        ("running", "pending"),
        ("failed", "pending"),
        ("cancelled", "pending"),
    }
    assert set(TRANSITIONS) == set(TaskState)
    assert {FAILED, CANCELLED} == REQUEUEABLE


@pytest.mark.parametrize("before", TaskState)
@pytest.mark.parametrize("after", TaskState)
def test_only_what_the_table_holds_passes(before: TaskState, after: TaskState) -> None:
    if after in TRANSITIONS[before]:
        check_transition(before, after)
    else:
        with pytest.raises(TransitionError, match=f"{before} task cannot become {after}"):
            check_transition(before, after)


async def test_a_claim_cannot_be_settled_as_running(store: Store) -> None:
    await store.add(specs(1))
    held = await claim(store, "t1")
    with pytest.raises(TransitionError):
        await store.settle(held, end(held, RUNNING))
    assert task_of(store, "t1").fence == held.task.fence
    assert await store.settle(held, end(held, SUCCEEDED))
    check(store)


# -- add -------------------------------------------------------------------------------------------------------------
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


# -- ready -----------------------------------------------------------------------------------------------------------
async def test_ready_by_priority_then_age(store: Store) -> None:
    lines = [("a", 0), ("b", 5), ("c", -1), ("d", 5), ("e", 0)]
    await store.add(spec(task_id, priority=priority) for task_id, priority in lines)
    assert ready_ids(store) == ["b", "d", "a", "e", "c"]
    assert ready_ids(store, limit=2) == ["b", "d"]
    first = store.ready(1, NOW)[0]
    assert (first.seq, first.priority, first.fence) == (2, 5, 0)
    await claim(store, "b")
    assert ready_ids(store) == ["d", "a", "e", "c"]


async def test_not_ready_before_its_time(store: Store) -> None:
    await store.add(specs(3))
    assert store.next_available_at(NOW) is None
    await run(store, "t1", PENDING, available_at=NOW + 10)
    await run(store, "t2", PENDING, available_at=NOW + 5)
    assert ready_ids(store) == ["t3"]
    assert store.next_available_at(NOW) == NOW + 5
    assert store.next_available_at(NOW + 5) == NOW + 10
    assert store.next_available_at(NOW + 10) is None
    assert ready_ids(store, NOW + 5) == ["t2", "t3"]
    assert ready_ids(store, NOW + 10) == ["t1", "t2", "t3"]


# -- claim, settle, reclaim ------------------------------------------------------------------------------------------
async def test_one_of_many_claims_wins(store: Store) -> None:
    await store.add(specs(1))
    task = task_of(store, "t1")
    won = await asyncio.gather(*(store.claim(task, f"p{n}", f"w{n}", NOW) for n in range(10)))
    assert won == [True] + [False] * 9
    (row,) = store.running()
    assert (row.owner, row.worker, row.fence, row.claimed_at, row.cancel_requested) == ("p0", "w0", 1, NOW, False)
    record = store.find("t1")
    assert record is not None
    assert (record.state, record.worker, record.claimed_at) == (RUNNING, "w0", NOW)
    check(store)


async def test_a_claim_needs_the_fence_that_was_loaded(store: Store) -> None:
    await store.add(specs(1))
    before = task_of(store, "t1")
    await run(store, "t1", PENDING)
    assert not await store.claim(before, "me", "w1", NOW)
    assert not await store.claim(replace(before, seq=99), "me", "w1", NOW)
    assert await store.claim(task_of(store, "t1"), "me", "w1", NOW)
    assert not store.claim_and_wait(task_of(store, "t1"), "me", "w1", NOW)


async def test_of_a_stale_and_a_fresh_claim_at_once_the_fresh_one_wins(store: Store) -> None:
    await store.add(specs(1))
    stale = task_of(store, "t1")
    await run(store, "t1", PENDING)
    fresh = task_of(store, "t1")
    late, true = store.claim(stale, "a", "w", NOW), store.claim(fresh, "b", "w", NOW)
    assert [await late, await true] == [False, True]
    assert [row.owner for row in store.running()] == ["b"]


@pytest.mark.parametrize("state", [SUCCEEDED, FAILED, CANCELLED])
async def test_settled_for_good(store: Store, state: TaskState) -> None:
    await store.add(specs(2))
    held = await claim(store, "t1")
    settlement = end(held, state, attempts=2, service_failures=3, crashes=1, totals=Totals(requests=2, cost_usd=0.5))
    assert await store.settle(held, settlement)
    record = store.find("t1")
    assert record is not None
    assert (record.state, record.attempts, record.service_failures, record.crashes) == (state, 2, 3, 1)
    assert (record.worker, record.claimed_at, record.finished_at) == ("w1", NOW, NOW + 1)
    assert (record.error_type, record.error_message) == (("Boom", "it broke") if state is FAILED else (None, None))
    assert store.result("t1") == settlement.result
    assert store.attempts("t1") == [settlement.attempt]
    assert store.totals() == Totals(requests=2, cost_usd=0.5)
    assert ready_ids(store) == ["t2"]
    assert not await store.settle(held, settlement)  # once
    assert store.totals().requests == 2
    check(store)


async def test_given_back(store: Store) -> None:
    await store.add(specs(1))
    held = await run(store, "t1", PENDING, attempts=1, error="try again", available_at=NOW + 3)
    record = store.find("t1")
    assert record is not None
    assert (record.state, record.finished_at, record.available_at) == (PENDING, None, NOW + 3)
    assert (record.error_type, record.error_message, record.attempts) == ("Boom", "try again", 1)
    task = task_of(store, "t1")
    assert (task.fence, task.attempts) == (held.task.fence, 1)
    assert store.result("t1") is None
    await run(store, "t1")
    assert [(a.fence, a.outcome) for a in store.attempts("t1")] == [(1, "pending"), (2, "succeeded")]
    record = store.find("t1")
    assert record is not None
    assert (record.error_type, record.error_message, record.available_at) == (None, None, 0.0)
    check(store)


async def test_an_owner_thought_dead_cannot_settle_over_its_successor(store: Store) -> None:
    await store.add(specs(1))
    old = await claim(store, "t1", owner="old")
    (row,) = store.running()
    assert await store.reclaim(row, end(row, PENDING, crashes=1))
    assert not await store.reclaim(row, end(row, PENDING, crashes=2))
    assert not await store.settle(old, end(old, SUCCEEDED))
    new = await claim(store, "t1", owner="new")
    assert not await store.settle(old, end(old, SUCCEEDED, output="too late"))
    assert not store.settle_and_wait(old, end(old, SUCCEEDED, output="too late"))
    assert store.counts() == Counts(running=1)
    assert await store.settle(new, end(new, SUCCEEDED, output="the one"))
    assert not await store.settle(old, end(old, FAILED))
    assert '"output":"the one"' in (store.result("t1") or "")
    assert [a.fence for a in store.attempts("t1")] == [1, 2]
    check(store)


async def test_of_a_stale_and_a_true_settlement_at_once_the_true_one_counts(store: Store) -> None:
    await store.add(specs(1))
    old = await run(store, "t1", PENDING)
    new = await claim(store, "t1")
    late, true = store.settle(old, end(old, FAILED)), store.settle(new, end(new, SUCCEEDED))
    assert [await late, await true] == [False, True]
    assert task_of(store, "t1").state is SUCCEEDED
    assert store.totals().requests == 2
    check(store)


async def test_many_claims_and_settlements_at_once(store: Store) -> None:
    await store.add(specs(600))
    tasks = [task_of(store, f"t{n}") for n in range(1, 601)]
    assert all(await asyncio.gather(*(store.claim(task, "me", "w1", NOW) for task in tasks)))
    claims = [Claim(replace(task, fence=1), "me", "w1", NOW) for task in tasks]
    states = [SUCCEEDED, FAILED, PENDING]
    ends = [store.settle(held, end(held, states[n % 3])) for n, held in enumerate(claims)]
    assert all([await one for one in ends])
    assert store.counts() == Counts(pending=200, succeeded=200, failed=200)
    assert store.totals().requests == 600
    check(store)


async def test_the_attempts_kept_are_the_newest_fifty(store: Store) -> None:
    await store.add(specs(1))
    for _ in range(53):
        await run(store, "t1", PENDING)
    assert [a.fence for a in store.attempts("t1")] == list(range(4, 54))
    assert store.attempts("unknown") == []


# -- requeue ---------------------------------------------------------------------------------------------------------
async def test_requeue_by_id(store: Store) -> None:
    await store.add(specs(5))
    before = await run(store, "t1", FAILED, attempts=3, service_failures=4, crashes=5, available_at=NOW + 99)
    await run(store, "t2", SUCCEEDED)
    await claim(store, "t3")
    await store.cancel(["t4"], NOW)
    assert await store.requeue(["t1", "t1", "t2", "t3", "t4", "t5", "unknown"]) == 2
    assert store.counts() == Counts(pending=3, running=1, succeeded=1)
    task = task_of(store, "t1")
    assert (task.attempts, task.service_failures, task.crashes) == (0, 0, 0)
    assert task.fence == before.task.fence + 1
    record = store.find("t1")
    assert record is not None
    assert (record.available_at, record.finished_at, record.error_type, record.error_message) == (0.0, None, None, None)
    assert store.result("t1") is None
    assert len(store.attempts("t1")) == 1  # the history stays
    assert ready_ids(store) == ["t1", "t4", "t5"]
    check(store)
    await run(store, "t1")
    assert json.loads(store.result("t1") or "")["result"]["type"] == "succeeded"
    assert await store.requeue([]) == 0
    check(store)


async def test_requeue_all_failed_or_those_with_an_error(store: Store) -> None:
    await store.add(specs(5))
    await run(store, "t1", FAILED, error="no room % left", error_type="DiskError")
    await run(store, "t2", FAILED, error="timed out")
    await run(store, "t3", FAILED, error="room")
    await run(store, "t4", SUCCEEDED)
    await store.cancel(["t5"], NOW)
    assert await store.requeue(None, error_contains="ROOM") == 0
    assert await store.requeue(None, error_contains="% left") == 1
    assert await store.requeue(None, error_contains="Boo") == 2  # the error's type counts too
    assert store.counts() == Counts(pending=3, succeeded=1, cancelled=1)
    await run(store, "t1", FAILED)
    await run(store, "t2", FAILED)
    assert await store.requeue(None) == 2
    assert store.counts() == Counts(pending=3, succeeded=1, cancelled=1)
    check(store)


async def test_what_was_loaded_before_a_requeue_cannot_be_claimed(store: Store) -> None:
    await store.add(specs(1))
    loaded = task_of(store, "t1")
    await store.cancel(["t1"], NOW)
    await store.requeue(["t1"])
    assert not await store.claim(loaded, "me", "w1", NOW)
    assert await store.claim(task_of(store, "t1"), "me", "w1", NOW)


# -- cancel ----------------------------------------------------------------------------------------------------------
async def test_cancel(store: Store) -> None:
    await store.add(specs(4))
    loaded = task_of(store, "t1")
    held = await claim(store, "t2")
    await run(store, "t3")
    assert await store.cancel(["t1", "t1", "t2", "t3", "unknown"], NOW + 7) == (1, 1)
    assert store.counts() == Counts(pending=1, running=1, succeeded=1, cancelled=1)
    record = store.find("t1")
    assert record is not None
    assert (record.state, record.finished_at) == (CANCELLED, NOW + 7)
    line = json.loads(store.result("t1") or "")
    assert line["result"] == {"type": "canceled"}
    assert line["agentdash"]["state"] == "cancelled"
    assert not await store.claim(loaded, "me", "w1", NOW)
    assert [row.cancel_requested for row in store.running()] == [True]
    assert await store.cancel(["t1"], NOW) == (0, 0)
    check(store)
    # The wish is for this run of the task: given back and claimed again, it is not asked to stop.
    await store.settle(held, end(held, PENDING))
    await claim(store, "t2")
    assert [row.cancel_requested for row in store.running()] == [False]


async def test_what_attempts_have_cost_adds_up_and_outlives_a_requeue(store: Store) -> None:
    await store.add(specs(1))
    for state, cost in ((PENDING, 0.25), (FAILED, 0.5), (PENDING, 0.0), (PENDING, 1.0)):
        if task_of(store, "t1").state is FAILED:
            assert await store.requeue(["t1"]) == 1
        held = await claim(store, "t1")
        settlement = end(held, state, totals=Totals(cost_usd=cost))
        assert await store.settle(held, settlement)
        assert not await store.settle(held, settlement), "once"
    assert task_of(store, "t1").cost_usd == 1.75
    assert (await claim(store, "t1")).task.cost_usd == 1.75
    assert store.totals().cost_usd == 1.75
    await store.reclaim(store.running()[0], end(store.running()[0], PENDING))
    await store.cancel(["t1"], NOW)
    assert json.loads(store.result("t1") or "")["agentdash"]["cost_usd"] == 1.75


# -- the rest --------------------------------------------------------------------------------------------------------
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


async def test_totals_add_up(store: Store) -> None:
    assert store.totals() == Totals()
    one = Totals(1, 2, 3, 4, 5, 6, 7, 0.5, 1.25)
    await asyncio.gather(store.add_totals(one), store.add_totals(one), store.add_totals(Totals()))
    assert store.totals() == Totals(*(2 * getattr(one, f.name) for f in fields(Totals)))


async def test_credentials(store: Store) -> None:
    assert store.credentials() == []
    assert store.active_credential() is None
    first = CredentialRecord("f1", "key-1", "org", "pool", NOW + 60, "ready", 0.0, None, 10, 2, NOW)
    other = CredentialRecord("f2", "key-2")
    await store.save_credentials([first, other], "f1")
    assert store.credentials() == [first, other]
    assert store.active_credential() == "f1"
    later = CredentialRecord("f1", "key-1", None, None, NOW + 30, "exhausted", NOW + 99, "no credit", 5, 1, NOW + 1)
    await store.save_credentials([later], None)
    expected = replace(
        later, organization="org", pool="pool", cooldown_until=NOW + 60, requests=15, rate_limited=3
    )  # deltas add, the later cooldown stays, an unknown organisation does not wipe a known one
    assert store.credentials() == [expected, other]
    assert store.active_credential() == "f1"
    await store.save_credentials([replace(later, cooldown_until=NOW + 90, requests=0, rate_limited=0)], "f2")
    assert store.credentials()[0].cooldown_until == NOW + 90
    assert store.credentials()[0].requests == 15
    assert store.active_credential() == "f2"


async def test_what_was_learned_of_limits(store: Store) -> None:
    known = '{"requests": {"per_minute": 1200.0, "burst": 20.0}, "at": 1700000000.0}'
    first = CredentialRecord("f1", "key-1", learned=known)
    await store.save_credentials([first, CredentialRecord("f2", "key-2")], None)
    await store.save_credentials([CredentialRecord("f1", "key-1")], None)
    assert store.credentials() == [first, CredentialRecord("f2", "key-2")]  # nothing learned wipes nothing
    await store.save_credentials([replace(first, learned="{}"), CredentialRecord("f2", "key-2", learned=known)], None)
    assert [record.learned for record in store.credentials()] == ["{}", known]


async def test_an_older_mark_takes_back_nothing(store: Store) -> None:
    """A key put right by hand, while a run that has not looked yet goes on saving what it knew."""
    dead = CredentialRecord("f1", "key-1", None, None, 0.0, "exhausted", NOW + 99, "no credit", 5, 1, NOW)
    right = CredentialRecord("f1", "key-1", None, None, 0.0, "ready", 0.0, "no credit", 0, 0, NOW + 2)
    await store.save_credentials([dead], "f1")
    await store.save_credentials([right], None)
    await store.save_credentials([replace(dead, requests=2, cooldown_until=NOW + 60, organization="org")], None)
    expected = replace(right, requests=7, rate_limited=2, cooldown_until=NOW + 60, organization="org")
    assert store.credentials() == [expected]  # all but the mark is taken over
    await store.save_credentials([replace(right, last_error=None)], None)  # of the same age: it was answered since
    assert store.credentials()[0].last_error is None
    await store.save_credentials([replace(dead, updated_at=NOW + 3)], None)
    assert store.credentials()[0].state == "exhausted"
    await store.save_credentials([CredentialRecord("f1", "key-1")], None)  # one that knows of no mark
    assert (store.credentials()[0].state, store.credentials()[0].updated_at) == ("ready", 0.0)


records = st.builds(
    CredentialRecord,
    st.sampled_from(["f1", "f2"]),
    st.sampled_from(["key-1", "key-2"]),
    organization=st.sampled_from([None, "org"]),
    pool=st.sampled_from([None, "one", "two"]),
    cooldown_until=st.sampled_from([0.0, NOW]),
    state=st.sampled_from(["ready", "exhausted", "invalid"]),
    last_error=st.sampled_from([None, "no credit"]),
    requests=st.integers(0, 3),
    updated_at=st.sampled_from([0.0, NOW, NOW + 1]),
    learned=st.sampled_from(["", "{}", '{"at": 1.0}']),
)


@hypothesis.settings(max_examples=40)
@hypothesis.given(st.lists(st.lists(records, max_size=3), max_size=4))
def test_both_forms_keep_the_same_of_credentials(saves: list[list[CredentialRecord]]) -> None:
    async def kept(store: Store) -> list[CredentialRecord]:
        for one in saves:
            await store.save_credentials(one, None)
        found = store.credentials()
        await store.close()
        return sorted(found, key=lambda record: record.fingerprint)

    with tempfile.TemporaryDirectory() as folder:
        assert asyncio.run(kept(SqliteTaskStore(folder))) == asyncio.run(kept(MemoryTaskStore()))


async def test_processes(store: Store) -> None:
    one = ProcessRecord("p1", 11, "host", NOW + 1, NOW + 2, "{}")
    two = ProcessRecord("p2", 12, "host", NOW, NOW + 2, '{"a": "ü"}')
    await store.save_process(one)
    await store.save_process(two)
    assert store.processes() == [two, one]
    await store.save_process(replace(one, seen_at=NOW + 9))
    assert store.processes() == [two, replace(one, seen_at=NOW + 9)]
    await store.drop_process("p2")
    await store.drop_process("p3")
    assert [p.owner for p in store.processes()] == ["p1"]


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
