"""Runs a task as an agent of our own kind: a model that calls the user's Python functions until it has its answer."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from agentdash.engine.conversation import shown
from agentdash.engine.estimate import RequestSize, characters_of
from agentdash.engine.failures import ServiceTroubleError, StatedFailureError
from agentdash.engine.processors.base import TaskContext
from agentdash.engine.processors.function import TaskTimeoutError
from agentdash.engine.processors.messages import MessagesProcessor, MessagesSettings
from agentdash.engine.processors.patience import Patience
from agentdash.engine.processors.tools import load_tools
from agentdash.model import Answer, FailureClass, Task, Usage
from agentdash.secret import redact

DEFAULT_MAX_TURNS: Final = 50
_GOES_ON: Final = frozenset({"tool_use", "pause_turn", "compaction"})
"""Stop reasons after which the SDK's loop asks once more."""


class AgentProcessor:
    """`Processor` around the SDK's tool runner: one request after the other, and the tools' results between them.

    Each request is made as `MessagesProcessor` makes it, with all its bounds; its settings' `timeout_s` is the budget
    of the whole loop. `tools` as `load_tools` takes them; None for none at all. A retried task begins anew.
    """

    needs_credentials = True

    def __init__(
        self,
        settings: MessagesSettings | None = None,
        *,
        tools: str | Sequence[str] | None = None,
        max_turns: int = DEFAULT_MAX_TURNS,
    ) -> None:
        self._messages = MessagesProcessor(settings)
        self._tools = load_tools(tools) if tools is not None else []
        self._definitions = [tool.to_dict() for tool in self._tools]
        self._max_turns = max_turns
        # A model that calls a tool there is not is told so, and that can be seen in the task: no need to warn as well.
        warnings.filterwarnings("ignore", r"Tool(set)? '.*' .*not found in tool runner", UserWarning)

    async def run(self, task: Task, context: TaskContext) -> Answer:
        """Go on until the model has its answer; what all requests took is summed up in it.

        Raises what `MessagesProcessor.ask` raises, `TaskTimeoutError` when the time is over while a tool runs, and
        `StatedFailureError` when there were too many turns, they cost too much, or an answer ended in a call.
        """
        body = self._messages.request_body(task, context)
        if self._definitions:
            body["tools"] = [*(body.get("tools") or ()), *self._definitions]
        loop = _Loop(self._messages, context, body, self.size(task))
        timeout_s = self._messages.settings.timeout_s
        ends = asyncio.get_running_loop().time() + timeout_s
        patience = Patience(ends, ends=ends)
        try:
            async with patience:
                await loop.run(self._tools, self._max_turns)
        except TimeoutError:
            if not patience.is_over:
                raise
            if loop.calls_tools:
                raise TaskTimeoutError(f"not finished within {timeout_s:g} s, when a tool was running") from None
            raise ServiceTroubleError("timeout", f"not finished within {timeout_s:g} s") from None
        return loop.answer()

    def size(self, task: Task) -> RequestSize:
        """How large the first request will be."""
        size = self._messages.size(task)
        return replace(size, characters=size.characters + characters_of(self._definitions))


@dataclass(slots=True)
class _Loop:
    """One attempt's loop."""

    messages: MessagesProcessor
    context: TaskContext
    body: dict[str, Any]
    size: RequestSize
    calls_tools: bool = False
    answers: list[Answer] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    async def run(self, tools: Sequence[Any], max_turns: int) -> None:
        # The SDK's loop asks through a client of its own, whose requests are made by us: so each has our limits of time
        # and size, a stream that is cut is noticed, and its text is shown as it comes.
        client = self.context.client.copy()
        client.post = self._post
        given = {name: self.body.get(name) for name in ("model", "max_tokens", "messages")}
        raw = self.body.get("tools") or ()
        named = {tool.name: tool for tool in tools}
        runner = client.beta.messages.tool_runner(
            **given, tools=[named.get(tool.get("name"), tool) for tool in raw], thread=False
        )
        try:
            async for message in runner:
                self._check(message.stop_reason, max_turns)
                if message.stop_reason == "tool_use":
                    await self._call_tools(runner)
        finally:
            await runner.close()

    async def _post(self, path: str, *, body: Mapping[str, Any], **options: Any) -> Any:
        """One request of the SDK's loop: the task's own, with the conversation as it has become."""
        container = body.get("container")  # of the server's tools: the loop keeps to the one that they began in
        more = {"container": container} if isinstance(container, str | Mapping) else {}
        request = {**more, **self.body, "messages": self._said(body["messages"])}
        if self.answers:
            texts = [request.get(name) for name in ("system", "messages", "tools")]
            size = RequestSize(self.size.model, characters_of(texts), self.size.max_tokens)
            await self.context.next_turn(size)
        answer = await self.messages.ask(request, self.context)
        self.answers.append(answer)
        self.context.spend(answer.usage, answer.cost_usd)
        self.context.answered(answer.usage)
        return _for_the_loop(answer)

    def _said(self, messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The loop's conversation, with each answer as it came."""
        begun = len(self.body["messages"])
        answers = (answer.message or {} for answer in self.answers)
        return [
            {"role": "assistant", "content": next(answers)["content"]} if n >= begun and m["role"] == "assistant" else m
            for n, m in enumerate(messages)
        ]

    def _check(self, stop_reason: str | None, max_turns: int) -> None:
        """Raise `StatedFailureError` where it cannot go on, and what there is is no answer."""
        calls = self._calls()
        if stop_reason in _GOES_ON and len(self.answers) >= max_turns:
            raise StatedFailureError(
                FailureClass.TASK,
                f"no answer after {max_turns} turns (max_turns)",
                error_type="max_turns",
                permanent=True,
            )
        if stop_reason in _GOES_ON and self.context.is_over_cost:
            raise StatedFailureError(
                FailureClass.TASK, f"stopped after {len(self.answers)} turns for what they cost", error_type="max_cost"
            )
        if stop_reason == "max_tokens" and calls:
            raise StatedFailureError(
                FailureClass.TASK,
                f"the answer reached max_tokens in a call of the tool {calls[-1].get('name')}",
                error_type="max_tokens",
                permanent=True,
            )

    async def _call_tools(self, runner: Any) -> None:
        calls = self._calls()
        self.calls.update(str(call.get("name")) for call in calls)
        if self.answers[-1].output:
            self.context.progress("\n")
        self._show(calls)
        self.calls_tools = True
        results = await runner.generate_tool_call_response()  # kept by the runner, which sends them
        self.calls_tools = False
        if results is not None:
            self._show(results["content"])

    def _show(self, blocks: Sequence[Mapping[str, Any]]) -> None:
        self.context.progress(redact("".join(shown(block) for block in blocks)))

    def _calls(self) -> list[Mapping[str, Any]]:
        message = self.answers[-1].message or {}
        return [block for block in message["content"] if block.get("type") == "tool_use"]

    def answer(self) -> Answer:
        """The last request's answer, with what all of them took."""
        costs = [answer.cost_usd for answer in self.answers]
        return replace(
            self.answers[-1],
            value={"turns": len(self.answers), "tool_calls": dict(self.calls)},
            usage=sum((answer.usage for answer in self.answers if answer.usage is not None), Usage()),
            cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
            first_token_s=self.answers[0].first_token_s,
        )


def _for_the_loop(answer: Answer) -> Any:
    """What the SDK's loop has to know of an answer: its calls, and why it ended.

    It gets no more: what it does not know would not go back as it came. Raises `ServiceTroubleError` for calls that are
    none.
    """
    from anthropic.types.beta import BetaMessage

    message = answer.message or {}
    container = message.get("container")
    calls = [block for block in message["content"] if block.get("type") == "tool_use"]
    kinds: Mapping[str, Any] = {"id": str, "name": str, "input": dict, "toolset_name": str | None}
    is_sound = isinstance(message["stop_reason"], str) and all(
        isinstance(call.get(name), kind) for call in calls for name, kind in kinds.items()
    )
    if not is_sound:
        raise ServiceTroubleError("garbled", "the answer's tool calls make no sense", request_id=answer.request_id)
    given: Any = BetaMessage.construct(
        id=str(message.get("id")),
        type="message",
        role="assistant",
        model=str(message.get("model")),
        content=[{name: call.get(name) for name in ("type", *kinds)} for call in calls],
        stop_reason=message["stop_reason"],
        stop_sequence=None,
        usage={"input_tokens": 0, "output_tokens": 0},
        container=container if isinstance(container, dict) and isinstance(container.get("id"), str) else None,
    )
    given._request_id, given._workspace_id = answer.request_id, None  # which the SDK gives each answer
    return given
