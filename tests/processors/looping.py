"""One agent loop against a real server, what came of it, and servers that answer with tool calls as they are told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from agentdash.engine.errorfacts import failure_of
from agentdash.engine.processors import MessagesSettings, TaskContext
from agentdash.engine.processors.agent import AgentProcessor
from agentdash.model import Answer, Failure, Spent
from agentdash.simulator import Kind, Rule, SimulatorConfig
from agentdash.simulator.rules import ToolCall
from tests.processors.asking import Asked, clients, credential, event_stream, message, sse, task

Toolbox = Callable[[str], Any]
ADD = '''
given = []

def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: the first one
    """
    given.append((a, b))
    return a + b
'''


@dataclass(slots=True)
class Loop(Asked):
    """What came of one loop, and what it has used up."""

    spent: Spent = field(default_factory=Spent)


async def run(
    base_url: str,
    tools: str | None,
    payload: Mapping[str, Any] | None = None,
    *,
    max_turns: int = 50,
    max_cost: float | None = None,
    **settings: Any,
) -> Loop:
    """Run one task; a failure is classified as the runner does it."""
    source, asked, used = clients(), Loop(), credential(base_url)
    context = TaskContext(
        "worker-0",
        1,
        used,
        client=source.client(used),
        progress=asked.progress.append,
        observe=lambda headers: asked.organizations.append(headers.get("anthropic-organization-id")),
        max_cost=max_cost,
    )
    try:
        processor = AgentProcessor(MessagesSettings(**settings), tools=tools, max_turns=max_turns)
        asked.answer = await processor.run(task(payload), context)
    except Exception as error:
        asked.error, asked.failure = error, failure_of(error, time.time())
    finally:
        asked.spent = context.spent
        await source.close()
    return asked


def playing(*calls: ToolCall, first: tuple[Rule, ...] = (), **settings: Any) -> SimulatorConfig:
    return SimulatorConfig(rules=(*first, Rule("report", Kind.TOOL_USE, calls=calls)), **settings)


def answered(asked: Asked) -> Answer:
    if asked.error is not None:
        raise asked.error
    assert asked.answer is not None
    return asked.answer


def failed(asked: Asked) -> Failure:
    assert asked.failure is not None
    return asked.failure


def scripted(*turns: list[dict[str, Any]]) -> tuple[Callable[[web.Request], Any], list[Any]]:
    """A server that plays these answers, as content blocks, one a request; and the bodies that it got."""
    bodies: list[Any] = []

    def respond(request: web.Request) -> Any:
        async def play() -> web.Response:
            bodies.append(await request.json())
            blocks = turns[len(bodies) - 1]
            uses_tools = any(block["type"] == "tool_use" for block in blocks)
            return event_stream(streamed(blocks, "tool_use" if uses_tools else "end_turn"))

        return play()

    return respond, bodies


def streamed(blocks: list[dict[str, Any]], stop_reason: str) -> bytes:
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message(content=[], stop_reason=None)}]
    for index, block in enumerate(blocks):
        if block["type"] == "text":
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            given = block["input"]
            piece = given if isinstance(given, str) else json.dumps(given)
            empty, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": piece}
        events += [
            {"type": "content_block_start", "index": index, "content_block": empty},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    end = {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": {"output_tokens": 7}}
    return sse(*events, end, {"type": "message_stop"})


def say(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def use(name: str, given: Any, number: int = 1) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": given}


def results(body: Any) -> list[Any]:
    """The results of tools in a request's last message."""
    return [(r["tool_use_id"], r["content"], bool(r.get("is_error"))) for r in body["messages"][-1]["content"]]
