"""A store with many tasks to look at, and a browser that waits until all of an answer is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from agentdash.engine.store import SqliteTaskStore
from agentdash.model import TaskState
from tests.support.stored import NOW, claim, end, specs


@pytest.fixture(scope="module")
def patience() -> Iterator[None]:
    """On a busy machine half an answer is right as well; here each is waited for, so that there is one to compare."""
    with pytest.MonkeyPatch.context() as patch:
        for constant in ("_ANSWER_S", "_END_S"):
            patch.setattr(f"agentdash.engine.browse.{constant}", 20.0)
        yield


@pytest.fixture
async def filled(sqlite: SqliteTaskStore) -> SqliteTaskStore:
    """3,000 tasks, 900 of them finished in another order than that of the file, some of those failed."""
    await sqlite.add(specs(3000))
    order = [n * 7 % 901 for n in range(1, 901)]
    held = await asyncio.gather(*(claim(sqlite, f"t{n}", worker=f"worker-{n % 9}", now=NOW) for n in order))
    states = [TaskState.FAILED if at % 10 == 0 else TaskState.SUCCEEDED for at in range(len(held))]
    ends = [end(one, states[at], attempts=at % 4, now=NOW + at) for at, one in enumerate(held)]
    assert all(await asyncio.gather(*(sqlite.settle(*pair) for pair in zip(held, ends, strict=True))))
    return sqlite
