"""A request that has its moment: built and connected before it, and on the wire only then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from agentdash.engine.processors import MessagesProcessor, MessagesSettings, TaskContext
from agentdash.engine.processors.base import LEAVING
from agentdash.engine.processors.clients import _leaves
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


def prompt_of(seen: Seen) -> Any:
    return json.loads(seen.body)["messages"][0]["content"]


async def test_nothing_is_received_before_the_moment_and_the_whole_request_after_it() -> None:
    moment = Moment()
    async with server(answering) as (base_url, seen):
        source = clients()
        key = credential(base_url)
        processor = MessagesProcessor(MessagesSettings())
        context = TaskContext("worker-0", 1, key, client=source.client(key))
        try:
            with leaving(moment):
                running = asyncio.create_task(processor.run(task(), context))
            await moment.asked.wait()
            with leaving(None):  # the same pool of connections serves others meanwhile
                await processor.run(task({"prompt": "another"}), context)
            assert [prompt_of(one) for one in seen] == ["another"]
            moment.come.set()
            answer = await running
        finally:
            await source.close()
    assert answer.output
    held, plain = seen[1], seen[0]
    assert prompt_of(held) == task().payload["prompt"]
    assert "transfer-encoding" not in held.headers, "as it is without a moment"
    assert set(held.headers) == set(plain.headers)


async def test_a_request_given_up_before_its_moment_is_never_sent() -> None:
    moment = Moment()
    async with server(answering) as (base_url, seen):
        source = clients()
        key = credential(base_url)
        processor = MessagesProcessor(MessagesSettings())
        context = TaskContext("worker-0", 1, key, client=source.client(key))
        try:
            with leaving(moment):
                running = asyncio.create_task(processor.run(task(), context))
            await moment.asked.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            moment.come.set()
            await processor.run(task({"prompt": "another"}), context)
        finally:
            await source.close()
    assert [prompt_of(one) for one in seen] == ["another"]


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
