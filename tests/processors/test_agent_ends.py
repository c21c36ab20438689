"""Where an agent loop ends, and who pays: bounds, failures in the middle, cost, time, cancelling."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from aiohttp import web

from agentdash.engine.processors.agent import AgentProcessor
from agentdash.engine.rotation import APIRotationState
from agentdash.engine.runner import TaskRunner
from agentdash.engine.store import Claim
from agentdash.model import FailureClass, TaskState, Usage
from agentdash.simulator import Kind, Rule, Simulator
from agentdash.simulator.rules import ToolCall
from tests.processors.asking import clients, credential, event_stream, message, server, sse, task
from tests.processors.looping import (
    ADD,
    Toolbox,
    answered,
    failed,
    playing,
    run,
    say,
    streamed,
    use,
)

pytest_plugins = ["tests.processors.toolbox"]


# -- where it ends ---------------------------------------------------------------------------------------------------
async def test_too_many_turns_end_the_task_for_good(toolbox: Toolbox) -> None:
    tools = toolbox(ADD)
    async with Simulator(playing(*[ToolCall("add", {"a": 1, "b": 1})] * 9)) as simulator:
        asked = await run(simulator.base_url, tools.__name__, max_turns=3)
        assert simulator.records.total == 3
    assert len(tools.given) == 2, "what the last turn asked for is not done any more"
    failure = failed(asked)
    assert (failure.failure_class, failure.error_type, failure.permanent) == (FailureClass.TASK, "max_turns", True)
    assert failure.message == "no answer after 3 turns (max_turns)"


async def test_the_last_turn_may_be_the_answer(toolbox: Toolbox) -> None:
    async with Simulator(playing(ToolCall("add", {"a": 1, "b": 1}))) as simulator:
        asked = await run(simulator.base_url, toolbox(ADD).__name__, max_turns=2)
    assert answered(asked).value["turns"] == 2


async def test_a_call_that_is_cut_off_by_max_tokens_is_not_made(toolbox: Toolbox) -> None:
    tools = toolbox(ADD)
    torn = streamed([say("Now"), use("add", '{"a": 1, "b"')], "max_tokens")
    async with server(lambda request: event_stream(torn)) as (url, seen):
        asked = await run(url, tools.__name__)
    assert len(seen) == 1
    assert not tools.given
    failure = failed(asked)
    assert (failure.failure_class, failure.error_type, failure.permanent) == (FailureClass.TASK, "max_tokens", True)


async def test_a_call_that_is_no_json_is_trouble_of_the_service(toolbox: Toolbox) -> None:
    torn = streamed([use("add", '{"a": 1, "b"')], "tool_use")
    async with server(lambda request: event_stream(torn)) as (url, _):
        asked = await run(url, toolbox(ADD).__name__)
    assert failed(asked).failure_class is FailureClass.SERVICE


NONSENSE = [
    {"stop_reason": {"a": 1}},
    {"stop_reason": "tool_use", "content": [{"type": "tool_use"}]},
    {"stop_reason": "tool_use", "content": [{"type": "tool_use", "id": [1], "name": {}, "input": "x"}]},
    {"stop_reason": "tool_use", "content": [use("add", {"a": 1, "b": 1}) | {"toolset_name": "browser"}]},
    {"stop_reason": "tool_use", "content": [], "container": 7, "usage": {"iterations": 3}},
    {"stop_reason": "pause_turn", "content": []},
    {"stop_reason": "tool_use", "content": [use("add", [1, 2])]},
    {"stop_reason": "tool_use", "content": [use("add", {"a": 1, "b": 1}) | {"toolset_name": {}}]},
]


@pytest.mark.parametrize("nonsense", NONSENSE, ids=[str(n) for n in range(len(NONSENSE))])
async def test_an_answer_that_makes_no_sense_is_never_the_task_s_fault(
    toolbox: Toolbox, nonsense: dict[str, Any]
) -> None:
    answers = [message(**nonsense), message()]
    async with server(lambda request: web.json_response(answers.pop(0))) as (url, _):
        asked = await run(url, toolbox(ADD).__name__, stream=False)
    assert asked.answer is not None or failed(asked).failure_class is FailureClass.SERVICE


IN_THE_MIDDLE = [
    (Kind.RATE_LIMITED, FailureClass.LIMITED, 429),
    (Kind.OVERLOADED, FailureClass.OVERLOAD, 529),
    (Kind.API_ERROR, FailureClass.SERVICE, 500),
    (Kind.INVALID_REQUEST, FailureClass.TASK, 400),
    (Kind.CREDIT, FailureClass.QUOTA, 400),
    (Kind.FORBIDDEN, FailureClass.CREDENTIAL, 403),
    (Kind.DROP_BEFORE, FailureClass.SERVICE, None),
    (Kind.DROP_STREAM, FailureClass.SERVICE, None),
    (Kind.CUT_STREAM, FailureClass.SERVICE, None),
    (Kind.ERROR_EVENT, FailureClass.SERVICE, None),
]


@pytest.mark.parametrize(("kind", "failure_class", "status"), IN_THE_MIDDLE, ids=[str(row[0]) for row in IN_THE_MIDDLE])
async def test_a_failure_in_the_second_turn_is_classified_as_in_the_first(
    toolbox: Toolbox, kind: Kind, failure_class: FailureClass, status: int | None
) -> None:
    tools = toolbox(ADD)
    config = playing(ToolCall("add", {"a": 2, "b": 40}), first=(Rule("^42$", kind, times=1),))
    async with Simulator(config) as simulator:
        asked = await run(simulator.base_url, tools.__name__)
        assert simulator.records.total == 2, "nothing is asked again within an attempt"
        failure = failed(asked)
        assert (failure.failure_class, failure.status_code) == (failure_class, status)
        assert failure.permanent is (failure_class is FailureClass.TASK)
        again = await run(simulator.base_url, tools.__name__)
    assert answered(again).value["turns"] == 2
    assert tools.given == [(2, 40)] * 2, "a retried task begins anew"


async def test_an_attempt_under_a_lease_gives_it_back_and_says_which_key_paid(toolbox: Toolbox) -> None:
    config = playing(ToolCall("add", {"a": 2, "b": 40}), first=(Rule("^42$", Kind.RATE_LIMITED, times=1),))
    async with Simulator(config) as simulator:
        rotation = APIRotationState([credential(simulator.base_url)])
        source = clients()
        runner = TaskRunner(AgentProcessor(tools=toolbox(ADD).__name__), rotation=rotation, clients=source)
        settlement = await runner.attempt(Claim(task(), "owner", "worker-0", time.time()))
        await source.close()
    assert settlement.state is TaskState.PENDING
    assert settlement.attempt.credential == "key-1"
    assert rotation.credentials[0].in_flight == 0
    assert rotation.credentials[0].rate_limited == 1


async def test_usage_and_cost_of_all_requests_are_summed(toolbox: Toolbox) -> None:
    used = {"input_tokens": 100, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 3}
    begun = message(content=[], stop_reason=None, usage=used, model="claude-haiku-4-5")
    start = {"type": "message_start", "message": begun}
    turns = [([use("add", {"a": 1, "b": 1}, n)], "tool_use") for n in range(3)] + [([say("Done.")], "end_turn")]
    asked_for: list[Any] = []

    async def respond(request: web.Request) -> web.Response:
        blocks, stop_reason = turns[len(asked_for)]
        asked_for.append(await request.json())
        body = streamed(blocks, stop_reason).split(b"\n\n", 1)[1]
        return event_stream(sse(start) + body)

    async with server(respond) as (url, _):
        answer = answered(await run(url, toolbox(ADD).__name__))
    assert answer.usage == Usage(400, 28, 80, 12)
    assert answer.message is not None
    assert answer.message["usage"]["input_tokens"] == 100
    assert answer.cost_usd == pytest.approx(4 * (100 * 1 + 7 * 5 + 20 * 1.25 + 3 * 0.1) / 1e6)
    assert answer.first_token_s is None, "of the first answer, which had no text"


async def test_what_an_attempt_has_cost_is_counted_also_where_it_fails(toolbox: Toolbox) -> None:
    config = playing(*[ToolCall("add", {"a": 2, "b": 40})] * 9, first=(Rule("^43$", Kind.API_ERROR),))
    tools = toolbox(ADD.replace("return a + b", "return 40 + len(given)"))
    async with Simulator(config) as simulator:
        asked = await run(simulator.base_url, tools.__name__, model="claude-haiku-4-5")
        used = [record for record in simulator.records if record.status == 200]
    assert failed(asked).status_code == 500
    assert len(used) == 3
    assert asked.spent.usage == Usage(sum(r.input_tokens for r in used), sum(r.output_tokens for r in used))
    assert (asked.spent.cost_usd or 0) > 0


async def test_a_loop_ends_when_it_has_cost_what_it_may(toolbox: Toolbox) -> None:
    tools = toolbox(ADD)
    async with Simulator(playing(*[ToolCall("add", {"a": 2, "b": 40})] * 9)) as simulator:
        asked = await run(simulator.base_url, tools.__name__, model="claude-haiku-4-5", max_cost=1e-6)
        assert simulator.records.total == 1
    failure = failed(asked)
    assert (failure.failure_class, failure.error_type) == (FailureClass.TASK, "max_cost")
    assert failure.message == "stopped after 1 turns for what they cost"
    assert not tools.given


# -- time and cancelling ---------------------------------------------------------------------------------------------
async def test_a_server_that_hangs_in_the_second_turn_is_not_waited_for(toolbox: Toolbox) -> None:
    config = playing(ToolCall("add", {"a": 2, "b": 40}), first=(Rule("^42$", Kind.HANG),))
    async with Simulator(config) as simulator:
        asked = await run(simulator.base_url, toolbox(ADD).__name__, first_token_timeout_s=0.3)
        whole = await run(simulator.base_url, toolbox(ADD).__name__, timeout_s=0.5)
    assert (failed(asked).failure_class, failed(asked).message) == (
        FailureClass.SERVICE,
        "no first event within 0.3 s",
    )
    assert (failed(whole).failure_class, failed(whole).message) == (FailureClass.SERVICE, "not finished within 0.5 s")


SLEEPS = '''
import asyncio, threading
started, release = threading.Event(), threading.Event()
ends = []

async def wait() -> str:
    """Waits in the loop."""
    started.set()
    try:
        await asyncio.sleep(60)
    finally:
        ends.append("cancelled")
    return ""

def wait_in_thread() -> str:
    """Waits in a thread."""
    started.set()
    release.wait(60)
    ends.append("ended")
    return ""
'''


async def test_a_tool_that_takes_too_long_costs_the_task_an_attempt(toolbox: Toolbox) -> None:
    tools = toolbox(SLEEPS)
    async with Simulator(playing(ToolCall("wait"))) as simulator:
        asked = await run(simulator.base_url, tools.__name__, timeout_s=0.5)
    failure = failed(asked)
    assert (failure.failure_class, failure.permanent) == (FailureClass.TASK, False)
    assert failure.message == "not finished within 0.5 s, when a tool was running"
    assert tools.ends == ["cancelled"]


@pytest.mark.parametrize(("name", "end"), [("wait", "cancelled"), ("wait_in_thread", "ended")])
async def test_cancelling_in_the_middle_of_a_tool(toolbox: Toolbox, name: str, end: str) -> None:
    tools = toolbox(SLEEPS)
    async with Simulator(playing(ToolCall(name))) as simulator:
        running = asyncio.create_task(run(simulator.base_url, tools.__name__))
        await asyncio.to_thread(tools.started.wait, 30)
        running.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        if end == "ended":
            assert not running.done(), "a thread cannot be stopped, and still works on the task"
            threading.Timer(0.05, tools.release.set).start()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert simulator.records.total == 1
    assert tools.ends == [end]


async def test_cancelling_in_the_middle_of_a_request(toolbox: Toolbox) -> None:
    config = playing(ToolCall("add", {"a": 2, "b": 40}), first=(Rule("^42$", Kind.HANG),))
    async with Simulator(config) as simulator:
        running = asyncio.create_task(run(simulator.base_url, toolbox(ADD).__name__))
        await simulator.records.wait_until(lambda records: records.total == 2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
