"""The Windows form over filelock keeps the same promises; run here on whatever filelock uses here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("filelock")

from agentdash.engine.locks.windows import TaskLock
from agentdash.errors import LockError


@pytest.fixture
def locks(project: Path) -> Iterator[TaskLock]:
    lock = TaskLock(project)
    yield lock
    lock.close()


def test_exclusion_and_release(locks: TaskLock, project: Path) -> None:
    other = TaskLock(project)
    assert locks.acquire("t1", "worker-1", timeout=5)
    assert not locks.acquire("t1")
    assert not other.acquire("t1")
    assert other.is_locked("t1")
    assert not locks.release("t1", "worker-2")
    assert locks.heartbeat("t1")
    assert [view.state for view in other.views(0)] == ["held"]
    assert [view.state for view in other.views(1e11)] == ["overdue"]
    assert locks.release("t1", "worker-1")
    assert not locks.heartbeat("t1")
    assert other.acquire("t1")
    other.close()
    with pytest.raises(LockError):
        other.acquire("t1")


def test_cleaning_and_context(locks: TaskLock, project: Path) -> None:
    (project / ".locks/task-dead.lock").touch()
    with TaskLock(project).lock("alive") as acquired:
        assert acquired
        assert {view.state for view in locks.views(0)} == {"held", "stale"}
        assert locks.clean_all_stale_locks() == 0
        assert locks.clean_all_stale_locks(0) == 1
        assert locks.is_locked("alive")
    assert [path.name for path in (project / ".locks").iterdir()] == [".gitignore"]
