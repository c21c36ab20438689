"""What is sent for a task, and what is made of the answer: through the real SDK over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agentdash.engine.processors import MessagesProcessor, MessagesSettings, TaskContext
from agentdash.engine.processors import clients as clients_module
from agentdash.model import Usage
from agentdash.simulator import KeyConfig, Kind, Latency, OrganizationConfig, Rule, Simulator, SimulatorConfig
from tests.processors.asking import (
    END,
    KEY,
    START,
    STOP,
    STOP_BLOCK,
    TEXT_BLOCK,
    answering,
    ask,
    clients,
    credential,
    event_stream,
    message,
    server,
    sse,
    task,
    text,
)
from tests.support.virtual_loop import ManualClock

BOTH = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
TOOL = {
    "name": "look_up",
    "description": "Looks something up.",
    "input_schema": {
        "type": "object",
        "properties": {"query": {"type": "string"}, "depth": {"type": "integer"}},
        "required": ["query", "depth"],
    },
}


# -- answers ---------------------------------------------------------------------------------------------------------
@BOTH
async def test_an_answer_is_text_message_usage_and_request_id(stream: bool) -> None:
    async with Simulator() as simulator:
        asked = await ask(simulator.base_url, stream=stream, model="claude-sonnet-4-5")
        record = simulator.records[0]
    answer = asked.answer
    assert answer is not None, asked.error
    assert "Summarise the report" in answer.output
    assert "".join(asked.progress) == answer.output
    assert answer.message is not None
    assert answer.message["stop_reason"] == "end_turn"
    assert answer.message["content"] == [{"type": "text", "text": answer.output}]
    assert answer.usage == Usage(record.input_tokens, record.output_tokens)
    assert answer.message["usage"]["output_tokens"] == record.output_tokens
    assert answer.request_id
    assert record.stream is stream
    assert (answer.first_token_s is not None) is stream


async def test_both_ways_give_the_same_message() -> None:
    async with Simulator() as simulator:
        streamed = (await ask(simulator.base_url, stream=True)).answer
        plain = (await ask(simulator.base_url, stream=False)).answer
    assert streamed is not None
    assert streamed.message is not None
    assert plain is not None
    assert plain.message is not None
    assert {**streamed.message, "id": ""} == {**plain.message, "id": ""}


@BOTH
async def test_a_tool_call_is_assembled_with_its_input(stream: bool) -> None:
    params = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Look it up, " * 20}],
        "tools": [TOOL],
        "tool_choice": {"type": "tool", "name": "look_up"},
    }
    async with Simulator() as simulator:
        asked = await ask(simulator.base_url, {"custom_id": "t1", "params": params}, stream=stream)
    assert asked.answer is not None
    assert asked.answer.message is not None
    block = asked.answer.message["content"][-1]
    assert (block["type"], block["name"]) == ("tool_use", "look_up")
    assert set(block["input"]) == {"query", "depth"}
    assert asked.answer.message["stop_reason"] == "tool_use"


async def test_thinking_is_kept_and_what_is_unknown_is_passed_over() -> None:
    events = sse(
        START,
        {"type": "weather_report", "outlook": "fair"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Let me "}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "see."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "mood_delta", "mood": "calm"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "abc"}},
        STOP_BLOCK,
        'event: ping\ndata: {"type": "ping"}\n\n',
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        text("Yes.", 1),
        {"type": "content_block_stop", "index": 1},
        END,
        STOP,
    )
    async with server(lambda request: event_stream(events)) as (base_url, _):
        asked = await ask(base_url)
    assert asked.answer is not None, asked.error
    assert asked.answer.output == "Yes."
    assert asked.progress == ["Yes."]
    assert asked.answer.message is not None
    assert asked.answer.message["content"] == [
        {"type": "thinking", "thinking": "Let me see.", "signature": "abc"},
        {"type": "text", "text": "Yes."},
    ]


async def test_the_last_usage_counts_and_cached_tokens_are_kept() -> None:
    first = {"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 200, "cache_creation_input_tokens": 30}
    start = {"type": "message_start", "message": message(content=[], stop_reason=None, usage=first)}
    end = END | {"usage": {"output_tokens": 42, "input_tokens": None}}
    async with server(lambda _: event_stream(sse(start, TEXT_BLOCK, text("x"), STOP_BLOCK, end, STOP))) as (url, _):
        asked = await ask(url)
    assert asked.answer is not None
    assert asked.answer.usage == Usage(10, 42, 30, 200)


@BOTH
async def test_a_known_model_costs_something_and_an_unknown_one_is_not_guessed(stream: bool) -> None:
    async with Simulator() as simulator:
        known = await ask(simulator.base_url, stream=stream, model="claude-sonnet-4-5")
        unknown = await ask(simulator.base_url, stream=stream, model="no-such-model-9")
    assert known.answer is not None
    assert known.answer.cost_usd is not None
    assert known.answer.cost_usd > 0
    assert unknown.answer is not None
    assert unknown.answer.cost_usd is None


async def test_first_token_time_is_that_of_the_first_text() -> None:
    config = SimulatorConfig(latency=Latency("fixed", first_token_s=0.3))
    async with Simulator(config) as simulator:
        before = time.monotonic()
        asked = await ask(simulator.base_url)
        took = time.monotonic() - before
    assert asked.answer is not None
    assert asked.answer.first_token_s is not None
    assert 0.3 <= asked.answer.first_token_s <= took


@BOTH
async def test_a_refusal_is_an_answer(stream: bool) -> None:
    async with Simulator(SimulatorConfig(rules=(Rule("report", Kind.REFUSAL),))) as simulator:
        asked = await ask(simulator.base_url, stream=stream)
    assert asked.answer is not None
    assert asked.answer.output == ""
    assert asked.answer.message is not None
    assert asked.answer.message["stop_reason"] == "refusal"


# -- requests --------------------------------------------------------------------------------------------------------
@BOTH
async def test_the_batch_form_is_sent_exactly_as_given(stream: bool) -> None:
    params = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 17,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Grüße \u2028 \x00 😀", "cache_control": None}]},
            {"role": "assistant", "content": "{"},
        ],
        "system": [{"type": "text", "text": "Be brief."}],
        "temperature": 0.5,
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u-1"},
        "some_field_of_next_year": {"a": [1, 2.5, None, True]},
    }
    async with server(answering) as (base_url, seen):
        asked = await ask(
            base_url,
            {"custom_id": "t1", "params": params},
            key=credential(base_url, model="of-the-key"),
            stream=stream,
            model="of-the-run",
            max_tokens=9999,
            system="of the run",
        )
    assert asked.answer is not None, asked.error
    body = json.loads(seen[0].body)
    assert body.pop("stream", False) is stream
    assert body == params


@pytest.mark.parametrize("asked_for", [True, False])
@BOTH
async def test_a_batch_form_that_says_stream_itself_is_answered_either_way(stream: bool, asked_for: bool) -> None:
    params = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}], "stream": asked_for}
    async with server(answering) as (base_url, seen):
        asked = await ask(base_url, {"params": params}, stream=stream)
    assert asked.answer is not None
    assert json.loads(seen[0].body).get("stream", False) is stream


CASES: list[tuple[dict[str, Any], dict[str, Any], str | None, tuple[str, int, str | None]]] = [
    ({}, {}, None, ("claude-sonnet-5-5", 4096, None)),
    ({}, {}, "of-the-key", ("of-the-key", 4096, None)),
    ({}, {"model": "of-the-run"}, "of-the-key", ("of-the-run", 4096, None)),
    ({"model": "of-the-task"}, {"model": "of-the-run"}, "of-the-key", ("of-the-task", 4096, None)),
    ({}, {"max_tokens": 10, "system": "run"}, None, ("claude-sonnet-5-5", 10, "run")),
    (
        {"max_tokens": 20, "system": "task"},
        {"max_tokens": 10, "system": "run"},
        None,
        ("claude-sonnet-5-5", 20, "task"),
    ),
    ({"metadata": {"note": "ours, not the API's"}}, {}, None, ("claude-sonnet-5-5", 4096, None)),
]


@pytest.mark.parametrize(("payload", "settings", "of_the_key", "sent"), CASES)
async def test_the_task_goes_before_the_run_and_the_run_before_the_key(
    payload: dict[str, Any], settings: dict[str, Any], of_the_key: str | None, sent: tuple[str, int, str | None]
) -> None:
    async with server(answering) as (base_url, seen):
        await ask(base_url, {"prompt": "Hi", **payload}, key=credential(base_url, model=of_the_key), **settings)
    body = json.loads(seen[0].body)
    assert (body["model"], body["max_tokens"], body.get("system")) == sent
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert set(body) <= {"model", "max_tokens", "messages", "stream", "system"}


@BOTH
async def test_any_text_gets_through_even_half_a_surrogate_pair(stream: bool) -> None:
    """JSON may hold `\\ud800`, UTF-8 may not: the task may fail for it, the worker and the run may not."""
    async with Simulator() as simulator:
        asked = await ask(simulator.base_url, {"prompt": "a \ud800 b"}, stream=stream)
    assert asked.answer is not None or (asked.failure is not None and asked.failure.failure_class == "task")


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp: 5 MB at once, a few ms
async def test_a_prompt_of_five_megabytes_is_sent_whole() -> None:
    async with Simulator() as simulator:
        asked = await ask(simulator.base_url, {"prompt": "0123456789" * 500_000})
    assert asked.answer is not None, asked.error
    assert asked.answer.usage is not None
    assert asked.answer.usage.input_tokens > 1_250_000


# -- keys, URLs and connections --------------------------------------------------------------------------------------
TRAPS = {
    "keys": {"ANTHROPIC_API_KEY": "sk-of-the-environment", "ANTHROPIC_AUTH_TOKEN": "token-of-the-environment"},
    "token": {"ANTHROPIC_AUTH_TOKEN": "token-of-the-environment"},
    "url": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9/nowhere"},
    "profile": {"ANTHROPIC_PROFILE": "work"},
    "federation": {
        "ANTHROPIC_IDENTITY_TOKEN": "token",
        "ANTHROPIC_FEDERATION_RULE_ID": "rule",
        "ANTHROPIC_ORGANIZATION_ID": "org",
    },
    "headers": {"ANTHROPIC_CUSTOM_HEADERS": "x-api-key: of-the-environment\nAuthorization: Bearer of-the-environment"},
    "odd headers": {
        "ANTHROPIC_CUSTOM_HEADERS": "X-API-KEY: other\nauthorization: Bearer other\nAUTHORIZATION: Bearer other"
    },
    "both spellings": {
        "ANTHROPIC_CUSTOM_HEADERS": "Authorization: Bearer a\nauthorization: Bearer b\nx-api-key: a\nX-Api-Key: b"
    },
}


@BOTH
@pytest.mark.parametrize("trap", TRAPS)
async def test_the_environment_changes_neither_key_nor_url(
    trap: str, stream: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in TRAPS[trap].items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "anthropic"
    (config / "configs").mkdir(parents=True)
    (config / "configs" / "work.json").write_text(
        json.dumps({"base_url": "http://127.0.0.1:9", "authentication": {"type": "user_oauth"}})
    )
    (config / "active_config").write_text("work")
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(config))
    async with server(answering) as (base_url, seen):
        asked = await ask(base_url, stream=stream)
    assert asked.answer is not None, asked.error
    sent = seen[0].headers
    shown = [value for name, value in sent.items() if name.lower() in ("x-api-key", "authorization")]
    assert shown
    assert all(value.removeprefix("Bearer ") == KEY for value in shown)


async def test_a_netrc_file_changes_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with server(answering) as (base_url, seen):
        asked = await ask(base_url)
    assert asked.answer is not None, asked.error
    assert "Basic" not in str(dict(seen[0].headers))


async def test_other_custom_headers_of_the_environment_still_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway may want them: only those that name a key are ours."""
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-team: reports\nx-api-key: other")
    async with server(answering) as (base_url, seen):
        await ask(base_url)
    assert seen[0].headers["x-team"] == "reports"


async def test_all_keys_share_one_pool_of_connections() -> None:
    async with server(answering) as (base_url, seen):
        source = clients()
        processor = MessagesProcessor(MessagesSettings())
        try:
            for number in range(4):
                key = credential(base_url, f"sim-key-{number}-0000")
                await processor.run(task(), TaskContext("worker-0", 1, key, client=source.client(key)))
                assert source.client(key) is source.client(key)
        finally:
            await source.close()
    assert len({one.headers["authorization"] for one in seen}) == 4
    assert len({one.peer for one in seen}) == 1, "one connection after the other was opened"


async def test_the_certificates_are_read_once_beside_the_loop_and_anew_for_a_worker_that_recovers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading them takes 25 ms: the time of the loop is not spent on it."""
    read_in: list[str] = []
    create = httpx2.create_ssl_context

    def counted(*given: Any, **more: Any) -> Any:
        if not given and not more:  # else it is given a context already
            read_in.append(threading.current_thread().name)
        return create(*given, **more)

    monkeypatch.setattr(httpx2, "create_ssl_context", counted)
    clients_module._tls_context.cache_clear()
    clock = ManualClock()
    source, second = clients(clock=clock), clients(clock=clock)
    try:
        await source.open()
        await second.open()
        first = source.client(credential("http://127.0.0.1:1"))._client
        assert second.client(credential("http://127.0.0.1:1"))._client._transport.ssl_context is (
            first._transport.ssl_context
        )
        clock.time += 3600
        await source.refresh()
        renewed = source.client(credential("http://127.0.0.1:1"))._client
        assert renewed is not first
        assert renewed._transport.ssl_context is not first._transport.ssl_context
    finally:
        await source.close()
        await second.close()
        clients_module._tls_context.cache_clear()
    assert len(read_in) == 2
    assert threading.current_thread().name not in read_in


async def test_a_broken_stream_leaves_no_connection_behind_and_the_next_request_works() -> None:
    config = SimulatorConfig(rules=(Rule("report", Kind.DROP_STREAM, times=3),))
    async with Simulator(config) as simulator:
        source = clients()
        processor = MessagesProcessor(MessagesSettings())
        key = credential(simulator.base_url)
        outcomes: list[str] = []
        try:
            for _ in range(4):
                try:
                    await processor.run(task(), TaskContext("worker-0", 1, key, client=source.client(key)))
                    outcomes.append("answer")
                except Exception as error:
                    outcomes.append(type(error).__name__)
        finally:
            await source.close()
    assert outcomes[-1] == "answer"
    assert "answer" not in outcomes[:3]


async def test_a_base_url_with_a_path_is_kept() -> None:
    async with server(answering) as (base_url, seen):
        await ask(f"{base_url}/gateway/anthropic")
    assert seen[0].path == "/gateway/anthropic/v1/messages"


@BOTH
async def test_a_gateway_without_any_header_is_fine(stream: bool) -> None:
    config = SimulatorConfig(
        organizations=(OrganizationConfig("org-a", headers="none"),), keys=(KeyConfig(KEY, "org-a"),)
    )
    async with Simulator(config) as simulator:
        asked = await ask(simulator.base_url, stream=stream)
    assert asked.answer is not None
    assert asked.organizations == [None]
    assert asked.answer.request_id is None
