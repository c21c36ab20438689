"""Waiting that a cancellation cannot tear from what it waits for."""

from __future__ import annotations

import asyncio
from typing import Any


async def until_done(future: asyncio.Future[Any]) -> bool:
    """Wait for a write that is under way, cancelled or not; returns whether a cancellation came meanwhile.

    The caller raises it again when its own state is in order. Raises what the write raised.
    """
    was_cancelled = False
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError:
            was_cancelled = True
    future.result()
    return was_cancelled
