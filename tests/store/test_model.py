"""Any order of calls: both forms of the store against a model of a few lines."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, initialize, invariant, multiple, rule

from agentdash.engine.store import Claim, MemoryTaskStore, SqliteTaskStore, claimed
from agentdash.engine.store.transitions import REQUEUEABLE
from agentdash.errors import BadInputError
from agentdash.model import FINISHED_STATES, MAX_PRIORITY, TaskSpec, TaskState
from tests.support.stored import NOW, Store, check, end, spec

T = TypeVar("T")
IDS = [f"t{n}" for n in range(4)]
LATE = [f"u{n}" for n in range(3)]
"""Added while the others run: they may wait for those in any state."""
RESOURCES = ("disk", "gpu")
ids = st.sampled_from([*IDS, *LATE])
needs = st.lists(st.lists(ids, max_size=3, unique=True), min_size=len(IDS), max_size=len(IDS))
resources = st.lists(st.sampled_from(RESOURCES), max_size=2, unique=True)
counters = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2))
some_ids = st.lists(ids, max_size=3)
ends = st.sampled_from([TaskState.PENDING, TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED])


@dataclass
class Model:
    """One task as it ought to be."""

    state: TaskState = TaskState.PENDING
    fence: int = 0
    attempts: int = 0
    available_at: float = 0.0
    asked: bool = False
    service_failures: int = 0
    crashes: int = 0
    error: str | None = None
    priority: int = 0
    after: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()
    first_priority: int = 0


class StoreMachine(RuleBasedStateMachine):
    """Claims, settlements in and out of time, requeues, cancellations, and time that passes."""

    claims: Bundle[Claim] = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.make()
        self.now = NOW
        self.model: dict[str, Model] = {}
        self.settled = 0
        self.undo: dict[str, tuple[Model, TaskState, int]] = {}
        """What the last action changed: each task as it was, and the state and fence it was left with."""

    def make(self) -> Store:
        raise NotImplementedError

    def wait(self, call: Awaitable[T]) -> T:
        async def run() -> T:
            return await call

        return self.runner.run(run())

    def teardown(self) -> None:
        self.wait(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    @initialize(
        priorities=st.lists(st.integers(-1, 1), min_size=len(IDS), max_size=len(IDS)), needs=needs, locks=resources
    )
    def add(self, priorities: list[int], needs: list[list[str]], locks: list[str]) -> None:
        """Each may wait for any that stands before it, and the last one needs resources."""
        for place, (task_id, priority) in enumerate(zip(IDS, priorities, strict=True)):
            after = tuple(needed for needed in needs[place] if needed in IDS[:place])
            mine = tuple(sorted(locks)) if place == len(IDS) - 1 else ()
            self.model[task_id] = Model(priority=priority, first_priority=priority, after=after, locks=mine)
        self.wait(self.store.add(map(self.line, reversed(IDS))))

    def line(self, task_id: str) -> TaskSpec:
        model = self.model[task_id]
        return spec(task_id, priority=model.first_priority, after=model.after, locks=model.locks)

    @rule(place=st.integers(0, len(LATE) - 1), after=st.lists(ids, max_size=3, unique=True), locks=resources)
    def add_another(self, place: int, after: list[str], locks: list[str]) -> None:
        task_id = LATE[place]
        if task_id in self.model:
            return
        new = Model(after=tuple(after), locks=tuple(sorted(locks)))
        if set(after) <= self.model.keys():
            self.model[task_id] = new
            assert self.wait(self.store.add([self.line(task_id)])).added == 1
            return
        refused = spec(task_id, after=new.after)
        with pytest.raises(BadInputError):
            self.wait(self.store.add([refused]))
        assert self.wait(self.store.add([refused], skip_conflicts=True)).added == 0

    def succeeded(self, task_id: str) -> bool:
        return self.model[task_id].state is TaskState.SUCCEEDED

    def waits_for(self, task_id: str) -> int:
        return sum(not self.succeeded(needed) for needed in self.model[task_id].after)

    def is_held(self, task_id: str) -> bool:
        """Whether a pending task waits for one that failed or was cancelled, itself or through others."""
        after = [self.model[needed].state for needed in self.model[task_id].after]
        if any(state in (TaskState.FAILED, TaskState.CANCELLED) for state in after):
            return True
        return any(self.is_held(n) for n in self.model[task_id].after if self.model[n].state is TaskState.PENDING)

    @rule(target=claims, number=st.integers(1, 3))
    def claim_what_is_ready(self, number: int) -> MultipleResults[Claim]:
        found = []
        for ready in self.store.ready(number, self.now):
            task = self.store.load(ready.seq)
            assert task is not None
            assert task.fence == ready.fence
            assert self.wait(self.later_claim(task.id))
            found.append(claimed(task, "me", "w1", self.now))
            model = self.model[task.id]
            assert all(map(self.succeeded, model.after))
            model.state, model.fence, model.asked = TaskState.RUNNING, model.fence + 1, False
        return multiple(*found)

    async def later_claim(self, task_id: str) -> bool:
        record = self.store.find(task_id)
        assert record is not None
        task = self.store.load(record.seq)
        assert task is not None
        return await self.store.claim(task, "me", "w1", self.now)

    @rule(task_id=ids)
    def claim_what_may_not_be(self, task_id: str) -> None:
        if task_id in self.model and (self.model[task_id].state is not TaskState.PENDING or self.waits_for(task_id)):
            assert not self.wait(self.later_claim(task_id))

    @rule(held=claims, state=ends, counters=counters, delay=st.sampled_from([0.0, 1.0, 5.0]))
    def settle(self, held: Claim, state: TaskState, counters: tuple[int, int, int], delay: float) -> None:
        """Each claim stays in the bundle: most settlements come twice or too late."""
        attempts, service_failures, crashes = counters

        async def settle() -> bool:
            at = self.now + delay if state is TaskState.PENDING else 0.0
            ended = end(held, state, attempts=attempts, available_at=at)
            return await self.store.settle(held, replace(ended, service_failures=service_failures, crashes=crashes))

        model = self.model[held.task.id]
        holds = model.state is TaskState.RUNNING and model.fence == held.task.fence
        assert self.wait(settle()) == holds
        if holds:
            model.state, model.attempts, model.asked = state, attempts, False
            model.service_failures, model.crashes = service_failures, crashes
            model.error = "Boom" if state is TaskState.FAILED else None
            model.available_at = self.now + delay if state is TaskState.PENDING else 0.0
            self.settled += 1

    @rule(delay=st.sampled_from([0.0, 1.0]))
    def reap(self, delay: float) -> None:
        for row in self.store.running():
            settlement = end(row, TaskState.PENDING, attempts=0, available_at=self.now + delay, crashes=1)
            assert self.wait(self.store.reclaim(row, settlement))
            assert not self.wait(self.store.reclaim(row, settlement))
            self.model[row.id] = self.fresh(row.id, fence=row.fence, available_at=self.now + delay, crashes=1)
            self.settled += 1

    @rule(chosen=st.one_of(st.none(), some_ids))
    def requeue(self, chosen: list[str] | None) -> None:
        if chosen is None:
            moved = [task_id for task_id, model in self.model.items() if model.state is TaskState.FAILED]
        else:
            moved = [i for i in set(chosen) & self.model.keys() if self.model[i].state in REQUEUEABLE]
        assert self.wait(self.store.requeue(chosen)) == len(moved)
        if moved:
            self.undo = {}
        for task_id in moved:
            model = self.model[task_id]
            self.undo[task_id] = (replace(model), TaskState.PENDING, model.fence + 1)
            self.model[task_id] = self.fresh(task_id, fence=model.fence + 1)

    @rule(chosen=some_ids)
    def cancel(self, chosen: list[str]) -> None:
        pending = [i for i in set(chosen) & self.model.keys() if self.model[i].state is TaskState.PENDING]
        running = [i for i in set(chosen) & self.model.keys() if self.model[i].state is TaskState.RUNNING]
        assert self.wait(self.store.cancel(chosen, self.now)) == (len(pending), len(running))
        if pending or running:
            self.undo = {}
        for task_id in pending:
            model = self.model[task_id]
            self.undo[task_id] = (replace(model), TaskState.CANCELLED, model.fence + 1)
            model.state, model.fence, model.error = TaskState.CANCELLED, model.fence + 1, None
        for task_id in running:
            model = self.model[task_id]
            self.undo[task_id] = (replace(model), TaskState.RUNNING, model.fence)
            model.asked = True

    def fresh(self, task_id: str, **changes: Any) -> Model:
        """The task begun anew: what its line said stays."""
        old = self.model[task_id]
        new = Model(**changes)
        new.priority, new.first_priority, new.after, new.locks = old.priority, old.first_priority, old.after, old.locks
        return new

    @rule(chosen=some_ids, to=st.one_of(st.none(), st.integers(-2, 2)), by=st.sampled_from([-1, 1, 2 * MAX_PRIORITY]))
    def prioritize(self, chosen: list[str], to: int | None, by: int) -> None:
        pending = [i for i in set(chosen) & self.model.keys() if self.model[i].state is TaskState.PENDING]
        assert self.wait(self.store.prioritize(chosen, to=to, by=by)) == len(pending)
        if pending:
            self.undo = {i: (replace(self.model[i]), TaskState.PENDING, self.model[i].fence) for i in pending}
        for task_id in pending:
            model = self.model[task_id]
            model.priority = min(MAX_PRIORITY, model.priority + by) if to is None else to

    @rule()
    def take_back(self) -> None:
        restored = 0
        for task_id, (before, left, fence) in self.undo.items():
            model = self.model[task_id]
            if model.fence != fence:
                continue
            if left is TaskState.RUNNING and model.state in (TaskState.RUNNING, TaskState.PENDING):
                model.asked = False
            elif left is TaskState.RUNNING and model.state is TaskState.CANCELLED:
                self.model[task_id] = replace(before, state=TaskState.PENDING, fence=fence + 1, asked=False)
            elif left is model.state is before.state is TaskState.PENDING:
                model.priority = before.priority
            elif left is not TaskState.RUNNING and model.state is left:
                self.model[task_id] = replace(before, fence=fence + 1)
            else:
                continue
            restored += 1
        assert self.wait(self.store.undo()) == (restored, len(self.undo) - restored)
        self.undo = {}

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0]))
    def wait_a_while(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def add_again(self) -> None:
        report = self.wait(self.store.add(map(self.line, list(self.model))))
        assert (report.added, report.known) == (0, len(self.model))

    @invariant()
    def is_as_the_model_says(self) -> None:
        if not self.model:
            return
        check(self.store)
        states = Counter(m.state for m in self.model.values())
        held = {i for i, m in self.model.items() if m.state is TaskState.PENDING and self.is_held(i)}
        assert self.store.counts().held == len(held)
        assert {state: getattr(self.store.counts(), state.value) for state in TaskState} == {
            state: states[state] for state in TaskState
        }
        for record in self.store.tasks():
            model = self.model[record.id]
            task = self.store.load(record.seq)
            assert task is not None
            assert (task.state, task.fence) == (model.state, model.fence)
            counters = (model.attempts, model.service_failures, model.crashes)
            assert (task.attempts, task.service_failures, task.crashes) == counters
            assert (record.attempts, record.service_failures, record.crashes) == counters
            assert record.error_type == model.error
            assert (record.priority, record.waits_for) == (model.priority, self.waits_for(record.id))
            assert (record.held_by is not None) == (record.id in held)
            assert set(record.after) == set(model.after)
        all_ids = list(self.model)
        lines = [self.store.result(task_id) for task_id in all_ids]
        finished = [json.loads(line)["custom_id"] for line in lines if line is not None]
        assert finished == [task_id for task_id in all_ids if self.model[task_id].state in FINISHED_STATES]
        assert {r.id: r.cancel_requested for r in self.store.running()} == {
            task_id: m.asked for task_id, m in self.model.items() if m.state is TaskState.RUNNING
        }
        seqs = {record.id: record.seq for record in self.store.tasks()}
        pending = [task_id for task_id, model in self.model.items() if model.state is TaskState.PENDING]
        may = [i for i in pending if self.model[i].available_at <= self.now and not self.waits_for(i)]
        may.sort(key=lambda i: (-self.model[i].priority, not self.model[i].locks, seqs[i]))
        assert [r.id for r in self.store.ready(20, self.now)] == may
        for busy in (["gpu"], ["disk"], list(RESOURCES)):
            free = [i for i in may if not set(busy) & set(self.model[i].locks)]
            found = [r.id for r in self.store.ready(20, self.now, busy)]
            assert [i for i in found if not self.model[i].locks] == [i for i in free if not self.model[i].locks]
            firsts = {self.model[i].locks: i for i in reversed(free)}
            assert set(firsts.values()) <= set(found) <= set(free)
            assert found == [i for i in free if i in set(found)]
        times = [at for task_id in pending if (at := self.model[task_id].available_at) > self.now]
        assert self.store.next_available_at(self.now) == min(times, default=None)
        assert self.store.totals().requests == self.settled


class MemoryMachine(StoreMachine):
    def make(self) -> Store:
        return MemoryTaskStore()


class SqliteMachine(StoreMachine):
    def make(self) -> Store:
        return SqliteTaskStore(self.folder)

    @rule()
    def open_again(self) -> None:
        """Everything is in the database, but for what can be undone: that was this process's."""
        self.wait(self.store.close())
        self.store, self.undo = self.make(), {}


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
