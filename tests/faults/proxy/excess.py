"""Answers that are too much: too large, without end, packed a thousandfold, or a byte a second."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Final

from tests.faults.proxy.ways import ENDLESS_S, SHORT_S, Exchange, fixed, way
from tests.faults.proxy.wire import EVENTS, OPEN_BLOCK, START, TEXT, event, head, whole

HUGE_BYTES: Final = 100 << 20
_BOMB_BYTES: Final = 1 << 30
_PIECE: Final = 1 << 16


@way("100 MB answers")
async def one_body(exchange: Exchange) -> None:
    kind = "application/json"
    await exchange.send(head("200 OK", f"content-length: {HUGE_BYTES}", kind=kind), b'{"type": "message", "x": "')
    await exchange.pour(b"x" * _PIECE, HUGE_BYTES)


@way("100 MB answers")
async def one_error(exchange: Exchange) -> None:
    await exchange.send(head("500 Internal Server Error"), b'{"type": "error", "x": "')
    await exchange.pour(b"x" * _PIECE, HUGE_BYTES)


@way("100 MB answers")
async def one_line(exchange: Exchange) -> None:
    await exchange.send(head(kind=EVENTS), START, b"event: content_block_start\ndata: ")
    await exchange.pour(b"x" * _PIECE, HUGE_BYTES)


@way("100 MB answers")
async def one_event_of_many_lines(exchange: Exchange) -> None:
    await exchange.send(head(kind=EVENTS), START, b"event: content_block_start\n")
    await exchange.pour(b"data:\n" * 10_000, HUGE_BYTES)


@way("100 MB answers")
async def one_event_of_objects(exchange: Exchange) -> None:
    await exchange.send(head(kind=EVENTS), b"event: message_start\ndata: [")
    await exchange.pour(b"{}," * 10_000, HUGE_BYTES)


@way("100 MB answers")
async def one_text(exchange: Exchange) -> None:
    await exchange.send(head(kind=EVENTS), START, OPEN_BLOCK)
    await exchange.pour(TEXT * 300, HUGE_BYTES)


@way("endless answers")
async def endless_events(exchange: Exchange) -> None:
    await exchange.send(head(kind=EVENTS), START, OPEN_BLOCK)
    await exchange.pour(TEXT * 300)


@way("endless answers")
async def endless_comments(exchange: Exchange) -> None:
    await exchange.send(head(kind=EVENTS), START)
    await exchange.pour(b":\n" * 10_000)


@way("endless answers")
async def endless_pings(exchange: Exchange) -> None:
    await exchange.send(head(kind=EVENTS), START)
    await exchange.pour(b'event: ping\ndata: {"type": "ping"}\n\n' * 1000)


@way("endless answers")
async def endless_blocks(exchange: Exchange) -> None:
    await exchange.send(head(kind=EVENTS), START)
    for index in range(1_000_000):
        block = {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
        await exchange.send(event(block))
        if index % 1000 == 0:
            await asyncio.sleep(SHORT_S)


@way("endless answers")
async def endless_headers(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    await exchange.pour(b"x-a: b\r\n" * 1000)


@way("endless answers")
async def one_endless_header(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 OK\r\nx-a: ")
    await exchange.pour(b"x" * _PIECE)


@way("endless answers")
async def endless_status(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 200 ")
    await exchange.pour(b"x" * _PIECE)


@way("drip of one byte a second")
async def drip_of_the_head(exchange: Exchange) -> None:
    await _drip(exchange, head("200 OK", "x-padding: " + "x" * 100))


@way("drip of one byte a second")
async def drip_of_a_body(exchange: Exchange) -> None:
    await exchange.send(head("200 OK", "content-length: 1000", kind=EVENTS))
    await _drip(exchange, START)


@way("drip of one byte a second")
async def drip_of_an_error(exchange: Exchange) -> None:
    await exchange.send(head("500 Internal Server Error", "content-length: 1000"))
    await _drip(exchange, b'{"type": "error"' + b" " * 100)


async def _drip(exchange: Exchange, data: bytes) -> None:
    for byte in data[: int(ENDLESS_S)]:
        await exchange.send(bytes([byte]))
        await asyncio.sleep(1)


async def _bomb(layers: int) -> AsyncIterator[bytes]:
    """A gigabyte of nothing, packed so often."""
    packers = [zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16) for _ in range(layers)]
    for _ in range(_BOMB_BYTES >> 20):
        data = b"x" * (1 << 20)
        for packer in packers:
            data = packer.compress(data)
        if data:
            yield data
        await asyncio.sleep(0)
    data = b""
    for packer in packers:
        data = packer.compress(data) + packer.flush()
    yield data


@way("gzip bombs")
async def bomb_of_a_body(exchange: Exchange) -> None:
    await exchange.send(head("200 OK", "content-encoding: gzip"))
    async for piece in _bomb(1):
        await exchange.send(piece)


@way("gzip bombs")
async def bomb_of_events(exchange: Exchange) -> None:
    await exchange.send(head("200 OK", "content-encoding: gzip", kind=EVENTS))
    async for piece in _bomb(1):
        await exchange.send(piece)


@way("gzip bombs")
async def bomb_in_a_bomb(exchange: Exchange) -> None:
    await exchange.send(head("529 Overloaded", "content-encoding: gzip, gzip"))
    async for piece in _bomb(2):
        await exchange.send(piece)


fixed(
    "gzip bombs",
    no_gzip=whole(b"not packed", "200 OK", "content-encoding: gzip", kind=EVENTS),
    unknown_packing=whole(START, "200 OK", "content-encoding: br, zstd, xyz", kind=EVENTS),
    cut_gzip=whole(zlib.compress(START)[:20], "200 OK", "content-encoding: deflate", kind=EVENTS),
    many_packings=whole(b"", "200 OK", "content-encoding: " + ", ".join(["gzip"] * 200), kind=EVENTS),
)
