"""Each way in which an answer may be none. A way is given a connection and the request, and writes what it likes."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tests.faults.proxy.wire import (
    END,
    EVENTS,
    OPEN_BLOCK,
    START,
    TEXT,
    Request,
    chunked,
    event,
    head,
    own_answer,
    reset,
    whole,
)

ENDLESS_S: Final = 20.0
"""An endless answer ends after all when the client has not left within so many seconds: longer than any round needs."""
LATE_S: Final = 0.02
SHORT_S: Final = 0.001
"""Between two pieces of much: the proxy's other connections have their turn."""


@dataclass(slots=True)
class ConnectionState:
    """How many requests came over a connection, and when something was sent that none of them had asked for."""

    requests: int = 0
    unasked_at: float | None = None
    has_crossed: bool = False


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request on one connection. `ask` brings head and body of the simulator's answer, `elsewhere` is the URL of
    the other host; `in_background` starts something that goes on behind the answer."""

    number: int
    request: Request
    writer: asyncio.StreamWriter
    ask: Callable[[], Awaitable[tuple[bytes, bytes]]]
    elsewhere: str
    here: str
    in_background: Callable[[Awaitable[None]], None]
    state: ConnectionState

    async def send_unasked(self, data: bytes) -> None:
        """Send something unless another request has come meanwhile."""
        if self.state.requests == self.number:
            self.state.unasked_at = time.monotonic()
            await self.send(data)

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def pour(self, piece: bytes, total: int | None = None) -> None:
        """One piece again and again: so many bytes of it, or without end."""
        sent, until = 0, time.monotonic() + ENDLESS_S
        while sent < total if total is not None else time.monotonic() < until:
            await self.send(piece)
            sent += len(piece)
            await asyncio.sleep(SHORT_S)


Way = Callable[[Exchange], Awaitable[bool]]
"""Returns whether the connection stays open for the next request."""
WAYS: dict[str, dict[str, Way]] = {}
"""Fault → its ways by name."""


def way(fault: str) -> Callable[[Callable[[Exchange], Awaitable[bool | None]]], None]:
    def add(function: Callable[[Exchange], Awaitable[bool | None]]) -> None:
        async def run(exchange: Exchange) -> bool:
            return bool(await function(exchange))

        WAYS.setdefault(fault, {})[function.__name__] = run

    return add


def fixed(fault: str, **answers: bytes) -> None:
    """Ways that are nothing but bytes, after which the connection is closed."""
    for name, data in answers.items():

        async def run(exchange: Exchange, data: bytes = data) -> bool:
            await exchange.send(data)
            return False

        WAYS.setdefault(fault, {})[name] = run


# -- connections -----------------------------------------------------------------------------------------------------
@way("connections reset")
async def reset_before_the_answer(exchange: Exchange) -> None:
    reset(exchange.writer)


@way("connections reset")
async def reset_in_the_head(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-ty")
    reset(exchange.writer)


@way("connections reset")
async def reset_in_the_answer(exchange: Exchange) -> None:
    answer, body = await exchange.ask()
    await exchange.send(answer, body[: random.randrange(len(body))])
    await asyncio.sleep(LATE_S)
    reset(exchange.writer)


@way("connections reset")
async def closed_before_the_answer(exchange: Exchange) -> None:
    """An end without a reset."""


@way("streams cut")
async def cut_in_the_answer(exchange: Exchange) -> None:
    answer, body = await exchange.ask()
    await exchange.send(answer, body[: random.randrange(len(body))])


@way("streams cut")
async def cut_with_a_proper_end(exchange: Exchange) -> None:
    await exchange.send(head(kind=EVENTS) + START + OPEN_BLOCK + TEXT)


@way("streams cut")
async def cut_with_a_last_chunk(exchange: Exchange) -> bool:
    events = [START, OPEN_BLOCK, TEXT][: random.randint(0, 3)]
    await exchange.send(head("200 OK", "transfer-encoding: chunked", kind=EVENTS), chunked(events), b"0\r\n\r\n")
    return True


@way("streams cut")
async def cut_before_the_last_event(exchange: Exchange) -> bool:
    await exchange.send(whole(START + OPEN_BLOCK + TEXT + END[: END.rindex(b"event:")], kind=EVENTS))
    return True


# -- garbage ---------------------------------------------------------------------------------------------------------
fixed(
    "garbage instead of HTTP",
    noise=os.urandom(4096),
    ssh=b"SSH-2.0-OpenSSH_9.6\r\n",
    tls=b"\x15\x03\x01\x00\x02\x02\x46",
    no_version=b"200 OK\r\n\r\n",
    version_nine=head(version="HTTP/9.9") + b"{}",
    status_of_letters=head("abc OK"),
    status_too_long=head("99999999 OK"),
    status_zero=head("000 Nothing", "content-length: 0"),
    no_colon=head("200 OK", "this is no header", "content-length: 0"),
    a_nul=head("200 OK", "x-a: \0", "content-length: 0"),
    a_zone_of_newlines=b"\r\n" * 5000,
    odd_status=whole(b"{}", "799 Odd"),
    an_upgrade=head("101 Switching Protocols", "upgrade: websocket", "connection: upgrade") + os.urandom(200),
)
fixed(
    "garbage instead of JSON",
    noise_as_events=whole(os.urandom(4096), kind=EVENTS),
    noise_as_json=whole(os.urandom(4096)),
    noise_in_lines=whole(b"data: " + os.urandom(4096).replace(b"\r", b"") + b"\n\n", kind=EVENTS),
    events_without_sense=whole(event({"type": "content_block_stop", "index": 2**63}) + END, kind=EVENTS),
    a_list=whole(b"event: message_start\ndata: [1]\n\n", kind=EVENTS),
    no_object=whole(b"event: message_start\ndata: null\n\n", kind=EVENTS),
    huge_number=whole(b"event: message_start\ndata: " + b"9" * 100_000 + b"\n\n", kind=EVENTS),
    nested=whole(b"event: message_start\ndata: " + b"[" * 500_000 + b"\n\n", kind=EVENTS),
    nul_events=whole(b"\0" * 10_000, kind=EVENTS),
    json_instead_of_events=whole(b'{"type": "message"}', kind=EVENTS),
    empty=whole(b"", kind=EVENTS),
    utf_16=whole("event: message_start\ndata: {}\n\n".encode("utf-16"), kind=EVENTS),
    error_that_is_a_list=whole(b"event: error\ndata: [[]]\n\n", kind=EVENTS),
    error_of_noise=whole(os.urandom(999), "500 Oh"),
    nothing_to_say=head("204 No Content", kind=None),
)
_PORTAL = b"<html><title>Hotel Wi-Fi</title><form action=/login>Room: <input name=room></form></html>"
fixed(
    "wrong content types",
    portal=whole(_PORTAL, kind="text/html; charset=utf-8"),
    portal_as_events=whole(_PORTAL, kind=EVENTS),
    picture=whole(b"\x89PNG\r\n\x1a\n" + os.urandom(500), kind="image/png"),
    no_type=whole(START + OPEN_BLOCK + TEXT + END, kind=None),
    odd_type=whole(_PORTAL, kind="\xff; charset=\x7f"),
    odd_charset=whole(b"{}", kind="application/json; charset=utf-99"),
    gateway=whole(_PORTAL, "502 Bad Gateway", kind="text/html"),
    download=whole(_PORTAL, "200 OK", "content-disposition: attachment", kind="application/octet-stream"),
)


# -- answers to nobody's question --------------------------------------------------------------------------------------
@way("answers to nobody")
async def two_at_once(exchange: Exchange) -> bool:
    answer, body = await exchange.ask()
    await exchange.send(answer + body + own_answer(exchange.request))
    return True


@way("answers to nobody")
async def another_later(exchange: Exchange) -> bool:
    """While the connection is idle: what comes while the next request is on its way cannot be told from its answer."""
    answer, body = await exchange.ask()
    await exchange.send(answer, body)

    async def later() -> None:
        await asyncio.sleep(random.choice((0.0, 0.001, LATE_S)))
        await exchange.send_unasked(own_answer(exchange.request))

    exchange.in_background(later())
    return True


@way("answers to nobody")
async def a_timeout_notice(exchange: Exchange) -> bool:
    """As servers say that an idle connection has been closed."""
    answer, body = await exchange.ask()
    await exchange.send(answer, body)

    async def later() -> None:
        await asyncio.sleep(LATE_S)
        await exchange.send_unasked(whole(b"", "408 Request Timeout", "connection: close"))
        exchange.writer.close()

    exchange.in_background(later())
    return True


async def pass_on(exchange: Exchange) -> bool:
    """As if nobody stood between."""
    answer, body = await exchange.ask()
    await exchange.send(answer, body)
    return True
