"""One request through the real SDK to a real server, and what the engine would make of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from agentdash.engine.credentials import APICredential
from agentdash.engine.errorfacts import describe
from agentdash.engine.failures import classify
from agentdash.engine.processors import AnthropicClients, MessagesProcessor, MessagesSettings, TaskContext
from agentdash.engine.rotation import APIRotationState
from agentdash.engine.runner import TaskRunner
from agentdash.engine.store import Claim
from agentdash.model import Answer, Attempt, Failure, Spent, Task
from agentdash.secret import Secret

KEY = "sim-key-1-0000"
BIG = 1e6


@dataclass(slots=True)
class Asked:
    """What came of one request."""

    answer: Answer | None = None
    failure: Failure | None = None
    error: BaseException | None = None
    organizations: list[str | None] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)
    spent: Spent = field(default_factory=Spent)


def credential(base_url: str, key: str = KEY, name: str = "key-1", **fields: Any) -> APICredential:
    return APICredential(Secret(key), base_url=base_url, name=name, **fields)


def task(payload: Mapping[str, Any] | None = None) -> Task:
    return Task(1, "t1", payload or {"prompt": "Summarise the report"})


def clients(**settings: Any) -> AnthropicClients:
    return AnthropicClients(max_connections=64, **settings)


async def ask(
    base_url: str,
    payload: Mapping[str, Any] | None = None,
    *,
    key: APICredential | None = None,
    connect_timeout_s: float = 5.0,
    **settings: Any,
) -> Asked:
    """Send one task's request; a failure is classified as the runner does it."""
    source = clients(connect_timeout_s=connect_timeout_s)
    asked = Asked()
    used = key or credential(base_url)
    context = TaskContext(
        "worker-0",
        1,
        used,
        client=source.client(used),
        progress=asked.progress.append,
        observe=lambda headers: asked.organizations.append(headers.get("anthropic-organization-id")),
    )
    try:
        asked.answer = await MessagesProcessor(MessagesSettings(**settings)).run(task(payload), context)
    except Exception as error:
        asked.error = error
        asked.failure = classify(describe(error, time.time()))
    finally:
        asked.spent = context.spent
        await source.close()
    return asked


async def attempt(
    rotation: APIRotationState, payload: Mapping[str, Any] | None = None, **settings: Any
) -> tuple[Attempt, Failure | None]:
    """One attempt as the engine makes it: lease, request, reaction. Returns the attempt and its failure."""
    source = clients()
    runner = TaskRunner(MessagesProcessor(MessagesSettings(**settings)), rotation=rotation, clients=source)
    try:
        settlement = await runner.attempt(Claim(task(payload), "owner", "worker-0", time.time()))
    finally:
        await source.close()
    return settlement.attempt, settlement.failure


def sse(*events: Mapping[str, Any] | str) -> bytes:
    """Server-sent events; a string is sent as it is."""
    import json

    return b"".join(
        event.encode() if isinstance(event, str) else f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        for event in events
    )


@dataclass(slots=True)
class Seen:
    """A request as a server saw it."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int]


Respond = Callable[[web.Request], Any]


@asynccontextmanager
async def server(respond: Respond) -> AsyncIterator[tuple[str, list[Seen]]]:
    """A server that answers in any way at all, for what no simulator of a well-meant API says. Yields URL and log."""
    seen: list[Seen] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        seen.append(Seen(request.path, request.headers, await request.read(), transport.get_extra_info("peername")))
        response = respond(request)
        if asyncio.iscoroutine(response):
            response = await response
        assert isinstance(response, web.StreamResponse)
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}", seen
    finally:
        await runner.cleanup()


def message(**fields: Any) -> dict[str, Any]:
    """A whole message, as a plain answer has it."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-fable-5-2",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    } | fields


def event_stream(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"content-type": "text/event-stream; charset=utf-8"})


START = {"type": "message_start", "message": message(content=[], stop_reason=None)}
TEXT_BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
STOP_BLOCK = {"type": "content_block_stop", "index": 0}
END = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
    "usage": {"output_tokens": 7},
}
STOP = {"type": "message_stop"}


def text(piece: str, index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": piece}}


HELLO = sse(START, TEXT_BLOCK, text("Hel"), text("lo."), STOP_BLOCK, END, STOP)


def answering(request: web.Request) -> Any:
    async def respond() -> web.Response:
        body = await request.json()
        return event_stream(HELLO) if body.get("stream") else web.json_response(message())

    return respond()
