"""Virtual time: minutes and hours of a pool pass in milliseconds, and always in the same way.

The loop's own clock stands still while anything can run and jumps to the next timer when nothing can. A loop that turns
without end and without time moving is a spin: it is reported instead of hanging the test.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

EPOCH = 1_795_000_000.0
"""The wall-clock time at which every virtual loop begins: a day in November 2026."""
MAX_TURNS = 100_000
"""Turns of the loop without time moving that are taken for a spin."""
_THREAD_WAIT_S = 10.0


class SpinError(AssertionError):
    """The loop turned and turned, and no time passed."""


class DeadlockError(AssertionError):
    """Nothing can run, no timer is set, and no thread reports."""


class _JumpingSelector(selectors.BaseSelector):
    """Instead of waiting for the next timer it moves the clock there. Threads that report are waited for really."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = self._real.select(0)
        self._turns += 1
        if self._turns > MAX_TURNS:
            raise SpinError(f"{MAX_TURNS} turns of the loop while no time passed")
        if events or timeout == 0:
            return events
        if timeout is None:
            events = self._real.select(_THREAD_WAIT_S)
            if not events:
                raise DeadlockError("every task waits, and no timer is set")
            return events
        self._loop.advance(timeout)
        self._turns = 0
        return events

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time moves only when there is nothing to do."""

    def __init__(self) -> None:
        self._virtual_now = 1000.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self._virtual_now

    def advance(self, seconds: float) -> None:
        """Move the loop's time."""
        self._virtual_now += seconds


class ManualClock:
    """A clock that a test moves by hand; sleeping moves it too."""

    def __init__(self, now: float = EPOCH) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time - EPOCH + 1000.0

    async def sleep(self, seconds: float) -> None:
        self.time += max(0.0, seconds)
        await asyncio.sleep(0)


class LoopClock:
    """The running loop's time as a `Clock`."""

    def now(self) -> float:
        return EPOCH + self.monotonic() - 1000.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def virtual(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Decorator: an `async def` test that runs in virtual time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            await test(*args, **kwargs)

        run_virtual(main())

    return run


def let_pass(seconds: float) -> None:
    """So much time passes in which nothing runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.advance(seconds)
