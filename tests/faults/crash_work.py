"""What the tasks do that are run to be killed: they answer at once, and write down that they were asked."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from tests.faults.crash_hooks import Hooks

CALLS = "CRASH_CALLS"
"""Environment: the file in which each call is written down, outside of the project."""
BAD = "CRASH_BAD"
"""Environment: the id of a task that fails."""
hooks: list[Hooks] = []
"""Those of this process, if it has any."""


async def work(task: dict[str, Any], worker_id: str) -> str:
    """For `--processor tests.faults.crash_work:work`; its two sides are points too."""
    for each in hooks:
        each.reach("request: call")
    with open(os.environ[CALLS], "a", encoding="utf-8") as file:
        file.write(f"{task['id']}\n")
    await asyncio.sleep(0)
    if task["id"] == os.environ.get(BAD):
        raise ValueError("this one is bad")
    for each in hooks:
        each.reach("answer: return")
    return f"the answer to {task['prompt']}"
