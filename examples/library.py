"""agentdash as a library: its patterns one by one. Needs no key and no network: `python examples/library.py`."""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any

from agentdash import (
    AdaptiveBackoff,
    APICredential,
    APIRotationState,
    ParallelSessionManager,
    TaskLock,
    TaskStateManager,
    work_stealing_loop,
)


async def run_a_list() -> list[dict[str, Any]]:
    """The shortest way: a list of tasks, a function, one result a task in the same order."""

    async def task_processor(task: dict[str, Any], worker_id: str) -> str:
        if "number" not in task:
            raise ValueError("this task has no number")
        return f"{task['number']} squared is {task['number'] ** 2}"

    manager = ParallelSessionManager(max_workers=3)
    results = await manager.run_parallel_agents([{"number": 3}, {"number": 4}, {}], task_processor)
    for result in results:
        print("ok    " if result["success"] else "failed", result.get("result") or result.get("error"))
    for worker_id, health in manager.health_states.items():
        print(worker_id, "healthy" if health.is_healthy() else "unhealthy", health.total_recoveries, "recoveries")
    return results


async def share_a_queue() -> list[str]:
    """Three workers steal tasks from one queue; a lock file beside each running task keeps other processes out."""
    done: list[str] = []

    async def processor(task: dict[str, Any], worker_id: str) -> None:
        await asyncio.sleep(0.01)
        done.append(task["id"])

    manager = TaskStateManager()
    manager.add_tasks([{"id": f"t{number}", "prompt": "…"} for number in range(6)])
    with tempfile.TemporaryDirectory() as folder:
        task_lock = TaskLock(folder)
        await asyncio.gather(
            *(work_stealing_loop(f"worker-{n}", manager, task_lock, processor) for n in range(3)),
        )
        task_lock.close()
    print("done:", *sorted(done))
    return done


def settle_by_hand() -> bool:
    """The same queue without an event loop: take a task, mark it, end it."""
    manager = TaskStateManager()
    manager.add_tasks([{"id": "t1", "prompt": "…"}])
    task = manager.get_next_pending_task()
    if task is None:
        return False
    manager.update_task(task.id, is_started=True)
    manager.update_task(task.id, is_complete=True)
    ended = manager.get_task(task.id)
    print("t1 is", ended.state if ended else "gone")
    return ended is not None


def lock_a_task() -> bool:
    """One holder at a time, in any number of processes; a dead holder's lock is free at once."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = TaskLock(folder), TaskLock(folder)
        with first.lock("t1", "worker-0") as acquired:
            shared = second.acquire("t1", "worker-1")
            print("worker-0 holds t1:", acquired, "- worker-1 too:", shared)
        free = second.acquire("t1", "worker-1", timeout=300)
        second.release("t1", "worker-1")
        print("stale locks removed:", first.clean_all_stale_locks(max_age_seconds=3600))
        first.close()
        second.close()
    return acquired and not shared and free


async def back_off() -> list[float]:
    """Delays that grow with failures in a row, never beyond the most, and end with a success."""
    backoff = AdaptiveBackoff(base_delay=0.01, max_delay=0.05, jitter_factor=0.1)
    delays = []
    for _ in range(4):
        backoff.record_failure()
        delays.append(backoff.get_delay())
        await backoff.wait()
    backoff.record_success()
    print("delays:", *(f"{delay * 1000:.0f} ms" for delay in delays), "then", backoff.get_delay())
    return [*delays, backoff.get_delay()]


def rotate_keys() -> list[str]:
    """Which key sends next. Without arguments the keys are those of the environment."""
    state = APIRotationState(
        [APICredential("made-up-key-number-1"), APICredential("made-up-key-number-2", name="key-2")]
    )
    used = []
    for status, text in ((529, "Overloaded"), (429, "rate limit"), (401, "invalid x-api-key")):
        current = state.get_current()
        if current is None:
            break
        rotated = state.should_rotate(status, text) and state.rotate(text)
        used.append(current.name)
        print(f"{status}: {current.name} {current.api_key} ->", "next key" if rotated else "no other key")
    return used


async def main() -> None:
    """All of them."""
    await run_a_list()
    await share_a_queue()
    settle_by_hand()
    lock_a_task()
    await back_off()
    rotate_keys()


if __name__ == "__main__":
    asyncio.run(main())
