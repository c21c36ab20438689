"""The public names are there, and they are the very objects that the engine runs on."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest

import agentdash
from agentdash import (
    AdaptiveBackoff,
    APICredential,
    APIRotationState,
    ParallelSessionManager,
    TaskLock,
    TaskStateManager,
    WorkerHealthState,
    work_stealing_loop,
)
from agentdash.config import Settings
from agentdash.engine import pool as pool_module
from agentdash.engine.facade import Engine
from agentdash.engine.processors import FunctionProcessor, TaskContext
from agentdash.model import TaskState
from agentdash.secret import Secret


@pytest.mark.parametrize("name", agentdash.__all__)
def test_every_name_is_importable(name: str) -> None:
    assert getattr(agentdash, name) is not None


def test_the_names_of_the_contract_are_all_there() -> None:
    assert set(agentdash.__all__) >= {
        "WorkerHealthState",
        "ParallelSessionManager",
        "TaskLock",
        "TaskStateManager",
        "work_stealing_loop",
        "AdaptiveBackoff",
        "APICredential",
        "APIRotationState",
        "MAX_CONSECUTIVE_FAILURES",
        "MAX_RECOVERY_ATTEMPTS",
    }


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (WorkerHealthState.record_failure, ["self", "error_type"]),
        (WorkerHealthState.record_recovery, ["self", "success"]),
        (ParallelSessionManager, ["max_workers"]),
        (ParallelSessionManager.run_parallel_agents, ["self", "tasks", "task_processor"]),
        (TaskLock.acquire, ["self", "task_id", "holder_id", "timeout"]),
        (TaskLock.release, ["self", "task_id", "holder_id"]),
        (TaskLock.lock, ["self", "task_id", "holder_id"]),
        (TaskLock.clean_all_stale_locks, ["self", "max_age_seconds"]),
        (TaskStateManager.get_task, ["self", "task_id"]),
        (work_stealing_loop, ["worker_id", "task_manager", "task_lock", "processor"]),
        (AdaptiveBackoff, ["base_delay", "max_delay", "jitter_factor"]),
        (APIRotationState.rotate, ["self", "error_message"]),
        (APIRotationState.should_rotate, ["self", "status_code", "error_text"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_the_parameters_are_those_of_the_contract(function: Any, expected: list[str]) -> None:
    by_position = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert by_position[: len(expected)] == expected
    required = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    assert set(required) <= set(expected)


def test_the_defaults_are_those_of_the_contract() -> None:
    assert ParallelSessionManager().max_workers == 3
    backoff = AdaptiveBackoff()
    assert (backoff.base_delay, backoff.max_delay, backoff.jitter_factor) == (1.0, 60.0, 0.1)
    defaults = {name: p.default for name, p in inspect.signature(TaskLock.acquire).parameters.items()}
    assert (defaults["holder_id"], defaults["timeout"]) == ("worker-0", 300)
    assert inspect.signature(TaskLock.clean_all_stale_locks).parameters["max_age_seconds"].default == 3600


def needs_a_key(task: dict[str, Any], worker_id: str, context: TaskContext) -> str:
    return "done"


async def test_the_engine_runs_on_the_public_objects(tmp_path: Path) -> None:
    credential = APICredential(Secret("a-key-for-this-test"))
    async with Engine(
        Settings(project=tmp_path, workers=2), processor=FunctionProcessor(needs_a_key), credentials=[credential]
    ) as engine:
        assert type(engine.pool) is ParallelSessionManager
        assert type(engine.manager) is TaskStateManager
        assert type(engine.lock) is TaskLock
        assert type(engine.rotation) is APIRotationState
        assert engine.rotation.get_current() is credential
        assert engine.runner.health is engine.pool.health_states
        engine.pool.resize(2)
        for worker in engine.pool._crew.workers.values():
            assert type(worker.health) is WorkerHealthState
            assert worker.health is engine.pool.health_states[worker.id]
            assert type(worker.backoff) is AdaptiveBackoff
        assert type(engine.runner.services.of("x").backoff) is AdaptiveBackoff
    assert vars(pool_module)["work_stealing_loop"] is work_stealing_loop


async def test_the_pieces_work_together_by_hand(tmp_path: Path) -> None:
    """As a library user puts them together: a queue, a lock, and some loops."""
    manager, done = TaskStateManager(), []
    manager.add_tasks([{"id": f"t{n}", "n": n} for n in range(20)])

    async def processor(task: dict[str, Any], worker_id: str) -> int:
        done.append(task["id"])
        await asyncio.sleep(0)
        return int(task["n"])

    lock = TaskLock(tmp_path)
    try:
        await asyncio.gather(*(work_stealing_loop(f"worker-{n}", manager, lock, processor) for n in range(4)))
    finally:
        lock.close()
    assert sorted(done) == sorted(f"t{n}" for n in range(20))
    assert all(record.state is TaskState.SUCCEEDED for record in manager.store.tasks())
    assert list((tmp_path / ".locks").glob("*.lock")) == []


def test_the_queue_by_hand() -> None:
    manager = TaskStateManager()
    with pytest.raises(KeyError):
        manager.update_task("nobody", is_complete=True)
    assert manager.get_next_pending_task() is None
    assert manager.get_task("nobody") is None


async def test_a_results_forms() -> None:
    async def processor(task: dict[str, Any], worker_id: str) -> str:
        if task["id"] == "bad":
            raise ValueError("this one is bad")
        return worker_id

    tasks = [{"id": "good"}, {"id": "bad"}]
    good, bad = await ParallelSessionManager(max_workers=1).run_parallel_agents(tasks, processor)
    assert good == {"task": {"id": "good"}, "result": "worker-0", "success": True}
    assert bad == {"task": {"id": "bad"}, "error": "this one is bad", "success": False}
