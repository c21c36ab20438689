"""The queue of a process over both forms of the task store, each as a fresh one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agentdash.engine.manager import TaskStateManager
from agentdash.engine.store import MemoryTaskStore, SqliteTaskStore
from tests.support.clock import FakeClock
from tests.support.stored import Store


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    found: Store = MemoryTaskStore() if request.param == "memory" else SqliteTaskStore(tmp_path)
    yield found
    await found.close()


@pytest.fixture
def manager(store: Store, clock: FakeClock) -> TaskStateManager:
    return TaskStateManager(store, owner="me", clock=clock)
