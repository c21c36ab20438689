"""A server that answers with any bytes at all, in threads of its own, for a program in another process."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

_MOST_HEAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent. Header names are in small letters."""

    head: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The API key, whichever header carries it."""
        return self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def prompt(self) -> str:
        """The text of the first message."""
        content: Any = json.loads(self.body)["messages"][0]["content"]
        return str(content)

    @property
    def is_stream(self) -> bool:
        """Whether a stream of events is asked for."""
        return bool(json.loads(self.body).get("stream"))


@dataclass
class RawServer:
    """On a free port of 127.0.0.1, within a `with` block. `respond` says what to write back, piece by piece; the
    connection is closed behind it. Every request is kept in `requests`."""

    respond: Callable[[Request], bytes | Iterable[bytes]]
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                request = _read(self.request)
                if request is None:
                    return
                outer.requests.append(request)
                answer = outer.respond(request)
                try:
                    for piece in (answer,) if isinstance(answer, bytes) else answer:
                        self.request.sendall(piece)
                except OSError:  # the client has left
                    return

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"


def _read(connection: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece or len(data) > _MOST_HEAD_BYTES:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    wanted = int(headers.get("content-length", 0))
    while not body.endswith(b"0\r\n\r\n") if chunked else len(body) < wanted:
        piece = connection.recv(65536)
        if not piece:
            return None
        body += piece
    return Request(first, headers, _joined(body) if chunked else body)


def _joined(body: bytes) -> bytes:
    """A body that came in chunks."""
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole, body = whole + body[:length], body[length + 2 :]
    return whole


# -- answers ---------------------------------------------------------------------------------------------------------
def reply(body: bytes, *, status: str = "200 OK", headers: Iterable[tuple[str, str | bytes]] = ()) -> bytes:
    """A whole HTTP answer. Values go out as they are: bytes, or text in UTF-8."""
    lines = [f"HTTP/1.1 {status}".encode("utf-8", "surrogateescape")]
    given = {name.lower() for name, _ in headers}
    if "content-type" not in given:
        lines.append(b"content-type: application/json")
    lines += [
        name.encode() + b": " + (value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape"))
        for name, value in headers
    ]
    lines += [b"content-length: %d" % len(body), b"connection: close"]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def error_reply(status: str, kind: str, message: str, *, headers: Iterable[tuple[str, str | bytes]] = ()) -> bytes:
    """An error as the API words it."""
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    return reply(body, status=status, headers=headers)


def stream_reply(*events: Mapping[str, Any] | str | bytes, headers: Iterable[tuple[str, str | bytes]] = ()) -> bytes:
    """A stream of events; text and bytes are sent as they are."""
    body = b"".join(
        event if isinstance(event, bytes) else event.encode() if isinstance(event, str) else sse(event)
        for event in events
    )
    return reply(body, headers=[("content-type", "text/event-stream; charset=utf-8"), *headers])


def sse(event: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def message_events(
    text: str, *, stop_reason: str = "end_turn", model: str = "claude-haiku-4-5", **more: Any
) -> list[dict[str, Any]]:
    """The events of a whole answer."""
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 1},
    } | more  # fmt: skip
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
