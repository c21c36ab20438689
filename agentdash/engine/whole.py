"""What is not left half-way when the task is cancelled: its lock would be free while the work still goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def whole(work: Awaitable[T], undo: Callable[[T], Awaitable[None]] | None = None) -> T:
    """Wait for the end of `work`, cancelled or not; when cancelled, `undo` is given its result."""
    job = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        while not job.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([job])
        if not job.cancelled() and job.exception() is None and undo is not None:
            await undo(job.result())
        raise


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that may block; it has ended when this has."""
    return await whole(asyncio.to_thread(function, *args, **kwargs))
