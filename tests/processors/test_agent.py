"""The agent loop against the simulator: what the model asks for is done, and told to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from agentdash.engine.processors import MessagesSettings
from agentdash.engine.processors.agent import AgentProcessor
from agentdash.simulator import Simulator, SimulatorConfig
from agentdash.simulator.rules import ToolCall
from tests.processors.asking import KEY, event_stream, message, server, sse, task
from tests.processors.looping import (
    ADD,
    Toolbox,
    answered,
    playing,
    results,
    run,
    say,
    scripted,
    streamed,
    use,
)

pytest_plugins = ["tests.processors.toolbox"]


# -- the loop --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_a_tool_is_called_and_its_result_leads_to_the_answer(toolbox: Toolbox, stream: bool) -> None:
    tools = toolbox(ADD)
    async with Simulator(playing(ToolCall("add", {"a": 2, "b": 40}))) as simulator:
        asked = await run(simulator.base_url, tools.__name__, stream=stream)
        prompts = [record.prompt for record in simulator.records]
    answer = answered(asked)
    assert tools.given == [(2, 40)]
    assert prompts == ["Summarise the report", "42"]
    assert answer.value == {"turns": 2, "tool_calls": {"add": 1}}
    assert answer.message is not None
    assert answer.message["stop_reason"] == "end_turn"
    assert answer.output == answer.message["content"][0]["text"]
    assert answer.request_id is not None
    shown = "".join(asked.progress)
    assert "I'll use add for this.\n▸ add \n  42\n" in shown
    assert shown.endswith(answer.output)
    assert len(asked.organizations) == 2
    assert all(asked.organizations), "the headers of each answer are observed"


async def test_the_conversation_goes_back_as_it_came(toolbox: Toolbox) -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "s1g"}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message(content=[], stop_reason=None)},
        {"type": "content_block_start", "index": 0, "content_block": thinking},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "novel", "field": {"deep": 1}}},
        {"type": "content_block_start", "index": 2, "content_block": use("add", {"a": 1, "b": 2})},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]
    bodies: list[Any] = []

    async def respond(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return event_stream(sse(*events) if len(bodies) == 1 else streamed([say("Done.")], "end_turn"))

    async with server(respond) as (url, seen):
        answered(await run(url, toolbox(ADD).__name__))
    assert bodies[1]["messages"][1] == {
        "role": "assistant",
        "content": [thinking, {"type": "novel", "field": {"deep": 1}}, use("add", {"a": 1, "b": 2})],
    }
    assert [request.path for request in seen] == ["/v1/messages"] * 2
    assert "thread" not in bodies[1]


async def test_several_tools_in_one_answer_are_called_in_their_order(toolbox: Toolbox) -> None:
    tools = toolbox(ADD)
    calls = [say("Both."), use("add", {"a": 1, "b": 2}, 1), use("add", {"a": 3, "b": 4}, 2)]
    respond, bodies = scripted(calls, [say("Done.")])
    async with server(respond) as (url, _):
        asked = await run(url, tools.__name__)
    assert answered(asked).value == {"turns": 2, "tool_calls": {"add": 2}}
    assert tools.given == [(1, 2), (3, 4)]
    assert results(bodies[1]) == [("toolu_1", "3", False), ("toolu_2", "7", False)]


async def test_without_tools_it_is_one_answer() -> None:
    async with Simulator(SimulatorConfig()) as simulator:
        asked = await run(simulator.base_url, None)
        assert simulator.records.total == 1
    assert answered(asked).value == {"turns": 1, "tool_calls": {}}
    respond, bodies = scripted([say("Done.")])
    async with server(respond) as (url, _):
        answered(await run(url, None))
    assert "tools" not in bodies[0]


async def test_the_batch_form_is_the_base_to_which_the_tools_are_added(toolbox: Toolbox) -> None:
    own = {"name": "lookup", "input_schema": {"type": "object"}}
    params = {
        "model": "claude-haiku-4-5",
        "max_tokens": 99,
        "system": "Be brief.",
        "temperature": 0.3,
        "messages": [{"role": "user", "content": "Add"}],
        "tools": [own],
    }
    respond, bodies = scripted([use("add", {"a": 1, "b": 2})], [say("Done.")])
    async with server(respond) as (url, _):
        answered(await run(url, toolbox(ADD).__name__, {"params": params}, model="another"))
    assert len(bodies) == 2
    for body in bodies:
        assert {name: body[name] for name in ("model", "max_tokens", "system", "temperature")} == {
            name: params[name] for name in ("model", "max_tokens", "system", "temperature")
        }
        assert [tool["name"] for tool in body["tools"]] == ["lookup", "add"]
    assert bodies[0]["messages"] == params["messages"]
    assert bodies[0]["tools"][1]["input_schema"]["properties"]["a"]["description"] == "the first one"


async def test_a_task_s_own_system_model_and_max_tokens_count(toolbox: Toolbox) -> None:
    respond, bodies = scripted([use("add", {"a": 1, "b": 2})], [say("Done.")])
    payload = {"prompt": "Add", "system": "Own.", "model": "own", "max_tokens": 7}
    async with server(respond) as (url, _):
        answered(await run(url, toolbox(ADD).__name__, payload, model="other", system="Other.", max_tokens=9))
    assert [(body["system"], body["model"], body["max_tokens"]) for body in bodies] == [("Own.", "own", 7)] * 2


# -- tools -----------------------------------------------------------------------------------------------------------
async def test_a_tool_that_fails_tells_the_model(toolbox: Toolbox) -> None:
    tools = toolbox('''
def fails(name: str) -> str:
    """Always fails."""
    raise LookupError("no " + name)

def leaves() -> str:
    """Wants to end everything."""
    raise SystemExit("bye")

async def late() -> str:
    """Has a time-out of its own."""
    raise TimeoutError("own")
''')
    calls = [use("fails", {"name": "milk"}, 1), use("leaves", {}, 2), use("late", {}, 3)]
    respond, bodies = scripted(calls, [say("Done.")])
    async with server(respond) as (url, _):
        asked = await run(url, tools.__name__)
    assert answered(asked).output == "Done."
    assert results(bodies[1]) == [
        ("toolu_1", "LookupError('no milk')", True),
        ("toolu_2", "SystemExit('bye')", True),
        ("toolu_3", "TimeoutError('own')", True),
    ]
    assert "  ✖ LookupError('no milk')\n" in "".join(asked.progress)


async def test_arguments_that_do_not_fit_are_explained_to_the_model(toolbox: Toolbox) -> None:
    tools = toolbox(ADD)
    respond, bodies = scripted([use("add", {"a": "two", "b": 2})], [say("Done.")])
    async with server(respond) as (url, _):
        answered(await run(url, tools.__name__))
    [(_, said, is_error)] = results(bodies[1])
    assert is_error
    assert "valid integer" in said
    assert not tools.given


async def test_a_tool_that_there_is_not_tells_the_model(toolbox: Toolbox) -> None:
    respond, bodies = scripted([use("shell", {"command": "rm -rf /"})], [say("Done.")])
    async with server(respond) as (url, _):
        asked = await run(url, toolbox(ADD).__name__)
    assert results(bodies[1]) == [("toolu_1", "Error: Tool 'shell' not found", True)]
    assert answered(asked).value == {"turns": 2, "tool_calls": {"shell": 1}}


async def test_results_are_text_blocks_or_json(toolbox: Toolbox) -> None:
    tools = toolbox('''
def nothing() -> None:
    """Returns nothing."""

def table() -> dict[str, int]:
    """A table."""
    return {"a": 1}

def blocks() -> list[dict[str, str]]:
    """Content blocks."""
    return [{"type": "text", "text": "one"}]

def rows() -> list[dict[str, str]]:
    """What only looks like blocks."""
    return [{"type": "lamp"}]

def long() -> str:
    """Far too much."""
    return "x" * 1_000_000

def later() -> object:
    """A plain function with a coroutine."""
    async def words() -> str:
        return "later"
    return words()
''')
    names = ["nothing", "table", "blocks", "rows", "long", "later"]
    respond, bodies = scripted([use(name, {}, n) for n, name in enumerate(names)], [say("Done.")])
    async with server(respond) as (url, _):
        answered(await run(url, tools.__name__))
    contents = {name: content for name, (_, content, _) in zip(names, results(bodies[1]), strict=True)}
    long = contents.pop("long")
    assert contents == {
        "nothing": "",
        "table": '{"a": 1}',
        "blocks": [{"type": "text", "text": "one"}],
        "rows": '[{"type": "lamp"}]',
        "later": "later",
    }
    assert 99_000 < len(long) < 101_000
    assert "…" in long


async def test_a_plain_tool_that_blocks_does_not_hold_the_loop(toolbox: Toolbox) -> None:
    tools = toolbox('''
import threading
started, release = threading.Event(), threading.Event()

def block() -> bool:
    """Waits to be let go."""
    started.set()
    return release.wait(30)
''')
    respond, bodies = scripted([use("block", {})], [say("Done.")])
    async with server(respond) as (url, _):
        running = asyncio.create_task(run(url, tools.__name__))
        await asyncio.to_thread(tools.started.wait, 30)
        tools.release.set()  # by the loop, which is free
        answered(await running)
    assert results(bodies[1]) == [("toolu_1", "true", False)]


async def test_no_secret_reaches_a_tool_or_the_screen(toolbox: Toolbox) -> None:
    tools = toolbox(
        '''
import contextvars
seen = []

def look(**given: object) -> str:
    """Looks around."""
    seen.append(repr(given))
    seen.append(repr(list(contextvars.copy_context().items())))
    return open_door()

def open_door() -> str:
    return "the key is KEY"
'''.replace("KEY", KEY)
    )
    respond, _ = scripted([use("look", {"where": "here"})], [say("Done.")])
    async with server(respond) as (url, _):
        asked = await run(url, tools.__name__)
    answered(asked)
    assert tools.seen[0] == "{'where': 'here'}"
    assert KEY not in "".join(tools.seen)
    assert "the key is" in "".join(asked.progress)
    assert KEY not in "".join(asked.progress)


# -- size ------------------------------------------------------------------------------------------------------------
def test_the_size_counts_the_tools(toolbox: Toolbox) -> None:
    alone = AgentProcessor(MessagesSettings(model="m")).size(task())
    with_tools = AgentProcessor(MessagesSettings(model="m"), tools=toolbox(ADD).__name__).size(task())
    assert (alone.model, alone.max_tokens) == (with_tools.model, with_tools.max_tokens) == ("m", 4096)
    assert with_tools.characters > alone.characters + len("Add two numbers.")
