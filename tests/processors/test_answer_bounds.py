"""What a server may do to memory, to the loop and to other tasks' answers: little, whatever it sends."""

from __future__ import annotations

import asyncio
import gc
import gzip
import socketserver
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import web
from anthropic._streaming import SSEDecoder

from agentdash.engine.processors import MessagesProcessor, MessagesSettings, TaskContext, bounds
from agentdash.engine.processors.base import LEAVING
from agentdash.model import FailureClass
from agentdash.simulator import Simulator, SimulatorConfig
from tests.processors.asking import (
    END,
    HELLO,
    START,
    STOP,
    STOP_BLOCK,
    TEXT_BLOCK,
    ask,
    clients,
    credential,
    event_stream,
    message,
    server,
    sse,
    task,
    text,
)

BOTH = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
MOST = 1 << 20
PIECE = b"x" * 65_536
UNREAD_BYTES = 16 << 20
"""What may be on its way in the buffers of both sides."""


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOST_STREAM_BYTES", "MOST_WHOLE_BYTES", "MOST_ERROR_BYTES"):
        monkeypatch.setattr(bounds, name, MOST)


def pouring(sent: list[int], first: bytes, piece: bytes, *, status: int = 200, kind: str) -> Callable[[Any], Any]:
    """Answers that go on until the client leaves, or for a quarter of a gigabyte; `sent` gets the bytes of each."""

    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"content-type": kind})
        await response.prepare(request)
        sent.append(0)
        try:
            await response.write(first)
            while sent[-1] < 1 << 28:
                await response.write(piece)
                sent[-1] += len(piece)
        except ConnectionError:  # the client has left
            pass
        return response

    return respond


POURED = {
    "one line": (sse(START) + b"event: content_block_start\ndata: ", PIECE),
    "one event": (sse(START) + b"event: content_block_start\n", b"data: " + PIECE + b"\n"),
    "events": (sse(START, TEXT_BLOCK), sse(text("more " * 100)) * 50),
    "comments": (sse(START), b": still here\n\n" * 1000),
    "pings": (sse(START), b'event: ping\ndata: {"type": "ping"}\n\n' * 1000),
}


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize("what", POURED)
async def test_a_stream_without_end_is_left(what: str) -> None:
    sent: list[int] = []
    async with server(pouring(sent, *POURED[what], kind="text/event-stream")) as (base_url, _):
        asked = await ask(base_url)
    assert asked.failure is not None
    assert asked.failure.failure_class is FailureClass.SERVICE
    assert "more than 1 MiB" in asked.failure.message
    assert sent[0] < UNREAD_BYTES


async def test_an_event_without_end_is_left_before_the_stream_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_WHOLE_BYTES", MOST)
    sent: list[int] = []
    async with server(pouring(sent, *POURED["one line"], kind="text/event-stream")) as (base_url, _):
        asked = await ask(base_url)
    assert asked.failure is not None
    assert asked.failure.message == "an event has more than 1 MiB"
    assert sent[0] < UNREAD_BYTES


@pytest.mark.usefixtures("small_bounds")
async def test_a_body_without_end_is_left() -> None:
    sent: list[int] = []
    async with server(pouring(sent, b'{"x": "', PIECE, kind="application/json")) as (base_url, _):
        asked = await ask(base_url, stream=False)
    assert asked.failure is not None
    assert asked.failure.failure_class is FailureClass.SERVICE
    assert asked.failure.message == "the answer has more than 1 MiB"
    assert sent[0] < UNREAD_BYTES


@BOTH
async def test_the_body_of_an_error_is_cut_off_and_its_status_counts(stream: bool) -> None:
    sent: list[int] = []
    async with server(pouring(sent, b'{"x": "', PIECE, status=429, kind="application/json")) as (base_url, _):
        asked = await ask(base_url, stream=stream)
    assert asked.failure is not None
    assert (asked.failure.failure_class, asked.failure.status_code) == (FailureClass.LIMITED, 429)
    assert sent[0] < UNREAD_BYTES


@BOTH
async def test_an_error_whose_body_cannot_be_read_counts_by_its_status(stream: bool) -> None:
    headers = {"content-encoding": "gzip", "retry-after": "7"}
    async with server(lambda request: web.Response(status=429, body=b"not gzip", headers=headers)) as (base_url, _):
        asked = await ask(base_url, stream=stream)
    assert asked.failure is not None
    assert (asked.failure.failure_class, asked.failure.retry_after) == (FailureClass.LIMITED, 7)


@BOTH
@pytest.mark.usefixtures("small_bounds")
async def test_what_is_unpacked_counts(stream: bool) -> None:
    data = gzip.compress(b"data: " + b"x" * (64 << 20))
    kind = "text/event-stream" if stream else "application/json"
    headers = {"content-encoding": "gzip", "content-type": kind}
    async with server(lambda request: web.Response(body=data, headers=headers)) as (base_url, _):
        asked = await ask(base_url, stream=stream)
    assert asked.failure is not None
    assert "more than 1 MiB" in asked.failure.message


async def test_an_event_of_many_short_lines_is_left() -> None:
    """The SDK's decoder copies with each line what it has of the event."""
    async with server(lambda request: event_stream(sse(START) + b":\n" * 100_000)) as (base_url, _):
        asked = await ask(base_url)
    assert asked.failure is not None
    assert asked.failure.failure_class is FailureClass.SERVICE
    assert "too many lines" in asked.failure.message


async def test_an_answer_of_very_many_blocks_is_left() -> None:
    blocks = [TEXT_BLOCK | {"index": index} for index in range(20_000)]
    async with server(lambda request: event_stream(sse(START, *blocks))) as (base_url, _):
        asked = await ask(base_url)
    assert asked.failure is not None
    assert asked.failure.failure_class is FailureClass.SERVICE
    assert "content blocks" in asked.failure.message


async def test_an_event_of_megabytes_is_read() -> None:
    long = "ä" * (3 << 20)
    body = sse(START, TEXT_BLOCK, text(long), STOP_BLOCK, END, STOP)
    async with server(lambda request: event_stream(body)) as (base_url, _):
        asked = await ask(base_url)
    assert asked.answer is not None
    assert asked.answer.output == long


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
async def test_the_decoder_sees_the_same_events_however_they_are_cut(line_end: str, size: int) -> None:
    body = (HELLO + b": a comment\n\n" + HELLO).replace(b"\n", line_end.encode())

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    async def whole() -> AsyncIterator[bytes]:
        yield body

    expected = [(one.event, one.data) async for one in SSEDecoder().aiter_bytes(whole())]
    cut = [(one.event, one.data) async for one in SSEDecoder().aiter_bytes(bounds._events(pieces(), None))]  # type: ignore[arg-type]
    assert cut == expected
    assert len(expected) >= 14


async def test_a_number_of_many_digits_is_trouble_of_the_service() -> None:
    data = b"event: message_start\ndata: " + b"9" * 5000 + b"\n\n"
    async with server(lambda request: event_stream(data)) as (base_url, _):
        asked = await ask(base_url)
    assert asked.failure is not None
    assert asked.failure.failure_class is FailureClass.SERVICE


@BOTH
async def test_a_request_that_cannot_be_written_is_the_tasks_own(stream: bool) -> None:
    params = {"model": "m", "max_tokens": float("nan"), "messages": []}
    async with server(lambda request: web.json_response(message())) as (base_url, seen):
        asked = await ask(base_url, {"params": params}, stream=stream)
    assert asked.failure is not None
    assert asked.failure.failure_class is FailureClass.TASK
    assert not seen


# -- connections -----------------------------------------------------------------------------------------------------
@contextmanager
def raw_server(serve: Callable[[Any], None]) -> Iterator[str]:
    """A server in a thread of its own: `serve` is given each connection's handler."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            serve(self)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.server_address[1]}"
        finally:
            listener.shutdown()


def take_request(handler: Any) -> bool:
    """Read one request; whether there was one."""
    length = 0
    while line := handler.rfile.readline().strip().lower():
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return bool(length and handler.rfile.read(length))


def answer(output: str) -> bytes:
    body = sse(START, TEXT_BLOCK, text(output), STOP_BLOCK, END, STOP)
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body) + body


@BOTH
async def test_a_status_that_is_none_is_trouble_of_the_service(stream: bool) -> None:
    def serve(handler: Any) -> None:
        if take_request(handler):
            handler.wfile.write(b"HTTP/1.1 000 Nothing\r\ncontent-length: 0\r\n\r\n")

    with raw_server(serve) as base_url:
        asked = await ask(base_url, stream=stream)
    assert asked.failure is not None
    assert asked.failure.failure_class is FailureClass.SERVICE


@pytest.mark.parametrize("is_read", [True, False], ids=["read", "unread"])
async def test_a_second_answer_is_not_taken_for_the_next_tasks(is_read: bool) -> None:
    """The connection on which it came while idle is closed; the next request goes over another."""
    was_read, said_twice = threading.Event(), threading.Event()
    connections: list[object] = []

    def serve(handler: Any) -> None:
        connections.append(handler)
        first = len(connections) == 1
        while take_request(handler):
            handler.wfile.write(answer("mine"))
            if first:
                was_read.wait(10)
                handler.wfile.write(answer("nobody's"))
                said_twice.set()

    with raw_server(serve) as base_url:
        source = clients()
        key = credential(base_url)
        context = TaskContext("worker-0", 1, key, client=source.client(key))
        processor = MessagesProcessor(MessagesSettings())
        try:
            outputs = [(await processor.run(task(), context)).output]
            was_read.set()
            assert said_twice.wait(10), "in the loop, which reads nothing meanwhile"
            for _ in range(3 if is_read else 0):
                await asyncio.sleep(0)
            outputs.append((await processor.run(task(), context)).output)
        finally:
            await source.close()
    assert outputs == ["mine", "mine"]
    assert len(connections) == 2


@BOTH
async def test_an_answer_that_was_read_is_let_go_of_without_the_garbage_collector(stream: bool) -> None:
    responses: list[weakref.ref[Any]] = []

    async def note(response: Any) -> None:
        responses.append(weakref.ref(response))

    async with Simulator(SimulatorConfig()) as simulator:
        source = clients()
        key = credential(simulator.base_url)
        context = TaskContext("worker-0", 1, key, client=source.client(key))
        context.client._client.event_hooks["response"].append(note)
        gc.disable()
        try:
            await MessagesProcessor(MessagesSettings(stream=stream)).run(task(), context)
            assert [response() for response in responses] == [None]
        finally:
            gc.enable()
            await source.close()


async def test_an_answer_that_comes_before_the_request_is_none() -> None:
    """A request that has its moment has its connection before it: something may come over it meanwhile."""
    asked_for = threading.Event()

    def serve(handler: Any) -> None:
        asked_for.wait(10)
        handler.wfile.write(answer("nobody's"))
        take_request(handler)

    async def never() -> None:
        asked_for.set()
        await asyncio.sleep(30)

    with raw_server(serve) as base_url:
        token = LEAVING.set(never)
        try:
            asked = await ask(base_url)
        finally:
            LEAVING.reset(token)
    assert asked.failure is not None
    assert asked.failure.failure_class is FailureClass.SERVICE
    assert "before the request" in asked.failure.message
