"""Waiting that a cancellation cannot tear from what it waits for."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


class Write(asyncio.Future[T]):
    """A write that is under way: cancelling whoever waits for it takes effect when it is done, not before.

    The same as waiting behind `asyncio.shield` in a loop, without its second future and its turn of the event loop.
    """

    def cancel(self, msg: object = None) -> bool:
        """Refuse: what was handed to the writer cannot be taken back."""
        return False


async def until_done(write: Write[T]) -> tuple[T, bool]:
    """Wait for a write; returns its result and whether a cancellation came meanwhile.

    The caller raises that again when its own state is in order. Raises what the write raised.
    """
    try:
        return await write, False
    except asyncio.CancelledError:
        return write.result(), True
