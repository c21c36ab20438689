"""The wall clock is put back by hours: what waits for a date that the earlier clock gave must not wait for hours."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agentdash.clock import SystemClock
from agentdash.config import Settings
from agentdash.engine.credentials import APICredential
from agentdash.engine.facade import End, Engine
from agentdash.engine.limits import LimitPool
from agentdash.engine.manager import TaskStateManager
from agentdash.engine.processors import FunctionProcessor
from agentdash.engine.store import CredentialRecord, MemoryTaskStore, SqliteTaskStore
from agentdash.secret import Secret
from tests.support.clock import FakeClock
from tests.support.keys import Keys, limited
from tests.support.stored import specs

_HOURS_S = 10 * 3600.0


class WallClock(SystemClock):
    """The machine's time, with a wall clock that can be put elsewhere."""

    __slots__ = ("ahead",)

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead

    def now(self) -> float:
        return time.time() + self.ahead


class Keyed(FunctionProcessor):
    """A function that runs on the credentials of the run."""

    needs_credentials = True


def tasks(project: Path) -> str:
    path = project / "tasks.jsonl"
    path.write_text(json.dumps({"id": "t1", "prompt": "p"}) + "\n")
    return str(path)


async def test_a_task_that_waits_for_a_retry(tmp_path: Path) -> None:
    clock = WallClock(_HOURS_S)
    asked = 0

    async def work(task: dict[str, Any], worker_id: str) -> str:
        nonlocal asked
        asked += 1
        if asked == 1:
            asyncio.get_running_loop().call_later(0.05, setattr, clock, "ahead", 0.0)
            raise ValueError("not now")
        return "done"

    async with Engine(Settings(workers=1, project=tmp_path), processor=FunctionProcessor(work), clock=clock) as engine:
        await engine.add([tasks(tmp_path)])
        assert await asyncio.wait_for(engine.run(), 20) is End.FINISHED
    assert asked == 2


async def test_what_an_earlier_run_with_a_wrong_clock_left(tmp_path: Path) -> None:
    """A cooldown of a run that ended before its clock was put right."""
    credential = APICredential(Secret("secret-of-a-test"))
    store = SqliteTaskStore(tmp_path)
    future = time.time() + _HOURS_S
    learned = json.dumps({"requests": {"per_minute": 60.0, "burst": 1.0}, "model": "m", "at": future})
    await store.save_credentials(
        [CredentialRecord(credential.fingerprint, "key-1", cooldown_until=future + 1, learned=learned)], None
    )
    await store.close()

    async def work(task: dict[str, Any], worker_id: str) -> str:
        return "done"

    settings = Settings(workers=1, project=tmp_path)
    async with Engine(settings, processor=Keyed(work), credentials=[credential]) as engine:
        await engine.add([tasks(tmp_path)])
        assert await asyncio.wait_for(engine.run(), 20) is End.FINISHED
    again = SqliteTaskStore(tmp_path)
    assert again.credentials()[0].cooldown_until < time.time() + 60
    await again.close()


@pytest.mark.parametrize("form", ["memory", "sqlite"])
async def test_no_wait_in_the_store_is_longer_than_the_longest(form: str, tmp_path: Path) -> None:
    store = MemoryTaskStore() if form == "memory" else SqliteTaskStore(tmp_path)
    clock = FakeClock()
    await store.add(specs(3))
    manager = TaskStateManager(store, owner="me", clock=clock)
    for wait in (_HOURS_S, 5.0):
        task = manager.get_next_pending_task()
        assert task is not None
        claim = await manager.claim(task, "w1")
        assert claim is not None
        settlement = manager.settlement_for_stop(claim, None)
        await manager.settle(claim, replace(settlement, available_at=clock.now() + wait))
    await store.save_credentials([CredentialRecord("f1", "key-1", cooldown_until=clock.now() + _HOURS_S)], None)
    await store.clock_went_back(_HOURS_S - 60, clock.now() + 30)
    assert len(store.ready(9, clock.now())) == 1
    assert len(store.ready(9, clock.now() + 5)) == 2
    assert len(store.ready(9, clock.now() + 30)) == 3
    assert store.credentials()[0].cooldown_until == clock.now() + 60
    await store.clock_went_back(0, clock.now() + 3)
    assert len(store.ready(9, clock.now() + 3)) == 3
    await store.close()


async def test_a_task_that_was_locked_elsewhere_is_tried_again() -> None:
    store, clock = MemoryTaskStore(), FakeClock()
    await store.add(specs(1))
    manager = TaskStateManager(store, owner="me", clock=clock)
    task = manager.get_next_pending_task()
    assert task is not None
    manager.skip(task)
    assert manager.get_next_pending_task() is None
    clock.advance(-_HOURS_S)
    manager.notify()
    assert manager.locked_elsewhere() == 0
    assert manager.get_next_pending_task() is not None


def test_a_cooldown_lasts_as_long_as_it_would_have() -> None:
    keys = Keys("a")
    keys.meet(limited(30))
    until = keys.state.readiness().at
    assert until is not None
    keys.state.pools.clock_went_back(_HOURS_S)
    assert keys.state.pool_of(keys["a"]).cooldown_until == until - _HOURS_S


@pytest.mark.parametrize("learned", ["", "no json", "[]", "{}", '{"at": null}', '{"at": [1]}', "[" * 100_000])
def test_what_says_no_time_was_learned_at_none(learned: str) -> None:
    assert LimitPool.learned_at(learned) == 0.0


def test_the_time_at_which_limits_were_learned() -> None:
    assert LimitPool.learned_at('{"at": 12.5}') == 12.5
