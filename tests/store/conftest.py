"""Both forms of the task store, each as a fresh one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentdash.engine.store import MemoryTaskStore, SqliteTaskStore
from tests.support.stored import Store


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqliteTaskStore]:
    store = SqliteTaskStore(tmp_path / "project", busy_limit_s=1.0)
    yield store
    store.close_and_wait()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryTaskStore()
    found: SqliteTaskStore = request.getfixturevalue("sqlite")
    return found
