"""What one answer may take, whatever a server sends: bytes in memory, and work for who takes it apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from agentdash.engine.failures import ServiceTroubleError

MOST_STREAM_BYTES = 64 << 20
"""Of a stream: three hundred thousand tokens, an event each, are 40 MB."""
MOST_WHOLE_BYTES = 32 << 20
"""Of what is kept whole until it can be read: an answer without streaming, or one event. Requests may have as much."""
MOST_ERROR_BYTES = 1 << 20
"""Of an error's body; the rest is not read."""
_MOST_COPIED_BYTES = 256 << 20
_PIECE_BYTES = 1 << 14
_REST_AFTER_BYTES = 1 << 18


async def bound(response: Any) -> None:
    """Response hook of the HTTP client: reading a body ends at a bound, after decompression, in the SDK's hands too.
    What came before the request was written is no answer to it.

    Past it an answer is a `ServiceTroubleError`. The body of an error ends there, and where it cannot be read: who pays
    is known from its status.
    """
    if not getattr(response.request.stream, "has_left", True):
        raise ServiceTroubleError("garbled", "an answer came before the request was sent")
    read = response.aiter_bytes
    is_error = response.status_code >= 400
    is_stream = not is_error and response.headers.get("content-type", "").startswith("text/event-stream")
    most = MOST_ERROR_BYTES if is_error else MOST_STREAM_BYTES if is_stream else MOST_WHOLE_BYTES

    async def pieces(chunk_size: int | None = None) -> AsyncGenerator[bytes, None]:
        taken = rested = 0
        try:
            async with aclosing(read(chunk_size)) as body:
                async for piece in body:
                    taken += len(piece)
                    if taken > most:
                        raise _too_large(f"the answer has more than {most >> 20} MiB", response)
                    yield piece
                    if taken - rested > _REST_AFTER_BYTES:  # what is unpacked or was waiting comes without a pause
                        rested = taken
                        await asyncio.sleep(0)
        except Exception:
            if not is_error:
                raise
        finally:  # a body is read once; a response that holds what holds it would wait for the garbage collector
            vars(response).pop("aiter_bytes", None)

    response.aiter_bytes = (lambda chunk_size=None: _events(pieces(chunk_size), response)) if is_stream else pieces


async def _events(body: AsyncGenerator[bytes, None], response: Any) -> AsyncGenerator[bytes, None]:
    """The body of a stream in such pieces that the SDK's decoder has little work with them.

    It copies what it has of an event with each line, and with each piece of a line: that work is bounded like the
    event itself, and of a long line it gets all at once.
    """
    waiting: list[bytes] = []
    size = copied = 0
    async with aclosing(body):
        async for piece in _in_slices(body):
            size += len(piece)
            copied += piece.count(b"\n") * size
            if size > MOST_WHOLE_BYTES:
                raise _too_large(f"an event has more than {MOST_WHOLE_BYTES >> 20} MiB", response)
            if copied > _MOST_COPIED_BYTES:
                raise _too_large("an event has too many lines", response)
            end = max(piece.rfind(b"\n\n"), piece.rfind(b"\r\n\r\n"))
            if end >= 0:
                size, copied = len(piece) - end, 0
            if b"\n" not in piece and b"\r" not in piece:
                waiting.append(piece)
                continue
            if waiting:
                waiting.append(piece)
                piece = b"".join(waiting)
                waiting.clear()
            yield piece
        if waiting:
            yield b"".join(waiting)


async def _in_slices(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in body:
        if len(piece) <= _PIECE_BYTES:
            yield piece
            continue
        for start in range(0, len(piece), _PIECE_BYTES):
            yield piece[start : start + _PIECE_BYTES]


def _too_large(what: str, response: Any) -> ServiceTroubleError:
    return ServiceTroubleError("too large", what, request_id=response.headers.get("request-id"))
