"""The writing thread: group commits, failing neighbours, a busy database, other processes, sudden death."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.writer import Transaction
from agentdash.errors import BadInputError, StoreError, StoreWriteError, TransitionError
from agentdash.model import Counts, TaskState, Totals
from tests.support.processes import eventually, python, read_line
from tests.support.stored import NOW, check, claim, end, run, spec, specs, task_of


@contextmanager
def held_by_another(store: SqliteTaskStore) -> Iterator[sqlite3.Connection]:
    """Another program writes to the database and does not come to an end."""
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other
        if other.in_transaction:
            other.execute("ROLLBACK")


# -- neighbours ------------------------------------------------------------------------------------------------------
async def test_one_turn_is_one_commit(sqlite: SqliteTaskStore) -> None:
    await sqlite.add(specs(100))
    before = sqlite.writer.commits
    tasks = [task_of(sqlite, f"t{n}") for n in range(1, 101)]
    with held_by_another(sqlite) as other:  # so that the thread cannot begin before all are there
        claims = [sqlite.claim(task, "me", "w", NOW) for task in tasks]
        other.execute("ROLLBACK")
        assert all([await one for one in claims])
    assert sqlite.writer.commits - before == 1


async def test_a_request_that_fails_does_not_harm_its_neighbours(sqlite: SqliteTaskStore) -> None:
    await sqlite.add(specs(4))
    held = [await claim(sqlite, f"t{n}") for n in range(1, 5)]

    def broken(transaction: Transaction) -> None:
        transaction.connection.execute("INSERT INTO sources (path) VALUES (NULL)")

    def misspelt(transaction: Transaction) -> None:
        transaction.connection.execute("SELEKT")

    def unbindable(transaction: Transaction) -> None:
        transaction.connection.execute("SELECT ?", (object(),))

    def crashing(transaction: Transaction) -> None:
        transaction.connection.execute("UPDATE tasks SET state = 3")
        raise ZeroDivisionError

    changes = [broken, misspelt, unbindable, crashing]
    failing = [asyncio.create_task(sqlite._run(change)) for change in changes]
    nan = sqlite.settle(held[0], end(held[0], TaskState.PENDING, available_at=float("nan")))
    running = sqlite.settle(held[1], end(held[1], TaskState.RUNNING))
    good = sqlite.settle(held[2], end(held[2], TaskState.SUCCEEDED))
    also_good = asyncio.create_task(sqlite.add_totals(Totals(retries=7)))
    assert await good
    await also_good
    with pytest.raises(TransitionError):
        await running
    with pytest.raises(StoreError):
        await nan
    kinds = [type(error) for error in await asyncio.gather(*failing, return_exceptions=True)]
    assert kinds == [StoreWriteError, StoreWriteError, StoreWriteError, ZeroDivisionError]
    assert sqlite.counts() == Counts(running=3, succeeded=1)
    assert sqlite.totals().retries == 7
    check(sqlite)


async def test_a_refused_file_does_not_harm_its_neighbours(sqlite: SqliteTaskStore) -> None:
    await sqlite.add(specs(2))
    held = await claim(sqlite, "t1")
    settled = sqlite.settle(held, end(held, TaskState.SUCCEEDED))
    added = await asyncio.gather(
        sqlite.add(iter([spec("a"), spec("a")])), sqlite.add(iter([spec("b")])), return_exceptions=True
    )
    assert isinstance(added[0], BadInputError)
    assert await settled
    assert [record.id for record in sqlite.tasks()] == ["t1", "t2", "b"]
    check(sqlite)


# -- a busy database -------------------------------------------------------------------------------------------------
async def test_a_busy_database_is_waited_for(sqlite: SqliteTaskStore) -> None:
    await sqlite.add(specs(2))
    with held_by_another(sqlite) as other:
        waiting = sqlite.claim(task_of(sqlite, "t1"), "me", "w", NOW)
        await asyncio.to_thread(eventually, lambda: sqlite.writer.busy_since is not None)
        assert not waiting.done()
        assert sqlite.counts() == Counts(pending=2)  # reading goes on
        other.execute("ROLLBACK")
        assert await waiting
    assert sqlite.writer.busy_since is None
    check(sqlite)


async def test_a_database_that_stays_busy(tmp_path: Path) -> None:
    store = SqliteTaskStore(tmp_path, busy_limit_s=0.1)
    await store.add(specs(2))
    with held_by_another(store):
        tasks = [task_of(store, "t1"), task_of(store, "t2")]
        outcomes = await asyncio.gather(*(store.claim(t, "me", "w", NOW) for t in tasks), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreWriteError, StoreWriteError]
    assert "locked by another program" in str(outcomes[0])
    assert store.counts() == Counts(pending=2)
    await run(store, "t1")
    check(store)
    await store.close()


# -- the end ---------------------------------------------------------------------------------------------------------
async def test_closing_commits_what_is_under_way(tmp_path: Path) -> None:
    store = SqliteTaskStore(tmp_path)
    await store.add(specs(50))
    claims = [store.claim(task_of(store, f"t{n}"), "me", "w", NOW) for n in range(1, 51)]
    await store.close()
    assert all([await one for one in claims])
    with pytest.raises(StoreError, match="closed"):
        await store.requeue(None)
    with pytest.raises(StoreError, match="closed"):
        store.run_and_wait(lambda _: None)
    store.close_and_wait()  # twice is no harm
    again = SqliteTaskStore(tmp_path)
    assert again.counts() == Counts(running=50)
    await again.close()


def test_closing_while_threads_write_leaves_nobody_waiting(tmp_path: Path) -> None:
    for n in range(20):
        store = SqliteTaskStore(tmp_path / str(n))
        ends: list[str] = []

        def write(store: SqliteTaskStore = store, ends: list[str] = ends) -> None:
            try:
                while True:
                    store.run_and_wait(lambda transaction: transaction.spend(Totals(requests=1)))
            except StoreError as error:
                ends.append(error.message)

        threads = [threading.Thread(target=write, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        store.close_and_wait()
        for thread in threads:
            thread.join(5)
        assert ends == ["the store is closed"] * 3


async def test_a_loop_that_ended_is_no_trouble(tmp_path: Path) -> None:
    store = SqliteTaskStore(tmp_path)

    under_way: list[object] = []

    def run_a_loop() -> None:
        async def begin() -> None:
            under_way.append(store.writer.submit(lambda transaction, items: [None] * len(items), None))

        asyncio.run(begin())

    await asyncio.to_thread(run_a_loop)
    assert (await store.add(specs(1))).added == 1
    await store.close()


# -- other processes -------------------------------------------------------------------------------------------------
WORKER = """
import asyncio, sys
from agentdash.engine.store import SqliteTaskStore, claimed
from agentdash.model import TaskState
from tests.support.stored import NOW, end

async def main(project, owner):
    store = SqliteTaskStore(project)
    print("ready", flush=True)
    sys.stdin.readline()
    while ready := store.ready(8, NOW):
        tasks = [task for r in ready if (task := store.load(r.seq)) is not None and task.state is TaskState.PENDING]
        won = await asyncio.gather(*(store.claim(t, owner, "w", NOW) for t in tasks))
        claims = [claimed(t, owner, "w", NOW) for t, granted in zip(tasks, won) if granted]
        for held in claims:
            print("claimed", held.task.id, flush=True)
        ends = [store.settle(held, end(held, TaskState.SUCCEEDED, output=owner)) for held in claims]
        for held, settled in zip(claims, ends):
            assert await settled
            print("settled", held.task.id, flush=True)
    print("end", flush=True)
    await store.close()

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


@pytest.mark.process
async def test_two_processes_never_claim_one_task(sqlite: SqliteTaskStore) -> None:
    await sqlite.add(specs(400))
    project = sqlite.path.parent.parent
    with python(WORKER, project, "one") as one, python(WORKER, project, "two") as two:
        version = sqlite.version()
        for child in (one, two):
            assert read_line(child) == "ready"
        for child in (one, two):
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        said: dict[str, list[str]] = {"one": [], "two": []}

        def listen(name: str) -> None:
            child = one if name == "one" else two
            while (line := read_line(child)) != "end":
                assert line, f"{name} died"
                said[name].append(line)

        await asyncio.gather(asyncio.to_thread(listen, "one"), asyncio.to_thread(listen, "two"))
    claims = Counter(line for lines in said.values() for line in lines if line.startswith("claimed"))
    assert len(claims) == 400
    assert set(claims.values()) == {1}
    assert sqlite.version() != version
    assert sqlite.counts() == Counts(succeeded=400)
    for name, lines in said.items():
        for line in lines:
            line_of = json.loads(sqlite.result(line.split()[1]) or "")
            assert line_of["agentdash"]["output"] == name
    check(sqlite)


@pytest.mark.process
@pytest.mark.parametrize("after", [1, 37, 90])
async def test_kill_9_loses_nothing_that_was_acknowledged(sqlite: SqliteTaskStore, after: int) -> None:
    await sqlite.add(specs(2000))
    with python(WORKER, sqlite.path.parent.parent, "victim") as child:
        assert read_line(child) == "ready"
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
        said = [read_line(child) for _ in range(after)]
        child.send_signal(signal.SIGKILL)
        while line := read_line(child):  # what it had said by then
            said.append(line)
        child.wait()
    claims = {line.split()[1] for line in said if line.startswith("claimed ")}
    settled = {line.split()[1] for line in said if line.startswith("settled ")}
    assert claims
    for task_id in settled:
        assert task_of(sqlite, task_id).state is TaskState.SUCCEEDED
        assert sqlite.result(task_id) is not None
    for task_id in claims - settled:
        assert task_of(sqlite, task_id).state in (TaskState.RUNNING, TaskState.SUCCEEDED)
    check(sqlite)
    # The survivor goes on where the other died.
    for row in sqlite.running():
        assert await sqlite.reclaim(row, end(row, TaskState.PENDING, crashes=1))
    assert sqlite.counts().unfinished + sqlite.counts().succeeded == 2000
    await run(sqlite, sqlite.ready(1, NOW)[0].id)
    check(sqlite)


ADDER = """
import asyncio, sys
from agentdash.engine.store import SqliteTaskStore
from tests.support.stored import spec

def lines():
    for n in range(10_000_000):
        if n == 5000:
            print("adding", flush=True)
        yield spec(f"t{n}")

asyncio.run(SqliteTaskStore(sys.argv[1]).add(lines(), {"file": "stamp"}))
"""


@pytest.mark.process
async def test_kill_9_while_adding_adds_nothing(sqlite: SqliteTaskStore) -> None:
    with python(ADDER, sqlite.path.parent.parent) as child:
        assert read_line(child) == "adding"
        child.kill()
        child.wait()
    assert sqlite.counts() == Counts()
    assert sqlite.source("file") is None
    assert list(sqlite.tasks()) == []
    assert (await sqlite.add(specs(3))).added == 3
    check(sqlite)


def test_eventually_gives_up() -> None:
    with pytest.raises(AssertionError, match="in time"):
        eventually(lambda: False, within=0.01)


async def test_a_payload_is_read_as_it_was_written(sqlite: SqliteTaskStore) -> None:
    body = '{"prompt":"a \\ud800 b","metadata":{"n":1.50}}'
    await sqlite.add([replace(spec("t1"), body=body)])
    assert sqlite.payload("t1") == body
    assert task_of(sqlite, "t1").payload["prompt"] == "a \ud800 b"
