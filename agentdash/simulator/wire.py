"""Answers as bytes on the socket: heads whose constant parts are made once, JSON bodies, the documented SSE events.

Written past aiohttp's response objects, for speed and because only raw bytes can break off in the middle of a chunk.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from agentdash.simulator.answers import Answer

JSON: Final = b"application/json"
HTML: Final = b"text/html; charset=UTF-8"
EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
LAST_CHUNK: Final = b"0\r\n\r\n"
DELTA_CHARACTERS: Final = 32

_REASONS: Final = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
_USAGE: Final = (
    '"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
    '"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"service_tier":"standard"'
)
_PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@lru_cache(maxsize=16)
def http_date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


@lru_cache(maxsize=4096)
def rfc3339(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=512)
def _status_and_date(status: int, second: int, content_type: bytes, keep_alive: bool) -> bytes:
    return b"HTTP/1.1 %d %s\r\ndate: %s\r\ncontent-type: %s\r\n%s" % (
        status,
        _REASONS.get(status, "").encode(),
        http_date(second),
        content_type,
        b"" if keep_alive else b"connection: close\r\n",
    )


def head(status: int, now: float, content_type: bytes, keep_alive: bool, headers: bytes, length: int | None) -> bytes:
    """Status line and headers up to the blank line. Without a `length` the body is chunked."""
    framing = b"transfer-encoding: chunked\r\n\r\n" if length is None else b"content-length: %d\r\n\r\n" % length
    return _status_and_date(status, int(now), content_type, keep_alive) + headers + framing


def encode_json(value: Any) -> bytes:
    """Compact JSON. A lone surrogate, which no UTF-8 has, becomes a question mark."""
    return _dumps(value).encode("utf-8", "replace")


def error_body(error_type: str, message: str, request_id: str) -> bytes:
    return encode_json({"type": "error", "error": {"type": error_type, "message": message}, "request_id": request_id})


def message_body(message_id: str, model: str, answer: Answer, input_tokens: int) -> bytes:
    """The whole message, as a plain answer has it."""
    blocks = f'{{"type":"text","text":{_dumps(answer.text)}}}' if answer.text else ""
    if answer.tool is not None:
        blocks += "," + _dumps({"type": "tool_use", "id": _tool_id(message_id), **_without_type(answer.tool)})
    return (
        f'{{"id":"{message_id}","type":"message","role":"assistant","model":{_dumps(model)},"content":[{blocks}],'
        f'"stop_reason":"{answer.stop_reason}","stop_sequence":null,"usage":{{"input_tokens":{input_tokens},'
        f'"output_tokens":{answer.output_tokens},{_USAGE}}}}}'
    ).encode("utf-8", "replace")


def stream_events(message_id: str, model: str, answer: Answer, input_tokens: int) -> tuple[list[bytes], bytes]:
    """What a stream sends, in pieces between which it may pause or break, and what ends it.

    The first piece holds all up to the first delta; the end holds `message_delta` and `message_stop`.
    """
    usage = f'{{"input_tokens":{input_tokens},"output_tokens":1,{_USAGE}}}'
    start = (
        f'event: message_start\ndata: {{"type":"message_start","message":{{"id":"{message_id}","type":"message",'
        f'"role":"assistant","model":{_dumps(model)},"content":[],"stop_reason":null,"stop_sequence":null,'
        f'"usage":{usage}}}}}\n\n'
    ).encode("utf-8", "replace")
    pieces: list[bytes] = []
    blocks = 0
    if answer.text:
        pieces += _block(blocks, {"type": "text", "text": ""}, "text_delta", "text", answer.text)
        blocks += 1
    if answer.tool is not None:
        empty = {"type": "tool_use", "id": _tool_id(message_id), "name": answer.tool["name"], "input": {}}
        pieces += _block(blocks, empty, "input_json_delta", "partial_json", _dumps(answer.tool["input"]))
    pieces = pieces or [_PING]
    pieces[0] = start + pieces[0]
    end = (
        f'event: message_delta\ndata: {{"type":"message_delta",'
        f'"delta":{{"stop_reason":"{answer.stop_reason}","stop_sequence":null}},'
        f'"usage":{{"input_tokens":{input_tokens},"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
        f'"output_tokens":{answer.output_tokens}}}}}\n\n'
    )
    return pieces, end.encode() + _STOP


def _block(index: int, empty: dict[str, Any], delta_type: str, field: str, content: str) -> list[bytes]:
    """One content block's events: its start travels with its first delta, its stop with its last."""
    prefix = (
        f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{index},'
        f'"delta":{{"type":"{delta_type}","{field}":'
    )
    pieces = [
        f"{prefix}{_dumps(content[at : at + DELTA_CHARACTERS])}}}}}\n\n".encode("utf-8", "replace")
        for at in range(0, len(content), DELTA_CHARACTERS)
    ]
    opening = _dumps({"type": "content_block_start", "index": index, "content_block": empty})
    pieces[0] = f"event: content_block_start\ndata: {opening}\n\n".encode() + (_PING if index == 0 else b"") + pieces[0]
    pieces[-1] += f'event: content_block_stop\ndata: {{"type":"content_block_stop","index":{index}}}\n\n'.encode()
    return pieces


def error_event(error_type: str, message: str, request_id: str) -> bytes:
    return b"event: error\ndata: " + error_body(error_type, message, request_id) + b"\n\n"


def chunk(pieces: Iterable[bytes]) -> bytes:
    """One HTTP chunk."""
    data = b"".join(pieces)
    return b"%x\r\n%s\r\n" % (len(data), data)


def broken_chunk(piece: bytes) -> bytes:
    """A chunk whose second half never comes."""
    return b"%x\r\n%s" % (len(piece), piece[: len(piece) // 2])


def _tool_id(message_id: str) -> str:
    return "toolu_" + message_id.removeprefix("msg_")


def _without_type(block: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name != "type"}
