"""The threads in which the user's plain functions run: they may block, and cannot be stopped."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from agentdash.engine.processors.base import TaskContext

_MAX_THREADS = 1000


class TaskThreads:
    """A pool of threads, made when it is first needed."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None

    async def run(self, call: Callable[[], Any], context: TaskContext | None = None) -> Any:
        """Run a plain function. A thread cannot be stopped: when cancelled, the token is set and its end awaited, so
        that the task is not given to another worker while it still runs."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="agentdash-task")
        job = self._threads.submit(contextvars.copy_context().run, _without_stop_iteration, call)
        future = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if context is not None:
                context.cancelled.set()
            job.cancel()  # in case it has not begun
            while not future.done():  # cancelled once more or not: the thread is still at work
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # nobody else will read it
            raise


def _without_stop_iteration(call: Callable[[], Any]) -> Any:
    """A future cannot carry a StopIteration: whoever waits for it would wait for ever."""
    try:
        return call()
    except StopIteration as error:
        raise RuntimeError("the function raised StopIteration") from error
