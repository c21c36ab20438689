"""A request that has its moment: built and connected before it, and on the wire only then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from agentdash.engine.processors import MessagesProcessor, MessagesSettings, TaskContext
from agentdash.engine.processors.base import LEAVING
from agentdash.engine.processors.clients import _leaves
from agentdash.model import Answer
from tests.processors.asking import Seen, answering, clients, credential, server, task


class Moment:
    """A moment that comes when `come` is set."""

    def __init__(self) -> None:
        self.asked, self.come = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        self.asked.set()
        await self.come.wait()


@contextmanager
def leaving(moment: Moment | None) -> Iterator[None]:
    token = LEAVING.set(moment)
    try:
        yield
    finally:
        LEAVING.reset(token)


@dataclass(frozen=True, slots=True)
class Held:
    """A request that waits for its moment."""

    moment: Moment
    running: asyncio.Task[Answer]
    seen: list[Seen]
    ask_another: Callable[[], Awaitable[None]]


def prompt_of(seen: Seen) -> Any:
    return json.loads(seen.body)["messages"][0]["content"]


@asynccontextmanager
async def held_back() -> AsyncIterator[Held]:
    """A request that is ready and waits for its moment, and a way to ask for something else meanwhile."""
    moment = Moment()
    async with server(answering) as (base_url, seen):
        source = clients()
        key = credential(base_url)
        processor = MessagesProcessor(MessagesSettings())
        context = TaskContext("worker-0", 1, key, client=source.client(key))

        async def ask_another() -> None:
            with leaving(None):  # the same pool of connections serves others
                await processor.run(task({"prompt": "another"}), context)

        try:
            with leaving(moment):
                running = asyncio.create_task(processor.run(task(), context))
            await moment.asked.wait()
            yield Held(moment, running, seen, ask_another)
        finally:
            await source.close()


async def test_nothing_is_received_before_the_moment_and_the_whole_request_after_it() -> None:
    async with held_back() as held:
        await held.ask_another()
        assert [prompt_of(one) for one in held.seen] == ["another"]
        held.moment.come.set()
        answer = await held.running
    assert answer.output
    plain, late = held.seen
    assert prompt_of(late) == task().payload["prompt"]
    assert "transfer-encoding" not in late.headers, "as it is without a moment"
    assert set(late.headers) == set(plain.headers)


async def test_a_request_given_up_before_its_moment_is_never_sent() -> None:
    async with held_back() as held:
        held.running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held.running
        held.moment.come.set()
        await held.ask_another()
    assert [prompt_of(one) for one in held.seen] == ["another"]


async def test_a_request_whose_body_cannot_be_held_back_waits_before_the_transport() -> None:
    class Other:
        @property
        def content(self) -> bytes:
            raise AttributeError("no such thing here")

    moment, request = Moment(), Other()
    with leaving(moment):
        waiting = asyncio.create_task(_leaves(request))
    await moment.asked.wait()
    assert not waiting.done()
    moment.come.set()
    await waiting


async def test_without_a_moment_a_request_stays_as_it_is() -> None:
    request: Any = httpx2.Request("POST", "http://127.0.0.1/", content=b"body")
    with leaving(None):
        await _leaves(request)
    assert request.content == b"body"
