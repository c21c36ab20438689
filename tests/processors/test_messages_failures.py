"""Each way a request can fail, through the real SDK over real HTTP, lands in the class that DESIGN section 4 names."""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from agentdash.engine.processors import TaskContext
from agentdash.engine.rotation import APIRotationState
from agentdash.model import FailureClass, Spent
from agentdash.simulator import (
    FailureRates,
    KeyBehaviour,
    KeyConfig,
    Kind,
    Limit,
    OrganizationConfig,
    Rule,
    Simulator,
    SimulatorConfig,
)
from tests.processors.asking import (
    END,
    KEY,
    START,
    STOP,
    STOP_BLOCK,
    TEXT_BLOCK,
    ask,
    attempt,
    credential,
    event_stream,
    message,
    server,
    sse,
    text,
)

_T, _L, _Q, _C = FailureClass.TASK, FailureClass.LIMITED, FailureClass.QUOTA, FailureClass.CREDENTIAL
_O, _S = FailureClass.OVERLOAD, FailureClass.SERVICE
REGAIN = "2031-02-03 at 04:05 UTC"
REGAINED_AT = datetime(2031, 2, 3, 4, 5, tzinfo=UTC).timestamp()
BOTH = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])


def failing(kind: Kind) -> SimulatorConfig:
    return SimulatorConfig(rules=(Rule("report", kind),))


def behaving(**behaviour: Any) -> SimulatorConfig:
    return SimulatorConfig(keys=(KeyConfig(KEY, "org-a", KeyBehaviour(**behaviour)),))


SPEAKING = [Kind(name) for name, _ in FailureRates().rates() if not name.startswith("hang")]
BY_KIND = [
    (failing(Kind.INVALID_REQUEST), _T, 400, "invalid_request_error"),
    (failing(Kind.NOT_FOUND), _T, 404, "not_found_error"),
    (failing(Kind.TOO_LARGE), _T, 413, "request_too_large"),
    (failing(Kind.UNPROCESSABLE), _T, 422, "invalid_request_error"),
    (behaving(kind="invalid"), _C, 401, "authentication_error"),
    (behaving(kind="forbidden"), _C, 403, "permission_error"),
    (behaving(kind="billing"), _Q, 402, "billing_error"),
    (behaving(kind="credit"), _Q, 400, "invalid_request_error"),
    (behaving(kind="quota", regain_at=REGAIN), _Q, 400, "invalid_request_error"),
    (behaving(kind="quota", quota_status=429, regain_at=REGAIN), _Q, 429, "rate_limit_error"),
    (failing(Kind.RATE_LIMITED), _L, 429, "rate_limit_error"),
    (failing(Kind.API_ERROR), _S, 500, "api_error"),
    (failing(Kind.BAD_GATEWAY), _S, 502, None),
    (failing(Kind.GATEWAY_TIMEOUT), _S, 504, "timeout_error"),
    (failing(Kind.UNAVAILABLE), _O, 503, "api_error"),
    (failing(Kind.OVERLOADED), _O, 529, "overloaded_error"),
    (failing(Kind.DROP_BEFORE), _S, None, None),
    (failing(Kind.RESET_BEFORE), _S, None, None),
    (failing(Kind.DROP_STREAM), _S, None, None),
    (failing(Kind.RESET_STREAM), _S, None, None),
    (failing(Kind.CUT_STREAM), _S, None, None),
]


@BOTH
@pytest.mark.parametrize(
    ("config", "failure_class", "status", "error_type"), BY_KIND, ids=[str(n) for n in range(len(BY_KIND))]
)
async def test_each_failure_lands_in_its_class(
    config: SimulatorConfig, failure_class: FailureClass, status: int | None, error_type: str | None, stream: bool
) -> None:
    async with Simulator(config) as simulator:
        asked = await ask(simulator.base_url, stream=stream)
        requests = simulator.records.total
    assert asked.failure is not None
    assert asked.failure.failure_class is failure_class
    assert asked.failure.status_code == status
    assert error_type is None or asked.failure.error_type == error_type
    assert asked.failure.permanent is (failure_class is _T)
    assert asked.failure.message
    assert requests == 1, "the SDK's own retries are off"
    if "regain" in asked.failure.message:
        assert asked.failure.until == REGAINED_AT


async def test_an_error_event_inside_a_stream_is_trouble_of_the_service() -> None:
    async with Simulator(failing(Kind.ERROR_EVENT)) as simulator:
        asked = await ask(simulator.base_url)
    assert asked.failure is not None
    assert (asked.failure.failure_class, asked.failure.error_type) == (_S, "overloaded_error")
    assert asked.failure.status_code is None, "the 200 that the stream began with says nothing"


@pytest.mark.parametrize("kind", [Kind.DROP_STREAM, Kind.RESET_STREAM, Kind.CUT_STREAM])
async def test_an_answer_that_broke_off_has_cost_what_it_said_of_itself(kind: Kind) -> None:
    async with Simulator(failing(kind)) as simulator:
        asked = await ask(simulator.base_url, model="claude-haiku-4-5")
        (record,) = simulator.records
    assert asked.failure is not None
    assert asked.spent.usage is not None
    assert asked.spent.usage.input_tokens == record.input_tokens > 0
    assert (asked.spent.cost_usd or 0) > 0


@pytest.mark.parametrize("kind", [Kind.OVERLOADED, Kind.DROP_BEFORE, Kind.ERROR_EVENT])
async def test_what_was_refused_has_cost_nothing(kind: Kind) -> None:
    async with Simulator(failing(kind)) as simulator:
        asked = await ask(simulator.base_url)
    assert asked.failure is not None
    assert asked.spent == Spent()


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_comes_in_seconds_or_as_a_date(form: Any) -> None:
    organization = OrganizationConfig("org-a", requests=Limit(1, burst=1), retry_after=form)
    async with Simulator(SimulatorConfig(organizations=(organization,))) as simulator:
        assert (await ask(simulator.base_url)).answer is not None
        asked = await ask(simulator.base_url)
    assert asked.failure is not None
    assert asked.failure.failure_class is _L
    assert asked.failure.retry_after is not None
    assert 50 < asked.failure.retry_after <= 62


async def test_a_429_without_retry_after_is_limited_all_the_same() -> None:
    organization = OrganizationConfig("org-a", requests=Limit(1, burst=0), retry_after="none")
    async with Simulator(SimulatorConfig(organizations=(organization,))) as simulator:
        await ask(simulator.base_url)
        asked = await ask(simulator.base_url)
    assert asked.failure is not None
    assert (asked.failure.failure_class, asked.failure.retry_after) == (_L, None)


GARBAGE = {
    "no JSON": lambda: web.Response(text="ok", content_type="application/json"),
    "HTML": lambda: web.Response(text="<html>Welcome to the hotel's Wi-Fi</html>", content_type="text/html"),
    "empty": lambda: web.Response(body=b"", content_type="application/json"),
    "a list": lambda: web.json_response([1, 2]),
    "another object": lambda: web.json_response({"choices": []}),
    "unfinished": lambda: web.json_response(message(stop_reason=None)),
    "content is no list": lambda: web.json_response(message(content=7)),
    "a block is no object": lambda: web.json_response(message(content=["x"])),
    "text is no text": lambda: web.json_response(message(content=[{"type": "text", "text": None}])),
    "usage is text": lambda: web.json_response(message(usage="much")),
    "a count is text": lambda: web.json_response(message(usage={"input_tokens": "many"})),
    "a count is a list": lambda: web.json_response(message(usage={"input_tokens": [1]})),
    "wrong compression": lambda: web.Response(
        body=b"not gzip", headers={"content-encoding": "gzip", "content-type": "application/json"}
    ),
    "bad UTF-8": lambda: web.Response(body=b'{"a": "\xff\xfe"}', content_type="application/json"),
    "nested too deep": lambda: web.Response(body=b"[" * 200_000, content_type="application/json"),
}


@BOTH
@pytest.mark.parametrize("what", GARBAGE)
async def test_a_200_that_is_no_message_is_trouble_of_the_service(what: str, stream: bool) -> None:
    async with server(lambda request: GARBAGE[what]()) as (base_url, _):
        asked = await ask(base_url, stream=stream)
    assert asked.failure is not None
    assert asked.failure.failure_class is _S, asked.error


GARBAGE_EVENTS = {
    "nothing": "",
    "no JSON": "event: message_start\ndata: {oops\n\n",
    "no object": "event: message_start\ndata: 7\n\n",
    "bad order": sse(STOP_BLOCK).decode(),
    "half an event": "event: message_start\ndata: {",
    "not UTF-8": None,
    "a message without usage fields": sse({"type": "message_start", "message": None}).decode(),
    "text is a number": sse(
        START,
        TEXT_BLOCK,
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 5}},
        STOP_BLOCK,
        END,
        STOP,
    ).decode(),
    "an error event that is no JSON": "event: error\ndata: oh dear\n\n",
    "an error event with a list": "event: error\ndata: [1]\n\n",
    "tool input is no JSON": sse(
        START,
        {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "f", "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{"}},
        STOP_BLOCK,
        END,
        STOP,
    ).decode(),
}


@pytest.mark.parametrize("what", GARBAGE_EVENTS)
async def test_a_stream_of_nonsense_is_trouble_of_the_service(what: str) -> None:
    body = GARBAGE_EVENTS[what]
    data = b'event: message_start\ndata: {"a": "\xff\xfe"}\n\n' if body is None else body.encode()
    async with server(lambda request: event_stream(data)) as (base_url, _):
        asked = await ask(base_url)
    assert asked.failure is not None
    assert asked.failure.failure_class is _S, asked.error


@BOTH
async def test_a_redirect_is_not_followed(stream: bool) -> None:
    async with server(lambda request: web.json_response(message())) as (elsewhere, seen_elsewhere):
        location = {"location": f"{elsewhere}/v1/messages"}
        async with server(lambda request: web.Response(status=307, headers=location)) as (base_url, seen):
            asked = await ask(base_url, stream=stream)
    assert asked.failure is not None
    assert asked.failure.failure_class is _S, "not one of the task's own: some proxy stands between"
    assert len(seen) == 1
    assert not seen_elsewhere, "the key must not travel to another host"


@BOTH
async def test_nobody_listening_is_overload(stream: bool) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        asked = await ask(f"http://127.0.0.1:{unused.getsockname()[1]}", stream=stream)
    assert asked.failure is not None
    assert asked.failure.failure_class is _O


async def test_an_unknown_host_is_overload() -> None:
    asked = await ask("http://no-such-host.invalid")
    assert asked.failure is not None
    assert asked.failure.failure_class is _O


# -- timeouts --------------------------------------------------------------------------------------------------------
@contextmanager
def full_backlog() -> Iterator[str]:
    """A server that never takes a connection: its queue of waiting ones is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting: list[socket.socket] = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        waiting.append(client)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for opened in (*waiting, listener):
            opened.close()


@BOTH
async def test_connect_timeout_is_no_connection(stream: bool) -> None:
    with full_backlog() as base_url:
        asked = await ask(base_url, connect_timeout_s=0.2, stream=stream)
    assert asked.failure is not None
    assert asked.failure.failure_class is _O, asked.error


async def test_first_token_timeout() -> None:
    async with Simulator(failing(Kind.HANG)) as simulator:
        asked = await ask(simulator.base_url, first_token_timeout_s=0.2)
    assert asked.failure is not None
    assert asked.failure.failure_class is _S
    assert "no first event within 0.2 s" in asked.failure.message


async def test_first_token_timeout_also_after_the_headers() -> None:
    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.sleep(30)
        return response

    async with server(respond) as (base_url, _):
        asked = await ask(base_url, first_token_timeout_s=0.2)
    assert asked.failure is not None
    assert "no first event within 0.2 s" in asked.failure.message


async def test_idle_timeout_between_events() -> None:
    async with Simulator(failing(Kind.HANG_STREAM)) as simulator:
        asked = await ask(simulator.base_url, idle_timeout_s=0.2)
    assert asked.failure is not None
    assert asked.failure.failure_class is _S
    assert "no further event within 0.2 s" in asked.failure.message
    assert asked.failure.request_id


@BOTH
async def test_total_timeout(stream: bool) -> None:
    async with Simulator(failing(Kind.HANG)) as simulator:
        asked = await ask(simulator.base_url, timeout_s=0.2, stream=stream)
    assert asked.failure is not None
    assert asked.failure.failure_class is _S
    assert "within 0.2 s" in asked.failure.message


async def test_total_timeout_ends_a_stream_that_goes_on_and_on() -> None:
    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(sse(START, TEXT_BLOCK))
        while True:
            await response.write(sse(text("more ")))
            await asyncio.sleep(0.02)

    async with server(respond) as (base_url, _):
        asked = await ask(base_url, timeout_s=0.3, idle_timeout_s=5)
    assert asked.failure is not None
    assert "not finished within 0.3 s" in asked.failure.message
    assert asked.progress


async def test_pings_keep_a_slow_stream_alive() -> None:
    """The API sends pings while the model thinks: they are events too."""

    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(sse(START))
        for _ in range(8):
            await asyncio.sleep(0.1)
            await response.write(b'event: ping\ndata: {"type": "ping"}\n\n')
        await response.write(sse(TEXT_BLOCK, text("done"), STOP_BLOCK, END, STOP))
        return response

    async with server(respond) as (base_url, _):
        asked = await ask(base_url, idle_timeout_s=0.5)
    assert asked.failure is None
    assert asked.answer is not None
    assert asked.answer.output == "done"


async def test_a_cancelled_request_is_given_up_at_the_server_too() -> None:
    async with Simulator(failing(Kind.HANG)) as simulator:
        asking = asyncio.create_task(ask(simulator.base_url))
        await simulator.records.wait_until(lambda records: records.active == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await simulator.records.wait_until(lambda records: records.active == 0)
        assert simulator.records[0].kind is Kind.DISCONNECTED


# -- whose answer it was, and what must not be seen --------------------------------------------------------------------
@BOTH
@pytest.mark.parametrize("kind", [Kind.INVALID_REQUEST, Kind.API_ERROR, Kind.RATE_LIMITED, Kind.ANSWER])
async def test_the_organisation_is_learned_from_answers_and_errors(kind: Kind, stream: bool) -> None:
    organization = OrganizationConfig("org-a", id="11111111-2222-3333-4444-555555555555")
    config = SimulatorConfig(organizations=(organization,), rules=(Rule("report", kind),))
    async with Simulator(config) as simulator:
        key = credential(simulator.base_url)
        ended, failure = await attempt(APIRotationState([key]), stream=stream)
    assert (failure is None) is (kind is Kind.ANSWER)
    assert key.organization == organization.id
    assert ended.organization == organization.id


@BOTH
@pytest.mark.parametrize("kind", [*SPEAKING, Kind.INVALID_REQUEST])
async def test_no_secret_in_failure_log_or_stored_line(
    kind: Kind, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "sk-ant-api03-Very-Secret-Value-0123456789"
    caplog.set_level(logging.DEBUG)
    config = SimulatorConfig(
        keys=(KeyConfig(secret, "org-a"),), rules=(Rule("report", kind, message=f"bad key {secret}"),)
    )
    async with Simulator(config) as simulator:
        key = credential(simulator.base_url, secret)
        asked = await ask(simulator.base_url, key=key, stream=stream)
        ended, _ = await attempt(APIRotationState([key]), stream=stream)
    assert secret not in repr(asked.failure)
    assert secret not in repr(ended)
    assert secret not in repr(key)
    assert secret not in repr(TaskContext("worker-0", 1, key))
    for record in caplog.records:
        assert secret not in record.getMessage()
        assert secret not in repr(record.args)


async def test_the_exception_itself_is_not_handed_on() -> None:
    """`pickle(e)` and `e.request.headers` of an SDK error hold the key: the engine keeps only what it read off it."""
    secret = "sk-ant-api03-Very-Secret-Value-0123456789"
    config = SimulatorConfig(keys=(KeyConfig(secret, "org-a"),), rules=(Rule("report", Kind.API_ERROR),))
    async with Simulator(config) as simulator:
        rotation = APIRotationState([credential(simulator.base_url, secret)])
        ended, failure = await attempt(rotation)
    assert secret.encode() not in pickle.dumps((ended, failure))
    assert secret not in "".join(traceback.format_exception(None, RuntimeError(str(failure)), None))
