"""kill -9 while dependencies are settled: two real processes on a project with a graph, and what its database says."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest

from agentdash.engine.store import SqliteTaskStore
from agentdash.engine.store.rows import RowReads
from agentdash.engine.store.sqlite import DATABASE, STATE_DIR
from agentdash.model import TaskState
from tests.support.processes import python, read_line
from tests.support.stored import check

_TASKS = 240
_WORKER = """
import asyncio, sys
from pathlib import Path
from agentdash.config import Settings
from agentdash.engine.facade import Engine
from agentdash.engine.processors import FunctionProcessor

def work(task, worker_id):
    print(task["id"], flush=True)
    return "done"

async def main():
    settings = Settings(project=Path(sys.argv[1]), workers=4, max_attempts=1)
    async with Engine(settings, processor=FunctionProcessor(work)) as engine:
        if len(sys.argv) > 2:
            await engine.add([sys.argv[2]])
            print("added", flush=True)
        else:
            await engine.run()

asyncio.run(main())
"""


def _graph(path: Path) -> dict[str, list[str]]:
    """A chain with side branches: each waits for a few of those just before it, and some need a resource."""
    chance = random.Random(3)
    needs = {f"t{n}": [f"t{chance.randrange(max(0, n - 6), n)}" for _ in range(2) if n] for n in range(_TASKS)}
    lines = [{"id": i, "prompt": i, "after": after} | ({"lock": "db"} if chance.random() < 0.2 else {})
             for i, after in needs.items()]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return needs


@pytest.mark.timeout(240)
def test_what_waits_is_right_after_any_kill_and_runs_in_its_order(tmp_path: Path) -> None:
    needs = _graph(tmp_path / "tasks.jsonl")
    with python(_WORKER, tmp_path, tmp_path / "tasks.jsonl") as child:
        assert read_line(child) == "added"
        assert child.wait(60) == 0
    chance = random.Random(5)
    for _ in range(4):
        with python(_WORKER, tmp_path) as one, python(_WORKER, tmp_path) as two:
            victim = chance.choice((one, two))
            for _ in range(chance.randrange(3, 20)):
                read_line(victim)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            _check(tmp_path)  # the other one is at work all the while
            (two if victim is one else one).send_signal(signal.SIGKILL)
        _check(tmp_path)
    with python(_WORKER, tmp_path) as child:
        while read_line(child):
            pass
        assert child.wait(120) == 0
    store = SqliteTaskStore(tmp_path, create=False)
    assert store.counts().succeeded == _TASKS
    ended, begun = {}, {}
    for task_id in needs:
        (last,) = [attempt for attempt in store.attempts(task_id) if attempt.outcome == TaskState.SUCCEEDED]
        begun[task_id], ended[task_id] = last.started_at, last.finished_at
    for task_id, after in needs.items():
        for needed in after:
            assert ended[needed] <= begun[task_id]
    store.close_and_wait()


def _check(project: Path) -> None:
    reads = RowReads(project / STATE_DIR / DATABASE, cache_kib=1024)
    try:
        with reads.moment():
            check(reads)
    finally:
        reads.close()
