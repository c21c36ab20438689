"""Each failure as a raw client and as the official SDK see it: the table that the engine's classification rests on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import anthropic
import httpx2
import pytest

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
    Storm,
)

Body = Callable[..., dict[str, Any]]
Sdk = Callable[..., anthropic.AsyncAnthropic]
KEY = "sim-key-1-0000"


def failing(kind: Kind) -> SimulatorConfig:
    rates: dict[str, Any] = {kind.value: 1.0}
    return SimulatorConfig(failures=FailureRates(**rates))


def behaving(**behaviour: Any) -> SimulatorConfig:
    return SimulatorConfig(keys=(KeyConfig(KEY, "org-a", KeyBehaviour(**behaviour)),))


def ruled(kind: Kind) -> SimulatorConfig:
    return SimulatorConfig(rules=(Rule("report", kind),))


HTTP_FAILURES = [
    (behaving(kind="invalid"), 401, "authentication_error", anthropic.AuthenticationError),
    (behaving(kind="billing"), 402, "billing_error", anthropic.APIStatusError),
    (behaving(kind="forbidden"), 403, "permission_error", anthropic.PermissionDeniedError),
    (behaving(kind="credit"), 400, "invalid_request_error", anthropic.BadRequestError),
    (behaving(kind="quota"), 400, "invalid_request_error", anthropic.BadRequestError),
    (behaving(kind="quota", quota_status=429), 429, "rate_limit_error", anthropic.RateLimitError),
    (ruled(Kind.INVALID_REQUEST), 400, "invalid_request_error", anthropic.BadRequestError),
    (ruled(Kind.NOT_FOUND), 404, "not_found_error", anthropic.NotFoundError),
    (ruled(Kind.TOO_LARGE), 413, "request_too_large", anthropic.APIStatusError),
    (ruled(Kind.UNPROCESSABLE), 422, "invalid_request_error", anthropic.UnprocessableEntityError),
    (failing(Kind.RATE_LIMITED), 429, "rate_limit_error", anthropic.RateLimitError),
    (failing(Kind.API_ERROR), 500, "api_error", anthropic.InternalServerError),
    (failing(Kind.UNAVAILABLE), 503, "api_error", anthropic.InternalServerError),
    (failing(Kind.GATEWAY_TIMEOUT), 504, "timeout_error", anthropic.InternalServerError),
    (failing(Kind.OVERLOADED), 529, "overloaded_error", anthropic.InternalServerError),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("config", "status", "error_type", "raised"), HTTP_FAILURES, ids=lambda value: str(value)[:30])
async def test_http_failures(
    http: aiohttp.ClientSession,
    sdk: Sdk,
    body: Body,
    config: SimulatorConfig,
    status: int,
    error_type: str,
    raised: type[anthropic.APIStatusError],
    streamed: bool,
) -> None:
    async with Simulator(config) as simulator:
        async with http.post(f"{simulator.base_url}/v1/messages", json=body(stream=streamed)) as response:
            assert response.status == status
            answer = await response.json()
            assert answer["error"]["type"] == error_type
            assert answer["request_id"] == response.headers["request-id"]
        with pytest.raises(raised) as caught:
            await sdk(simulator.base_url).messages.create(**body(stream=streamed))
    assert caught.value.status_code == status
    assert caught.value.type == error_type
    assert {record.status for record in simulator.records} == {status}


async def test_a_bad_gateway_speaks_html(sdk: Sdk, body: Body) -> None:
    async with Simulator(failing(Kind.BAD_GATEWAY)) as simulator:
        with pytest.raises(anthropic.InternalServerError) as caught:
            await sdk(simulator.base_url).messages.create(**body())
    assert caught.value.status_code == 502
    assert caught.value.type is None
    assert "<html>" in str(caught.value.body)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
async def test_dropped_before_any_answer(
    http: aiohttp.ClientSession, sdk: Sdk, body: Body, streamed: bool, reset: bool
) -> None:
    kind = Kind.RESET_BEFORE if reset else Kind.DROP_BEFORE
    async with Simulator(failing(kind)) as simulator:
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await http.post(f"{simulator.base_url}/v1/messages", json=body(stream=streamed))
        with pytest.raises(anthropic.APIConnectionError) as caught:
            await sdk(simulator.base_url).messages.create(**body(stream=streamed))
    assert not isinstance(caught.value, anthropic.APITimeoutError)
    assert [(record.status, record.kind) for record in simulator.records] == [(0, kind)] * 2


async def _collect(stream: AsyncIterator[Any], seen: list[str]) -> None:
    async for event in stream:
        seen.append(event.type)  # noqa: PERF401 - what came before an error counts


@pytest.mark.parametrize("kind", [Kind.DROP_STREAM, Kind.RESET_STREAM])
async def test_dropped_inside_a_stream(http: aiohttp.ClientSession, sdk: Sdk, body: Body, kind: Kind) -> None:
    async with Simulator(failing(kind)) as simulator:
        async with http.post(f"{simulator.base_url}/v1/messages", json=body(stream=True)) as response:
            assert response.status == 200
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        stream: Any = await sdk(simulator.base_url).messages.create(**body(stream=True))
        seen: list[str] = []
        with pytest.raises(httpx2.TransportError) as caught:
            await _collect(stream, seen)
    assert not isinstance(caught.value, anthropic.AnthropicError)
    assert seen[0] == "message_start"
    assert "message_stop" not in seen


@pytest.mark.parametrize("kind", [Kind.DROP_STREAM, Kind.RESET_STREAM])
async def test_dropped_inside_a_plain_answer(http: aiohttp.ClientSession, sdk: Sdk, body: Body, kind: Kind) -> None:
    async with Simulator(failing(kind)) as simulator:
        async with http.post(f"{simulator.base_url}/v1/messages", json=body()) as response:
            with pytest.raises(aiohttp.ClientError):
                await response.read()
        with pytest.raises((httpx2.TransportError, anthropic.APIConnectionError)):
            await sdk(simulator.base_url).messages.create(**body())


async def test_cut_stream_raises_nothing_and_has_no_stop_reason(
    http: aiohttp.ClientSession, sdk: Sdk, body: Body
) -> None:
    async with Simulator(failing(Kind.CUT_STREAM)) as simulator:
        async with http.post(f"{simulator.base_url}/v1/messages", json=body(stream=True)) as response:
            text = await response.text()
        stream: Any = await sdk(simulator.base_url).messages.create(**body(stream=True))
        seen = [event.type async for event in stream]
    assert "event: content_block_delta" in text
    assert "message_delta" not in text
    assert seen[0] == "message_start"
    assert not {"message_delta", "message_stop"} & set(seen)


async def test_error_event_inside_a_stream(http: aiohttp.ClientSession, sdk: Sdk, body: Body) -> None:
    async with Simulator(failing(Kind.ERROR_EVENT)) as simulator:
        async with http.post(f"{simulator.base_url}/v1/messages", json=body(stream=True)) as response:
            assert response.status == 200
            assert "event: error\n" in await response.text()
        stream: Any = await sdk(simulator.base_url).messages.create(**body(stream=True))
        with pytest.raises(anthropic.APIStatusError) as caught:
            _ = [event async for event in stream]
    assert caught.value.status_code == 200
    assert caught.value.type == "overloaded_error"


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
async def test_a_body_over_32_mb(http: aiohttp.ClientSession, sdk: Sdk, body: Body) -> None:
    async with Simulator() as simulator:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await sdk(simulator.base_url).messages.create(**body("x" * (32 * 1024 * 1024)))
        assert (caught.value.status_code, caught.value.type) == (413, "request_too_large")

        async def chunks() -> Any:
            for _ in range(33):
                yield bytes(1024 * 1024)

        async with http.post(f"{simulator.base_url}/v1/messages", data=chunks()) as response:
            assert response.status == 413
    assert [record.kind for record in simulator.records] == [Kind.TOO_LARGE] * 2


@pytest.mark.parametrize("form", ["seconds", "date", "none", "long"])
async def test_retry_after_forms(http: aiohttp.ClientSession, sdk: Sdk, body: Body, clock: Any, form: Any) -> None:
    organization = OrganizationConfig("o", Limit(6, 1), retry_after=form)
    async with Simulator(SimulatorConfig((organization,), (KeyConfig(KEY, "o"),)), clock=clock) as simulator:
        async with http.post(f"{simulator.base_url}/v1/messages", json=body()) as response:
            assert response.status == 200
        with pytest.raises(anthropic.RateLimitError) as caught:
            await sdk(simulator.base_url).messages.create(**body())
    value = caught.value.response.headers.get("retry-after")
    if form == "date":
        assert value is not None
        assert parsedate_to_datetime(value).timestamp() == clock.now() + 10
    else:
        assert value == {"seconds": "10", "none": None, "long": "86400"}[form]
    assert caught.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"


async def test_daily_quota_names_the_date_and_returns(http: aiohttp.ClientSession, body: Body, clock: Any) -> None:
    async with Simulator(behaving(kind="quota", daily_requests=1), clock=clock) as simulator:
        url = f"{simulator.base_url}/v1/messages"
        async with http.post(url, json=body()) as response:
            assert response.status == 200
        async with http.post(url, json=body()) as response:
            assert (await response.json())["error"]["message"] == (
                "You have reached your specified API usage limits. You will regain access on 2026-11-19 at 00:00 UTC."
            )
        clock.time += 86_400
        async with http.post(url, json=body()) as response:
            assert response.status == 200


async def test_storms_pass(http: aiohttp.ClientSession, body: Body, clock: Any) -> None:
    storms = (Storm(10, 20), Storm(30, 40, Kind.API_ERROR))
    async with Simulator(behaving(storms=storms), clock=clock) as simulator:
        seen = []
        for _ in range(5):
            async with http.post(f"{simulator.base_url}/v1/messages", json=body()) as response:
                seen.append(response.status)
            clock.time += 10
    assert seen == [200, 529, 200, 500, 200]


async def test_rules_that_wear_off(http: aiohttp.ClientSession, body: Body) -> None:
    rules = (Rule("^a", Kind.API_ERROR, times=2, per_prompt=True), Rule("z", Kind.OVERLOADED, times=1))
    async with Simulator(SimulatorConfig(rules=rules)) as simulator:
        seen = []
        for prompt in ("a1", "a1", "a2", "a1", "a2", "a2", "z1", "z2"):
            async with http.post(f"{simulator.base_url}/v1/messages", json=body(prompt)) as response:
                seen.append(response.status)
    assert seen == [500, 500, 500, 200, 500, 200, 529, 200]


@pytest.mark.parametrize("kind", [Kind.HANG, Kind.HANG_STREAM])
async def test_shutdown_is_quick_while_requests_hang(http: aiohttp.ClientSession, body: Body, kind: Kind) -> None:
    async def ask(url: str) -> None:
        async with http.post(url, json=body(stream=True)) as response:
            await response.read()

    async with Simulator(failing(kind)) as simulator:
        asking = [asyncio.create_task(ask(f"{simulator.base_url}/v1/messages")) for _ in range(20)]
        await simulator.records.wait_until(lambda records: records.active == 20)
        before = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - before < 0.5
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(outcome, aiohttp.ClientError) for outcome in outcomes)
    assert simulator.records.active == 0


@pytest.mark.parametrize("kind", [Kind.HANG, Kind.HANG_STREAM, Kind.SLOW])
async def test_a_client_that_leaves_ends_its_request(http: aiohttp.ClientSession, body: Body, kind: Kind) -> None:
    async with Simulator(ruled(kind)) as simulator:
        asking = asyncio.create_task(http.post(f"{simulator.base_url}/v1/messages", json=body(stream=True)))
        await simulator.records.wait_until(lambda records: records.active == 1)
        if kind is Kind.HANG_STREAM:
            (await asking).close()
        else:
            asking.cancel()
        await simulator.records.wait_until(lambda records: records.active == 0)
        assert (simulator.records[0].status, simulator.records[0].kind) == (499, Kind.DISCONNECTED)
