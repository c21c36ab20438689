"""Scripted agent sessions: tool calls one after the other, as an agent program such as Claude Code sends them back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from agentdash.errors import UsageError
from agentdash.simulator import FailureRates, Kind, Rule, Simulator, SimulatorConfig, ToolCall

Body = Callable[..., dict[str, Any]]
TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("Read", "Write", "Bash")]
REMINDER = {"type": "text", "text": "<system-reminder>\nCreate nothing.\n</system-reminder>\n"}
SESSION = Rule(
    r"Create (?P<file>\S+)",
    Kind.TOOL_USE,
    calls=(
        ToolCall("Write", {"file_path": "{file}", "content": "{x} of {file}\n", "modes": ["{file}", 3]}),
        ToolCall("Bash", {"command": "cat {file}"}),
    ),
)


def _user(*texts: str) -> dict[str, Any]:
    return {"role": "user", "content": [REMINDER, *({"type": "text", "text": text} for text in texts)]}


class Agent:
    """An agent program in small: it keeps the messages, and answers every tool call with a result."""

    def __init__(self, http: aiohttp.ClientSession, simulator: Simulator, prompt: str, **fields: Any) -> None:
        self._http = http
        self._url = f"{simulator.base_url}/v1/messages?beta=true"
        self._fields = {"model": "claude-fable-5-2", "max_tokens": 1024, "tools": TOOLS, **fields}
        self.messages = [_user(prompt)]

    async def ask(self) -> tuple[int, dict[str, Any]]:
        async with self._http.post(self._url, json={"messages": self.messages, **self._fields}) as response:
            return response.status, await response.json()

    async def step(self, result: str = "done", *more: dict[str, Any]) -> dict[str, Any]:
        """One answer; the input of its call with the tool's name, or `{}` once there is none."""
        status, message = await self.ask()
        assert status == 200
        calls = [block for block in message["content"] if block["type"] == "tool_use"]
        assert message["stop_reason"] == ("tool_use" if calls else "end_turn")
        self.messages.append({"role": "assistant", "content": message["content"]})
        if not calls:
            return {}
        (call,) = calls
        self.messages.append(
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": result}, *more]}
        )
        return {"tool": call["name"], **call["input"]}


async def test_calls_come_one_after_the_other_then_a_text(http: aiohttp.ClientSession) -> None:
    async with Simulator(SimulatorConfig(rules=(SESSION,))) as simulator:
        agent = Agent(http, simulator, "Create a.txt, please")
        steps = [await agent.step("File created", REMINDER), await agent.step(), await agent.step()]
    assert steps == [
        {"tool": "Write", "file_path": "a.txt,", "content": "{x} of a.txt,\n", "modes": ["a.txt,", 3]},
        {"tool": "Bash", "command": "cat a.txt,"},
        {},
    ]
    assert [record.kind for record in simulator.records] == [Kind.TOOL_USE, Kind.TOOL_USE, Kind.ANSWER]
    assert [record.prompt for record in simulator.records] == ["Create a.txt, please", "File created", "done"]


async def test_a_new_prompt_begins_anew_and_one_beside_a_result_goes_on(http: aiohttp.ClientSession) -> None:
    async with Simulator(SimulatorConfig(rules=(SESSION,))) as simulator:
        agent = Agent(http, simulator, "Create a.txt")
        await agent.step("interrupted", {"type": "text", "text": "Continue."})
        assert (await agent.step())["tool"] == "Bash"
        agent.messages.append({"role": "user", "content": [REMINDER]})
        assert await agent.step() == {}
        agent.messages.append(_user("Create b.txt"))
        assert (await agent.step())["file_path"] == "b.txt"
        agent.messages.append(_user("Thank you"))
        assert await agent.step() == {}


async def test_a_failure_in_the_middle_is_repeated_not_skipped(http: aiohttp.ClientSession) -> None:
    rules = (Rule("File created", Kind.OVERLOADED, times=1), SESSION)
    async with Simulator(SimulatorConfig(rules=rules)) as simulator:
        agent = Agent(http, simulator, "Create a.txt")
        await agent.step("File created")
        assert (await agent.ask())[0] == 529
        assert (await agent.step())["tool"] == "Bash"


async def test_times_counts_sessions_not_requests(http: aiohttp.ClientSession) -> None:
    once = Rule(SESSION.pattern, Kind.TOOL_USE, times=1, calls=SESSION.calls)
    async with Simulator(SimulatorConfig(rules=(once,))) as simulator:
        first, second = (Agent(http, simulator, "Create a.txt") for _ in range(2))
        assert [(await first.step()).get("tool") for _ in range(3)] == ["Write", "Bash", None]
        assert await second.step() == {}


async def test_failure_rates_apply_to_a_session(http: aiohttp.ClientSession) -> None:
    config = SimulatorConfig(rules=(SESSION,), failures=FailureRates(api_error=1.0))
    async with Simulator(config) as simulator:
        assert (await Agent(http, simulator, "Create a.txt").ask())[0] == 500


async def test_a_tool_that_the_request_lacks_is_not_called(http: aiohttp.ClientSession) -> None:
    async with Simulator(SimulatorConfig(rules=(SESSION,))) as simulator:
        assert await Agent(http, simulator, "Create a.txt", tools=TOOLS[:1]).step() == {}
        assert await Agent(http, simulator, "Create a.txt", tools=[]).step() == {}


async def test_reminders_are_no_prompt_but_cost_tokens(http: aiohttp.ClientSession, body: Body) -> None:
    async with Simulator(SimulatorConfig(rules=(Rule("Create", Kind.API_ERROR),))) as simulator:
        with_reminder = {**body(), "messages": [_user("Say hello")]}
        url = f"{simulator.base_url}/v1/messages"
        async with http.post(url, json=with_reminder) as response:
            reminded = await response.json()
        async with http.post(url, json=body("Say hello")) as response:
            plain = await response.json()
    assert [record.prompt for record in simulator.records] == ["Say hello", "Say hello"]
    assert reminded["content"] == plain["content"]
    assert reminded["usage"]["input_tokens"] > plain["usage"]["input_tokens"]


@pytest.mark.parametrize(("role", "status"), [("system", 200), ("user", 400)])
async def test_a_system_message_may_hold_options_only(
    http: aiohttp.ClientSession, body: Body, role: str, status: int
) -> None:
    request = body()
    request["messages"].append({"role": role, "content": [], "output_config": {"effort": "medium"}})
    async with (
        Simulator() as simulator,
        http.post(f"{simulator.base_url}/v1/messages", json=request) as response,
    ):
        assert response.status == status


def test_sessions_are_read_from_json_and_written_to_it() -> None:
    config = SimulatorConfig(rules=(SESSION,))
    assert SimulatorConfig.from_json(config.to_json()) == config
    assert hash(config) == hash(SimulatorConfig.from_json(config.to_json()))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"kind": "slow", "calls": [{"name": "Bash"}]}, "calls are for tool_use, not for slow"),
        ({"kind": "tool_use", "calls": [{"name": "Bash", "input": "ls"}]}, "expected an object, found a string"),
        ({"kind": "tool_use", "calls": [{"input": {}}]}, "field 'name' is missing"),
    ],
)
def test_what_a_session_cannot_be(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SimulatorConfig.from_json(json.dumps({"rules": [{"pattern": "x", **rule}]}))
