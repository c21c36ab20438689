"""The ends of a run in memory: a lock without other processes, and what a library caller gets back for each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentdash.engine.runner import TaskRunner
from agentdash.engine.store import MemoryTaskStore
from agentdash.model import Task, TaskState


class NoOtherProcess:
    """The lock of a run in memory: nobody else can hold its tasks."""

    def acquire(self, task_id: str, holder_id: str = "", timeout: float = 0) -> bool:
        return True

    def release(self, task_id: str, holder_id: str | None = None) -> bool:
        return True


def task_result(given: Mapping[str, Any], task: Task, store: MemoryTaskStore, runner: TaskRunner) -> dict[str, Any]:
    """What `run_parallel_agents` returns for one task."""
    record = store.find(task.id)
    answer = store.answer(task.seq)
    if record is not None and record.state is TaskState.SUCCEEDED and answer is not None:
        return {"task": given, "result": answer.value, "success": True}
    failure = store.failure(task.seq) or runner.reactions.last_failure
    message = failure.message if failure else "stopped before it ran"
    result: dict[str, Any] = {"task": given, "error": message, "success": False}
    exhausted = record is not None and record.service_failures >= runner.policy.max_service_failures
    if exhausted or (record is not None and record.state is TaskState.PENDING):
        result["exhausted_recovery"] = True
    return result
