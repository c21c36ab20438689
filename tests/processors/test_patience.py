"""Waiting for an answer, also by a process that was stopped meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from agentdash.engine.processors.patience import Patience
from tests.support.virtual_loop import let_pass, virtual


def now() -> float:
    return asyncio.get_running_loop().time()


async def within(patience: Patience, naps: Sequence[float], *, again: float | None = None) -> None:
    """Sleep so often; after each time, wait anew if `again` says how long."""
    async with patience:
        for nap in naps:
            await asyncio.sleep(nap)
            if again is not None:
                patience.wait_until(now() + again)


@virtual
async def test_a_wait_ends_when_its_time_is_over() -> None:
    started = now()
    with pytest.raises(TimeoutError):
        await within(Patience(started + 3, ends=started + 100), [50.0])
    assert now() - started == pytest.approx(3, abs=0.01)


@virtual
async def test_each_event_begins_a_wait_and_all_together_are_bounded() -> None:
    started = now()
    patience = Patience(started + 3, ends=started + 10)
    with pytest.raises(TimeoutError):
        await within(patience, [2.0] * 50, again=3)
    assert now() - started == pytest.approx(10, abs=0.01)


@virtual
async def test_a_wait_may_become_shorter() -> None:
    started = now()
    patience = Patience(started + 30, ends=started + 100)
    with pytest.raises(TimeoutError):
        await within(patience, [0.0, 50], again=1)
    assert now() - started == pytest.approx(1, abs=0.01)


@virtual
async def test_nothing_is_left_of_it_when_the_answer_came() -> None:
    started = now()
    async with Patience(started + 3, ends=started + 100):
        await asyncio.sleep(1)
    await asyncio.sleep(10)
    assert now() - started == pytest.approx(11, abs=0.01)


@virtual
@pytest.mark.parametrize("ends", [3, 100])
async def test_a_process_that_was_stopped_waits_once_more(ends: float) -> None:
    started = now()
    async with Patience(started + 3, ends=started + ends) as patience:
        await asyncio.sleep(1)
        let_pass(60)  # nothing runs for a minute
        await asyncio.sleep(2.5)
    assert not patience.is_over
    started = now()
    asyncio.get_running_loop().call_later(1, let_pass, 60)
    with pytest.raises(TimeoutError):
        await within(Patience(started + 3, ends=started + ends), [200.0])
    assert now() - started == pytest.approx(64, abs=0.1), "once more, and not for ever"


_WAITS = """
import asyncio, sys
from agentdash.engine.processors.patience import Patience

async def main():
    reader, _ = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    loop = asyncio.get_running_loop()
    print("waiting", flush=True)
    async with Patience(loop.time() + 0.5, ends=loop.time() + 5):
        print((await reader.readline()).decode(), flush=True)

asyncio.run(main())
"""


async def test_an_answer_that_came_while_the_process_was_stopped_is_taken() -> None:
    came: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda _, writer: came.set_result(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    child = subprocess.Popen([sys.executable, "-c", _WAITS, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == "waiting\n"
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        stopped = time.monotonic()
        writer = await came
        writer.write(b"the answer\n")
        await writer.drain()
        await asyncio.sleep(max(0.0, stopped + 0.8 - time.monotonic()))  # longer than its patience
        os.kill(child.pid, signal.SIGCONT)
        assert await asyncio.to_thread(child.stdout.readline) == "the answer\n"
        writer.close()
    finally:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
        server.close()
