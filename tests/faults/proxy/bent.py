"""Answers that bend HTTP: redirects, floods of interim answers, lengths and chunks that are not so."""

from __future__ import annotations

from tests.faults.proxy.ways import Exchange, fixed, way
from tests.faults.proxy.wire import END, EVENTS, OPEN_BLOCK, START, TEXT, chunked, head, whole

for _status in (301, 302, 303, 307, 308):

    async def _elsewhere(exchange: Exchange, status: int = _status) -> None:
        await exchange.send(whole(b"", f"{status} Moved", f"location: {exchange.elsewhere}{exchange.request.target}"))

    async def _to_itself(exchange: Exchange, status: int = _status) -> None:
        await exchange.send(whole(b"", f"{status} Moved", f"location: {exchange.here}{exchange.request.target}"))

    _elsewhere.__name__, _to_itself.__name__ = f"elsewhere_{_status}", f"to_itself_{_status}"
    way("redirects")(_elsewhere)
    way("redirects")(_to_itself)

fixed(
    "redirects",
    nowhere=whole(b"", "307 Moved"),
    to_a_script=whole(b"", "307 Moved", "location: javascript:alert(1)"),
    to_a_file=whole(b"", "302 Moved", "location: file:///etc/passwd"),
)


@way("1xx floods")
async def some_informational(exchange: Exchange) -> bool:
    await exchange.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 20, b"HTTP/1.1 100 Continue\r\n\r\n")
    answer, body = await exchange.ask()
    await exchange.send(answer, body)
    return True


@way("1xx floods")
async def endless_informational(exchange: Exchange) -> None:
    await exchange.pour(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)


@way("wrong lengths")
async def length_too_long(exchange: Exchange) -> None:
    body = START + OPEN_BLOCK + TEXT
    await exchange.send(head("200 OK", f"content-length: {len(body) + 500}", kind=EVENTS), body)


@way("wrong lengths")
async def length_too_short(exchange: Exchange) -> bool:
    body = START + OPEN_BLOCK + TEXT + END
    await exchange.send(head("200 OK", f"content-length: {len(body) // 2}", kind=EVENTS), body)
    return True


fixed(
    "wrong lengths",
    no_number=head("200 OK", "content-length: many", kind=EVENTS) + START,
    negative=head("200 OK", "content-length: -1", kind=EVENTS) + START,
    two_lengths=head("200 OK", "content-length: 5", "content-length: 900", kind=EVENTS) + START,
    astronomic=head("200 OK", f"content-length: {10**30}", kind=EVENTS) + START,
    both=head("200 OK", "content-length: 5", "transfer-encoding: chunked", kind=EVENTS) + START,
)


_CHUNKED = head("200 OK", "transfer-encoding: chunked", kind=EVENTS)
fixed(
    "chunked nonsense",
    no_size=_CHUNKED + b"xyz\r\n" + START,
    negative_size=_CHUNKED + b"-5\r\n" + START,
    size_without_end=_CHUNKED + b"f" * 100_000,
    astronomic_size=_CHUNKED + b"f" * 16 + b"\r\n" + START,
    wrong_end=_CHUNKED + b"5\r\nabcdefghij\r\n0\r\n\r\n",
    endless_extension=_CHUNKED + b"5;" + b"x" * 200_000 + b"\r\nabcde\r\n0\r\n\r\n",
    many_trailers=_CHUNKED + chunked([START]) + b"0\r\n" + b"x-a: b\r\n" * 5000 + b"\r\n",
    twice=head("200 OK", "transfer-encoding: chunked, chunked", kind=EVENTS) + chunked([START]) + b"0\r\n\r\n",
    unknown_coding=head("200 OK", "transfer-encoding: cow", kind=EVENTS) + START,
)


@way("HTTP/1.0")
async def old_version(exchange: Exchange) -> None:
    answered, body = await exchange.ask()
    # A program asks for no stream, and gets its answer in one piece.
    data, rest = (b"", body) if b"chunked" in answered.lower() else (body, b"")
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        data, rest = data + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    kind = EVENTS if data.startswith(b"event") else "application/json"
    await exchange.send(head(version="HTTP/1.0", kind=kind), data)
