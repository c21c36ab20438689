"""The queue for code without workers: tasks as dicts, claims and settlements by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentdash.engine.manager import TaskStateManager
from agentdash.engine.store import SqliteTaskStore
from agentdash.errors import TransitionError
from agentdash.model import TaskState
from tests.engine.handing import next_ids, next_task
from tests.support.stored import Store, check, end, specs, task_of


async def test_update_task_by_hand(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(4))
    task = next_task(manager)
    assert manager.update_task(task.id, is_started=True)
    assert task_of(store, "t1").state is TaskState.RUNNING
    assert not manager.update_task(task.id, is_started=True)  # once
    assert manager.update_task(task.id, is_complete=True)
    assert task_of(store, "t1").state is TaskState.SUCCEEDED
    assert manager.update_task("t2", is_started=True)
    assert manager.update_task("t2", is_complete=True, error_message="broken", attempts=7)
    record = store.find("t2")
    assert record is not None
    assert (record.state, record.error_message, record.attempts) == (TaskState.FAILED, "broken", 7)
    assert manager.update_task("t3", error_message="refused")  # straight from pending
    assert task_of(store, "t3").state is TaskState.FAILED
    assert manager.update_task("t4", is_started=True)
    assert manager.update_task("t4", is_started=False)
    assert (task_of(store, "t4").state, task_of(store, "t4").attempts) == (TaskState.PENDING, 0)
    assert next_ids(manager) == ["t4"]
    assert not manager.update_task("t4")
    check(store)


async def test_update_task_of_what_cannot_be(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(2))
    assert manager.get_task("unknown") is None
    with pytest.raises(KeyError):
        manager.update_task("unknown", is_started=True)
    with pytest.raises(TransitionError, match="is pending, not running"):
        manager.update_task("t1", is_started=False)
    manager.update_task("t1", is_complete=True)
    with pytest.raises(TransitionError, match="is succeeded: requeue it first"):
        manager.update_task("t1", is_started=True)
    with pytest.raises(TransitionError, match="is succeeded, not running"):
        manager.update_task("t1", is_complete=True)
    with pytest.raises(TransitionError, match="is succeeded, not running"):
        manager.update_task("t1", is_started=False)
    check(store)


async def test_update_task_leaves_the_work_of_others_alone(manager: TaskStateManager, store: Store) -> None:
    await store.add(specs(2))
    other = TaskStateManager(store, owner="other")
    assert other.update_task("t1", is_started=True)
    assert not manager.update_task("t1", is_complete=True)
    assert not manager.update_task("t1", error_message="mine!")
    assert not manager.update_task("t1", is_started=False)
    assert task_of(store, "t1").state is TaskState.RUNNING
    (row,) = store.running()
    await store.reclaim(row, end(row, TaskState.PENDING, crashes=1))
    assert manager.update_task("t1", is_started=True)
    assert not other.update_task("t1", is_complete=True)  # its claim has a successor
    assert manager.update_task("t1", is_complete=True)
    check(store)


async def test_add_tasks() -> None:
    manager = TaskStateManager()
    added = manager.add_tasks([{"id": "a"}, {"prompt": "x"}, {"id": "a", "priority": 3}, {"id": 7}])
    assert [task.id for task in added] == ["a", "task-1", "a-2", "7"]
    assert next_ids(manager) == ["a-2", "a", "task-1", "7"]


def test_add_tasks_needs_memory(tmp_path: Path) -> None:
    manager = TaskStateManager(tmp_path)
    assert isinstance(manager.store, SqliteTaskStore)
    with pytest.raises(TypeError, match=r"Engine\.add"):
        manager.add_tasks([{"id": "a"}])
    manager.store.close_and_wait()
