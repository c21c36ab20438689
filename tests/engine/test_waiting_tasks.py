"""Tasks that wait for others, and tasks that need a resource for themselves: in whole engines, one and two of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agentdash.engine.facade import End, Engine
from agentdash.engine.locks import TaskLock
from agentdash.model import TaskState
from tests.support.engines import Work, check_results, engine_over, running, state_of, until
from tests.support.stored import check


async def add(engine: Engine, *tasks: dict[str, Any]) -> None:
    """Tasks as a file states them."""
    path = engine.project_path / f"tasks-{engine.store.counts().total}.jsonl"
    path.write_text("".join(json.dumps({"prompt": "p", **task}) + "\n" for task in tasks))
    await engine.add([str(path)])


DIAMOND = (
    {"id": "end", "after": ["left", "right"]},
    {"id": "left", "after": "start"},
    {"id": "right", "after": ["start"]},
    {"id": "start"},
)


class Overlaps:
    """What runs together: the tasks of each resource that were met at work at one time."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.most: dict[str, int] = {}
        self._now: dict[str, int] = {}

    async def __call__(self, task: dict[str, Any], worker_id: str) -> str:
        self.begun.append(task["id"])
        names = task.get("lock", ["none"])
        for name in names:
            self._now[name] = self._now.get(name, 0) + 1
            self.most[name] = max(self.most.get(name, 0), self._now[name])
        for _ in range(5):
            await asyncio.sleep(0)
        for name in names:
            self._now[name] -= 1
        return "done"


# -- dependencies ----------------------------------------------------------------------------------------------------
async def test_a_diamond_is_run_in_its_order(tmp_path: Path) -> None:
    work = Work()
    work.let_go()
    async with engine_over(tmp_path, work) as engine:
        await add(engine, *DIAMOND)
        assert await engine.run() is End.FINISHED
        assert (work.begun[0], set(work.begun[1:3]), work.begun[3]) == ("start", {"left", "right"}, "end")
        check(engine.store)
        check_results(engine)


async def test_idle_workers_begin_at_once_what_an_ended_task_has_freed(tmp_path: Path) -> None:
    work = Work()
    async with engine_over(tmp_path, work) as engine:
        await add(engine, *DIAMOND)
        async with running(engine) as run:
            await until(lambda: work.begun == ["start"])
            await until(lambda: "tasks wait for tasks that run" in engine.snapshot().waiting_for)
            work.let_go()
            assert await run is End.FINISHED


async def test_a_run_ends_when_only_held_tasks_are_left(tmp_path: Path) -> None:
    work = Work()
    work.let_go()
    work.bad = {"start"}
    async with engine_over(tmp_path, work) as engine:
        await add(engine, *DIAMOND, {"id": "apart"})
        assert await engine.run() is End.FINISHED
        assert set(work.begun) == {"start", "apart"}
        shown = engine.snapshot()
        assert (shown.status, shown.counts.held) == ("finished", 3)
        assert shown.waiting_for == engine.held() == "3 tasks wait for tasks that failed: start"
        assert engine.status()["held"] == 3
        work.bad = set()
        await engine.requeue(["start"])
        assert engine.held() == ""
        assert await engine.run() is End.FINISHED
        assert engine.store.counts().succeeded == 5


async def test_a_served_run_goes_on_when_what_held_it_is_requeued(tmp_path: Path) -> None:
    work = Work()
    work.let_go()
    work.bad = {"start"}
    async with engine_over(tmp_path, work) as engine:
        await add(engine, *DIAMOND)
        async with running(engine, serve=True):
            await until(lambda: engine.snapshot().status == "finished")
            work.bad = set()
            await engine.requeue(None)
            await until(lambda: engine.store.counts().succeeded == 4)
            check(engine.store)


async def test_held_tasks_are_named_with_those_that_hold_them(tmp_path: Path) -> None:
    work = Work()
    work.let_go()
    work.bad = {f"bad{n}" for n in range(5)}
    async with engine_over(tmp_path, work) as engine:
        await add(
            engine, *({"id": f"bad{n}"} for n in range(5)), *({"id": f"w{n}", "after": f"bad{n}"} for n in range(5))
        )
        await engine.run()
        assert engine.held() == "5 tasks wait for tasks that failed: bad0, bad1, bad2, …"
        await engine.requeue(["bad0", "bad1", "bad2", "bad3"])
        await engine.cancel(["bad0", "bad1", "bad2", "bad3"])
        assert engine.held().startswith("5 tasks wait for tasks that failed or were cancelled: ")


async def test_an_engine_hears_of_what_another_one_has_freed(tmp_path: Path) -> None:
    first, second = Work(), Work()
    async with engine_over(tmp_path, first, workers=1) as one, engine_over(tmp_path, second, workers=1) as two:
        await add(one, {"id": "a"}, {"id": "b", "after": "a"}, {"id": "c", "after": "b"})
        async with running(one) as run_one:
            await until(lambda: first.begun == ["a"])
            async with running(two) as run_two:
                first.let_go()
                second.let_go()
                assert (await run_one, await run_two) == (End.FINISHED, End.FINISHED)
        assert first.begun + second.begun == ["a", "b", "c"] or set(first.begun + second.begun) == {"a", "b", "c"}
        check(one.store)
        check_results(one)


# -- priorities ------------------------------------------------------------------------------------------------------
async def test_a_priority_that_is_changed_holds_for_the_next_task(tmp_path: Path) -> None:
    work = Work()
    async with engine_over(tmp_path, work, tasks=20, workers=1) as engine, running(engine) as run:
        await until(lambda: work.begun == ["t0"])
        assert await engine.prioritize(["t17", "t0"], by=1) == 1
        assert await engine.prioritize(["t19"], to=7) == 1
        view = engine.snapshot().undo
        assert view is not None
        assert view.text == "1 task given another priority"
        work.let_go()
        assert await run is End.FINISHED
        assert work.begun[:4] == ["t0", "t19", "t17", "t1"]


async def test_a_priority_can_be_taken_back(tmp_path: Path) -> None:
    work = Work()
    work.let_go()
    async with engine_over(tmp_path, work, tasks=3, workers=1) as engine:
        await engine.prioritize(["t2"], to=1)
        assert await engine.undo() == (1, 0)
        await engine.run()
        assert work.begun == ["t0", "t1", "t2"]


# -- resources -------------------------------------------------------------------------------------------------------
async def test_one_running_task_has_a_resource_and_the_others_run_beside_it(tmp_path: Path) -> None:
    work = Overlaps()
    async with engine_over(tmp_path, work, workers=8) as engine:
        locked = [{"id": f"d{n}", "lock": "db"} for n in range(20)]
        both = [{"id": f"b{n}", "lock": ["gpu", "db"] if n % 2 else ["db", "gpu"]} for n in range(10)]
        await add(engine, *locked, *both, *({"id": f"f{n}"} for n in range(40)))
        assert await engine.run() is End.FINISHED
        assert engine.store.counts().succeeded == 70
        assert (work.most["db"], work.most["gpu"]) == (1, 1)
        assert work.most["none"] > 1
        assert engine.manager.busy_resources() == []


async def test_a_waiting_task_begins_when_the_resource_is_free_and_its_lock_is_shown(tmp_path: Path) -> None:
    work = Work()
    async with engine_over(tmp_path, work, workers=3) as engine:
        await add(engine, {"id": "a", "lock": "db"}, {"id": "b", "lock": "db"}, {"id": "c"})
        async with running(engine) as run:
            await until(lambda: set(work.begun) == {"a", "c"})
            assert {lock.task_id for lock in engine.snapshot().locks} == {"a", "c", "resource:db"}
            await until(lambda: engine.snapshot().waiting_for == "1 task waits for db")
            work.let_go()
            assert await run is End.FINISHED
        assert work.begun[2] == "b"


async def test_a_resource_that_another_process_holds_is_waited_for_without_spinning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    work.let_go()
    other = TaskLock(tmp_path)
    assert other.acquire("resource:db", "elsewhere")
    async with engine_over(tmp_path, work, workers=4) as engine:
        tries = 0
        acquire = engine.lock.acquire

        def counted(task_id: str, holder_id: str, timeout: float | None) -> bool:
            nonlocal tries
            tries += task_id.startswith("resource:")
            return acquire(task_id, holder_id, timeout)

        monkeypatch.setattr(engine.lock, "acquire", counted)
        await add(engine, *({"id": f"d{n}", "lock": "db"} for n in range(1000)), {"id": "free"})
        async with running(engine) as run:
            await until(lambda: work.begun == ["free"])
            await until(lambda: tries >= 2)
            assert tries < 10
            monkeypatch.undo()
            other.close()
            assert await run is End.FINISHED
        assert engine.store.counts().succeeded == 1001


async def test_a_failing_task_gives_its_resource_back(tmp_path: Path) -> None:
    work = Work()
    work.let_go()
    work.bad = {"a"}
    async with engine_over(tmp_path, work, workers=2) as engine:
        await add(engine, {"id": "a", "lock": "db"}, {"id": "b", "lock": "db"})
        await engine.run()
        assert (state_of(engine, "a"), state_of(engine, "b")) == (TaskState.FAILED, TaskState.SUCCEEDED)
        assert not engine.lock.held()


async def test_a_task_whose_resource_lock_was_removed_is_stopped(tmp_path: Path) -> None:
    work = Work()
    async with engine_over(tmp_path, work, workers=1) as engine:
        await add(engine, {"id": "a", "lock": "db"})
        async with running(engine) as run:
            await until(lambda: work.begun == ["a"])
            (path,) = (tmp_path / ".locks").glob("task-resource*")
            path.unlink()
            await until(lambda: any(event.kind == "compromised" for event in engine.events_since(0)))
            work.let_go()
            assert await run is End.FINISHED
        assert state_of(engine, "a") is TaskState.SUCCEEDED
        assert work.begun == ["a", "a"]


@pytest.mark.parametrize("names", [["db"], ["db", "gpu"]])
async def test_two_engines_never_have_a_resource_at_one_time(tmp_path: Path, names: list[str]) -> None:
    work = Overlaps()
    async with engine_over(tmp_path, work, workers=3) as one, engine_over(tmp_path, work, workers=3) as two:
        await add(one, *({"id": f"d{n}", "lock": names if n % 2 else names[::-1]} for n in range(30)))
        async with running(one) as run_one, running(two) as run_two:
            assert (await run_one, await run_two) == (End.FINISHED, End.FINISHED)
        assert set(work.most.values()) == {1}
        assert sorted(work.begun) == sorted(f"d{n}" for n in range(30))
