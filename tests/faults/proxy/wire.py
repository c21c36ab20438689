"""What the proxy reads and writes: one request, one answer of its own making, a connection cut off hard."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

_MOST_HEAD_BYTES = 1 << 20
OURS = "An answer to nobody's question."
"""The text of the proxy's own answers: no task may ever be given it."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. `raw` is what goes on to the simulator; header names are in small letters."""

    raw: bytes
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def has_key(self) -> bool:
        """Whether it carries a key."""
        return bool(self.headers.keys() & {"authorization", "x-api-key"})


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            raw, body = await _chunks(reader)
        else:
            raw = body = await reader.readexactly(int(headers.get("content-length", 0)))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return None
    return Request(head + raw, first.split(" ")[1], headers, body)


async def _chunks(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """A body in chunks: as it came, and put together."""
    raw = body = b""
    while True:
        line = await reader.readline()
        piece = await reader.readexactly(int(line, 16) + 2)
        raw, body = raw + line + piece, body + piece[:-2]
        if len(piece) == 2:
            return raw, body


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of the simulator's answer, the body as it came."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").lower().split("\r\n")
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        return head, (await _chunks(reader))[0]
    return head, await reader.readexactly(int(headers.get("content-length", 0)))


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with a RST, as a machine does that knows nothing of it."""
    with suppress(OSError):  # it is closed already
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def head(
    status: str = "200 OK", *lines: str, kind: str | None = "application/json", version: str = "HTTP/1.1"
) -> bytes:
    """Status line and headers."""
    typed = () if kind is None else (f"content-type: {kind}",)
    return "\r\n".join((f"{version} {status}", *typed, *lines, "", "")).encode("latin-1")


EVENTS = "text/event-stream; charset=utf-8"


def whole(body: bytes, status: str = "200 OK", *lines: str, kind: str | None = "application/json") -> bytes:
    """An answer with its length."""
    return head(status, f"content-length: {len(body)}", *lines, kind=kind) + body


def chunked(pieces: Iterable[bytes]) -> bytes:
    """Pieces of a body as chunks, without the last one."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def event(value: dict[str, object]) -> bytes:
    """A server-sent event."""
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()


MESSAGE: dict[str, object] = {
    "id": "msg_ours", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 3},
}  # fmt: skip
START = event({"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}})
OPEN_BLOCK = event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
TEXT = event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": OURS}})
END = (
    event({"type": "content_block_stop", "index": 0})
    + event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}})
    + event({"type": "message_stop"})
)


def own_answer(request: Request) -> bytes:
    """A well-formed answer to no question at all."""
    if b'"stream"' in request.body:
        return whole(START + OPEN_BLOCK + TEXT + END, kind=EVENTS)
    message = MESSAGE | {"content": [{"type": "text", "text": OURS}], "stop_reason": "end_turn"}
    return whole(json.dumps(message).encode())
