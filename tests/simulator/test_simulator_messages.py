"""What a well-behaved server says: answers, streams, tools, headers, validation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import aiohttp
import anthropic
import pytest

from agentdash.simulator import (
    FailureRates,
    KeyBehaviour,
    KeyConfig,
    Kind,
    Latency,
    Limit,
    OrganizationConfig,
    Rule,
    Simulator,
    SimulatorConfig,
)

Body = Callable[..., dict[str, Any]]
Sdk = Callable[..., anthropic.AsyncAnthropic]
WEATHER = {
    "name": "get_weather",
    "description": "The weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}


async def test_plain_and_streamed_answers_agree(sdk: Sdk, body: Body) -> None:
    async with Simulator() as simulator:
        client = sdk(simulator.base_url)
        plain = await client.messages.create(**body())
        async with client.messages.stream(**body()) as stream:
            streamed = await stream.get_final_message()
    assert plain.content[0].type == "text"
    assert streamed.content[0].type == "text"
    assert plain.content[0].text == streamed.content[0].text
    assert plain.stop_reason == streamed.stop_reason == "end_turn"
    assert plain.usage.output_tokens == streamed.usage.output_tokens == (len(plain.content[0].text) + 3) // 4
    assert plain.usage.input_tokens == streamed.usage.input_tokens > 0
    assert plain.usage.cache_read_input_tokens == plain.usage.cache_creation_input_tokens == 0
    assert plain.model == "claude-fable-5-2"
    assert plain.id != streamed.id


async def test_event_order_on_the_wire(http: aiohttp.ClientSession, body: Body) -> None:
    async with (
        Simulator() as simulator,
        http.post(f"{simulator.base_url}/v1/messages", json=body(stream=True)) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        text = await response.text()
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\n\n") if block]
    names = [event["event"] for event in events]
    assert all(json.loads(event["data"])["type"] == event["event"] for event in events)
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert set(names[3:-3]) == {"content_block_delta"}
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


async def test_answers_depend_on_prompt_and_seed_only(http: aiohttp.ClientSession, body: Body) -> None:
    async def answer(seed: int, prompt: str) -> str:
        async with (
            Simulator(SimulatorConfig(seed=seed)) as simulator,
            http.post(f"{simulator.base_url}/v1/messages", json=body(prompt)) as response,
        ):
            return str((await response.json())["content"][0]["text"])

    first = await answer(1, "What happened on {Monday} \N{SNOWMAN}\x1b[31m?")
    assert first == await answer(1, "What happened on {Monday} \N{SNOWMAN}\x1b[31m?")
    assert first != await answer(2, "What happened on {Monday} \N{SNOWMAN}\x1b[31m?")
    assert first != await answer(1, "What happened on Tuesday?")
    assert "{Monday}" in first


async def test_max_tokens_long_and_refusal(sdk: Sdk, body: Body) -> None:
    rules = (Rule("essay", Kind.LONG, tokens=3000), Rule("forbidden", Kind.REFUSAL))
    async with Simulator(SimulatorConfig(rules=rules)) as simulator:
        client = sdk(simulator.base_url)
        cut = await client.messages.create(**body(max_tokens=10))
        long = await client.messages.create(**body("an essay", max_tokens=8192))
        refused = await client.messages.create(**body("something forbidden"))
        async with client.messages.stream(**body("something forbidden")) as stream:
            streamed = await stream.get_final_message()
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 10)
    assert long.usage.output_tokens >= 3000
    assert (refused.stop_reason, refused.content) == (streamed.stop_reason, streamed.content) == ("refusal", [])


@pytest.mark.parametrize("streamed", [False, True])
async def test_tool_use_then_the_final_answer(sdk: Sdk, body: Body, streamed: bool) -> None:
    async with Simulator(SimulatorConfig(tool_use=True)) as simulator:
        client = sdk(simulator.base_url)
        request = body("Weather in Oslo?", tools=[WEATHER])
        if streamed:
            async with client.messages.stream(**request) as stream:
                message: anthropic.types.Message = await stream.get_final_message()
        else:
            message = await client.messages.create(**request)
        assert message.stop_reason == "tool_use"
        call = message.content[1]
        assert call.type == "tool_use"
        assert (call.name, call.input) == ("get_weather", {"city": "Weather in Oslo?", "days": 3})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain"}
        request["messages"] += [
            {"role": "assistant", "content": [block.model_dump() for block in message.content]},
            {"role": "user", "content": [result]},
        ]
        final = await client.messages.create(**request)
    assert final.stop_reason == "end_turn"
    assert [record.kind for record in simulator.records] == [Kind.TOOL_USE, Kind.ANSWER]


async def test_a_tool_is_called_only_when_asked_for(sdk: Sdk, body: Body) -> None:
    async with Simulator() as simulator:
        client = sdk(simulator.base_url)
        unasked = await client.messages.create(**body(tools=[WEATHER]))
        forced = await client.messages.create(**body(tools=[WEATHER], tool_choice={"type": "any"}))
    assert (unasked.stop_reason, forced.stop_reason) == ("end_turn", "tool_use")


async def test_count_tokens(sdk: Sdk, body: Body) -> None:
    async with Simulator() as simulator:
        client = sdk(simulator.base_url)
        request = body("x" * 400)
        del request["max_tokens"]
        counted = await client.messages.count_tokens(**request)
        message = await client.messages.create(**request, max_tokens=5)
    assert counted.input_tokens == message.usage.input_tokens == 107
    assert [record.endpoint for record in simulator.records] == ["count_tokens", "messages"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model: Field required"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"messages": None}, "messages: Field required"),
        ({"max_tokens": "5"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": "hi"}, "messages: Input should be a valid list"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages.0.role: Input should be 'user' or 'assistant'"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content: Input should be a valid list"),
        ({"stream": "yes"}, "stream: Input should be a valid boolean"),
        ({"temperature": 3}, "temperature: range: 0..1"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id: Input should be a valid string"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
    ],
)
async def test_validation(http: aiohttp.ClientSession, body: Body, change: dict[str, Any], message: str) -> None:
    request = {name: value for name, value in {**body(), **change}.items() if value is not None}
    async with (
        Simulator() as simulator,
        http.post(f"{simulator.base_url}/v1/messages", json=request) as response,
    ):
        assert response.status == 400
        assert await response.json() == {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": message},
            "request_id": response.headers["request-id"],
        }


async def test_bad_json_unknown_paths_and_methods(http: aiohttp.ClientSession) -> None:
    async with Simulator() as simulator:
        seen = []
        for method, path in [("POST", "/v1/messages"), ("POST", "/v1/nothing"), ("GET", "/v1/messages")]:
            async with http.request(method, simulator.base_url + path, data=b"{nope") as response:
                seen.append((response.status, (await response.json())["error"]["type"]))
    assert seen == [(400, "invalid_request_error"), (404, "not_found_error"), (405, "invalid_request_error")]


async def test_unknown_model_is_not_found(sdk: Sdk, body: Body) -> None:
    async with Simulator(SimulatorConfig(models=("claude-haiku-4-5",))) as simulator:
        with pytest.raises(anthropic.NotFoundError, match="claude-fable-5-2"):
            await sdk(simulator.base_url).messages.create(**body())


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"x-api-key": "sim-key-1-0000"}, 200, ""),
        ({"authorization": "Bearer sim-key-1-0000"}, 200, ""),
        ({"x-api-key": "other"}, 401, "invalid x-api-key"),
        ({"authorization": "Bearer other"}, 401, "Invalid bearer token"),
        ({"authorization": "Basic sim-key-1-0000"}, 401, "Invalid bearer token"),
        ({}, 401, "x-api-key header is required"),
    ],
)
async def test_authentication(body: Body, headers: dict[str, str], status: int, message: str) -> None:
    async with Simulator() as simulator, aiohttp.ClientSession() as session:
        sent = {**headers, "anthropic-version": "2023-06-01"}
        async with session.post(f"{simulator.base_url}/v1/messages", json=body(), headers=sent) as response:
            answer = await response.json()
            assert response.status == status
    if status == 401:
        assert answer["error"] == {"type": "authentication_error", "message": message}
    assert "sim-key" not in repr(list(simulator.records))


async def test_headers_tell_where_a_client_stands(http: aiohttp.ClientSession, body: Body) -> None:
    organization = OrganizationConfig("o", Limit(60, 10), Limit(90_000, 9_000), Limit(6_000, 600), workspace_id="wrk_1")
    config = SimulatorConfig((organization,), (KeyConfig("sim-key-1-0000", "o"),), answer_tokens=50)
    async with (
        Simulator(config) as simulator,
        http.post(f"{simulator.base_url}/v1/messages", json=body()) as response,
    ):
        headers = response.headers
    assert headers["anthropic-organization-id"] == organization.header_id
    assert headers["anthropic-workspace-id"] == "wrk_1"
    assert re.fullmatch(r"req_\w{20,}", headers["request-id"])
    assert headers["date"].endswith("GMT")
    assert headers["anthropic-ratelimit-requests-limit"] == "60"
    assert headers["anthropic-ratelimit-requests-remaining"] == "9"
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "9000"
    assert headers["anthropic-ratelimit-tokens-limit"] == "96000"
    assert 530 <= int(headers["anthropic-ratelimit-output-tokens-remaining"]) < 560
    for name in ("requests", "input-tokens", "output-tokens", "tokens"):
        assert datetime.fromisoformat(headers[f"anthropic-ratelimit-{name}-reset"]).tzinfo is not None


@pytest.mark.parametrize(
    ("headers", "missing"), [("identity", "anthropic-ratelimit"), ("none", "anthropic-|request-id")]
)
async def test_a_gateway_without_headers(http: aiohttp.ClientSession, body: Body, headers: Any, missing: str) -> None:
    organization = OrganizationConfig("o", Limit(60), headers=headers)
    config = SimulatorConfig((organization,), (KeyConfig("sim-key-1-0000", "o"),))
    async with (
        Simulator(config) as simulator,
        http.post(f"{simulator.base_url}/v1/messages", json=body()) as response,
    ):
        assert response.status == 200
        assert not [name for name in response.headers if re.match(missing, name)]


async def test_keys_of_one_organisation_share_its_bucket_and_others_do_not(body: Body, clock: Any) -> None:
    organizations = (OrganizationConfig("a", Limit(60, 2)), OrganizationConfig("b", Limit(60, 2)))
    keys = (KeyConfig("k1", "a"), KeyConfig("k2", "a"), KeyConfig("k3", "b"))
    async with (
        Simulator(SimulatorConfig(organizations, keys), clock=clock) as simulator,
        aiohttp.ClientSession(headers={"anthropic-version": "2023-06-01"}) as session,
    ):

        async def ask(key: str) -> int:
            url = f"{simulator.base_url}/v1/messages"
            async with session.post(url, json=body(), headers={"x-api-key": key}) as response:
                return response.status

        assert [await ask(key) for key in ("k1", "k2", "k1", "k2", "k3")] == [200, 200, 429, 429, 200]
        clock.time += 1.0
        assert [await ask(key) for key in ("k2", "k1")] == [200, 429]
        simulator.update(organizations={"a": {"requests": None}})
        assert await ask("k1") == 200
    assert simulator.stats()["by_organization"] == {"a": 7, "b": 1}


async def test_latency_is_spent_on_the_clock(http: aiohttp.ClientSession, body: Body, clock: Any) -> None:
    config = SimulatorConfig(
        latency=Latency(first_token_s=2.0, chunk_s=0.25), rules=(Rule("slow", Kind.SLOW, seconds=9),)
    )
    async with Simulator(config, clock=clock) as simulator:
        url = f"{simulator.base_url}/v1/messages"
        async with http.post(url, json=body(stream=True)) as response:
            deltas = (await response.text()).count("event: content_block_delta")
        streamed = list(clock.slept)
        clock.slept.clear()
        async with http.post(url, json=body()) as response:
            await response.read()
        async with http.post(url, json=body("be slow", stream=True)) as response:
            await response.read()
    assert streamed == [2.0] + [0.25] * (deltas - 1)
    assert clock.slept[0] == pytest.approx(2.0 + 0.25 * deltas, abs=0.3)
    assert clock.slept[1] == 9


async def test_failures_are_the_same_for_the_same_order(http: aiohttp.ClientSession, body: Body) -> None:
    async def run(seed: int) -> list[int]:
        config = SimulatorConfig(failures=FailureRates(api_error=0.2, overloaded=0.2, unavailable=0.1), seed=seed)
        statuses = []
        async with Simulator(config) as simulator:
            for number in range(40):
                async with http.post(f"{simulator.base_url}/v1/messages", json=body(f"{number}")) as response:
                    statuses.append(response.status)
        return statuses

    first = await run(3)
    assert first == await run(3)
    assert first != await run(4)
    assert set(first) == {200, 500, 503, 529}


async def test_a_key_may_go_bad_after_some_requests(http: aiohttp.ClientSession, body: Body) -> None:
    config = SimulatorConfig(keys=(KeyConfig("sim-key-1-0000", "org-a", KeyBehaviour("invalid", after=2)),))
    async with Simulator(config) as simulator:
        for expected in (200, 200, 401, 401):
            async with http.post(f"{simulator.base_url}/v1/messages", json=body()) as response:
                assert response.status == expected
