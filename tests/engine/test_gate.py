"""Workers that begin share the loop's turns with all else."""

from __future__ import annotations

import asyncio
from collections import Counter

from agentdash.engine.backoff import AdaptiveBackoff
from agentdash.engine.gate import Gate, Worker
from agentdash.engine.health import WorkerHealthState
from agentdash.engine.processors.function import FunctionProcessor
from agentdash.engine.runner import TaskRunner
from tests.support.clock import FakeClock

WORKERS, LOCK_S = 40, 0.004


async def test_of_one_turn_beginners_take_ten_milliseconds_or_so() -> None:
    """On a slow disk the lock files of 200 workers once held the loop for 140 ms."""
    clock = FakeClock()
    gate = Gate(clock)
    gate.runner = TaskRunner(FunctionProcessor(lambda task, worker_id: None), clock=clock)
    turn = 0
    begun: Counter[int] = Counter()

    async def begin(number: int) -> None:
        name = f"worker-{number}"
        worker = Worker(name, WorkerHealthState(name), AdaptiveBackoff(clock=clock), clock.now())
        assert await gate.passes(worker)
        clock.time += LOCK_S  # its lock's file is made
        begun[turn] += 1
        assert await gate.passes(worker)  # that was the first time only
        assert begun[turn]

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await asyncio.gather(*map(begin, range(WORKERS)))
    counting.cancel()
    assert begun.total() == WORKERS
    assert max(begun.values()) == 3, begun
