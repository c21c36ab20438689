"""One request's way back to its client: an answer in one write, a stream with pauses, or a connection that breaks."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from agentdash.clock import Clock
from agentdash.simulator import wire
from agentdash.simulator.answers import Answer
from agentdash.simulator.kinds import ERRORS, Kind
from agentdash.simulator.records import Recorder, RequestRecord

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_STREAM_HEADERS: Final = b"cache-control: no-cache\r\n"
_BAD_GATEWAY_PAGE: Final = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n</body>\r\n</html>\r\n"


class _Sent(web.StreamResponse):
    """Tells aiohttp that the answer is already on the wire, and whether the connection lives on."""

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self._keep = keep

    @property
    def keep_alive(self) -> bool:
        return self._keep

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


_KEPT: Final = _Sent(keep=True)
_CLOSED: Final = _Sent(keep=False)


class Exchange:
    """The answering side of one request. `headers` are sent with every answer of it."""

    __slots__ = (
        "_clock",
        "_closing",
        "_keep",
        "_recorder",
        "_transport",
        "headers",
        "record",
        "request_id",
    )

    def __init__(
        self, request: web.BaseRequest, request_id: str, recorder: Recorder, clock: Clock, closing: asyncio.Event
    ) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client went away")
        self._transport: asyncio.Transport = transport
        self._keep = request.keep_alive
        self._recorder = recorder
        self._clock = clock
        self._closing = closing
        self.request_id = request_id
        self.headers = b"request-id: %s\r\n" % request_id.encode()
        self.record: RequestRecord | None = None

    def _finish(self, status: int, kind: Kind) -> None:
        if self.record is not None:
            self._recorder.finish(self.record, status, kind)

    def send(
        self, status: int, kind: Kind, body: bytes, content_type: bytes = wire.JSON, extra: bytes = b""
    ) -> web.StreamResponse:
        """A whole answer."""
        self._finish(status, kind)
        head = wire.head(status, self._clock.now(), content_type, self._keep, self.headers + extra, len(body))
        self._transport.write(head + body)
        return _KEPT if self._keep else _CLOSED

    def error(self, kind: Kind, message: str | None = None, extra: bytes = b"") -> web.StreamResponse:
        """The documented answer for a kind of error, with its usual message or another."""
        if kind is Kind.BAD_GATEWAY:
            return self.send(502, kind, _BAD_GATEWAY_PAGE, wire.HTML, extra)
        shape = ERRORS[kind]
        return self.refuse(shape.status, kind, shape.type, message or shape.message, extra)

    def refuse(self, status: int, kind: Kind, error_type: str, message: str, extra: bytes = b"") -> web.StreamResponse:
        return self.send(status, kind, wire.error_body(error_type, message, self.request_id), extra=extra)

    def drop(self, kind: Kind, *, status: int = 0, reset: bool = False) -> web.StreamResponse:
        """Close the connection as it is: in order (FIN), or with a TCP reset."""
        self._finish(status, kind)
        if reset:
            sock = self._transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
        else:
            self._transport.close()
        return _CLOSED

    async def hang(self, kind: Kind, status: int = 0) -> web.StreamResponse:
        """Say nothing more until the client gives up or the server ends."""
        await self._closing.wait()
        return self.drop(kind, status=status)

    def broken_body(self, kind: Kind, body: bytes, extra: bytes) -> web.StreamResponse:
        """Half of a plain answer, then the end of the connection (or, if cut, of a shorter but complete body)."""
        half = body[: len(body) // 2]
        if kind is Kind.CUT_STREAM:
            return self.send(200, kind, half, extra=extra)
        self._transport.write(
            wire.head(200, self._clock.now(), wire.JSON, self._keep, self.headers + extra, len(body)) + half
        )
        return self.drop(kind, status=200, reset=kind is Kind.RESET_STREAM)

    async def stream(
        self, kind: Kind, answer: Answer, model: str, input_tokens: int, chunk_s: float, extra: bytes, fraction: float
    ) -> web.StreamResponse:
        """Server-sent events, whole or broken as `kind` says, `fraction` of the way through."""
        message_id = f"msg_{self.request_id.removeprefix('req_')}"
        pieces, end = wire.stream_events(message_id, model, answer, input_tokens)
        head = wire.head(
            200, self._clock.now(), wire.EVENT_STREAM, self._keep, self.headers + extra + _STREAM_HEADERS, None
        )
        breaks, unsent = kind in _BREAKS, b""
        if breaks:
            cut = min(len(pieces) - 1, 1 + int(fraction * (len(pieces) - 1)))
            unsent = pieces[cut]
            pieces = pieces[:cut]
        if chunk_s > 0:
            self._transport.write(head)
            for number, piece in enumerate(pieces):
                if number:
                    await self._clock.sleep(chunk_s)
                if self._transport.is_closing():
                    raise ConnectionResetError("the client went away")
                self._transport.write(wire.chunk((piece,)))
            head = b""
        if breaks:
            return await self._break(kind, head if chunk_s > 0 else head + _joined(pieces), unsent)
        self._finish(200, kind)
        tail = (end,) if chunk_s > 0 else (*pieces, end)
        self._transport.write(head + wire.chunk(tail) + wire.LAST_CHUNK)
        return _KEPT if self._keep else _CLOSED

    async def _break(self, kind: Kind, sent: bytes, unsent: bytes) -> web.StreamResponse:
        match kind:
            case Kind.CUT_STREAM:
                self._finish(200, kind)
                self._transport.write(sent + wire.LAST_CHUNK)
                return _KEPT if self._keep else _CLOSED
            case Kind.ERROR_EVENT:
                self._finish(200, kind)
                shape = ERRORS[Kind.OVERLOADED]
                event = wire.error_event(shape.type, shape.message, self.request_id)
                self._transport.write(sent + wire.chunk((event,)) + wire.LAST_CHUNK)
                return _KEPT if self._keep else _CLOSED
            case Kind.HANG_STREAM:
                self._transport.write(sent)
                return await self.hang(kind, status=200)
            case _:
                self._transport.write(sent + wire.broken_chunk(unsent))
                return self.drop(kind, status=200, reset=kind is Kind.RESET_STREAM)


_BREAKS: Final = frozenset({Kind.CUT_STREAM, Kind.ERROR_EVENT, Kind.HANG_STREAM, Kind.DROP_STREAM, Kind.RESET_STREAM})


def _joined(pieces: list[bytes]) -> bytes:
    data = b"".join(pieces)
    return wire.chunk((data,)) if data else b""
