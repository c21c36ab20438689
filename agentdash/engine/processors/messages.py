"""Runs a task as one request to the Messages API, through the official SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentdash.engine.estimate import RequestSize, characters_of
from agentdash.engine.failures import ServiceTroubleError
from agentdash.engine.pricing import cost_usd
from agentdash.engine.processors.assembly import MessageAssembler
from agentdash.engine.processors.base import TaskContext
from agentdash.engine.processors.patience import Patience
from agentdash.model import Answer, Task, Usage

DEFAULT_MODEL = "claude-sonnet-5-5"
DEFAULT_MAX_TOKENS = 4096
_PATH = "/v1/messages"
_MOST_TOKENS = 10**12
"""More of them cannot be meant, and sums of them have to fit into the database."""


@dataclass(frozen=True, slots=True)
class MessagesSettings:
    """How requests are made. Times in seconds.

    `first_token_timeout_s` counts from sending to the first event, `idle_timeout_s` between events, `timeout_s` over
    the whole request. A task's own `model`, `max_tokens` and `system` go before these.
    """

    model: str | None = None
    max_tokens: int = DEFAULT_MAX_TOKENS
    system: str | None = None
    stream: bool = True
    first_token_timeout_s: float = 300.0
    idle_timeout_s: float = 300.0
    timeout_s: float = 1800.0


class MessagesProcessor:
    """`Processor` for prompts and for requests in the Message Batches form."""

    needs_credentials = True

    def __init__(self, settings: MessagesSettings | None = None) -> None:
        self.settings = settings or MessagesSettings()

    async def run(self, task: Task, context: TaskContext) -> Answer:
        """Send the task's request and bring the whole answer back. Raises what `ask` raises."""
        return await self.ask(self.request_body(task, context), context)

    async def ask(self, body: Mapping[str, Any], context: TaskContext) -> Answer:
        """Send one request and bring the whole answer back.

        Raises the SDK's errors, and `ServiceTroubleError` for what it does not notice: a stream that is cut, an answer
        that is no message, a wait that was too long.
        """
        if self.settings.stream:
            return await self._stream(body, context)
        return await self._create(body, context)

    def request_body(self, task: Task, context: TaskContext) -> dict[str, Any]:
        """The JSON body of the task's request. The Message Batches form is sent as it is."""
        payload = task.payload
        params = payload.get("params")
        if params is not None:
            return {name: value for name, value in params.items() if name != "stream"}
        credential = context.credential
        body: dict[str, Any] = {
            "model": payload.get("model")
            or self.settings.model
            or (credential.model if credential else None)
            or DEFAULT_MODEL,
            "max_tokens": payload.get("max_tokens") or self.settings.max_tokens,
            "messages": [{"role": "user", "content": payload["prompt"]}],
        }
        system = payload.get("system") or self.settings.system
        if system:
            body["system"] = system
        return body

    def size(self, task: Task) -> RequestSize:
        """How large the request will be: the characters of its texts, the bound of its answer."""
        payload = task.payload
        params = payload.get("params")
        if params is not None:
            texts = [params.get(name) for name in ("system", "messages", "tools")]
            bound = params.get("max_tokens")
            return RequestSize(
                str(params.get("model", "")), characters_of(texts), bound if isinstance(bound, int) else None
            )
        texts = [payload["prompt"], payload.get("system") or self.settings.system]
        model = payload.get("model") or self.settings.model or ""
        return RequestSize(model, characters_of(texts), payload.get("max_tokens") or self.settings.max_tokens)

    async def _create(self, body: Mapping[str, Any], context: TaskContext) -> Answer:
        import httpx2

        try:
            ends = asyncio.get_running_loop().time() + self.settings.timeout_s
            async with Patience(ends, ends=ends):
                response = await context.client.post(_PATH, body=body, cast_to=httpx2.Response)
        except TimeoutError:
            raise ServiceTroubleError("timeout", f"no answer within {self.settings.timeout_s:g} s") from None
        context.observe(response.headers)
        request_id = response.headers.get("request-id")
        try:
            message = json.loads(response.content)
        except (ValueError, RecursionError):
            raise ServiceTroubleError("garbled", "the answer is not JSON", request_id=request_id) from None
        answer = answer_of(message, request_id, None)
        context.progress(answer.output)
        return answer

    async def _stream(self, body: Mapping[str, Any], context: TaskContext) -> Answer:
        assembler = MessageAssembler()
        try:
            return await self._receive(body, context, assembler)
        except BaseException as error:
            if getattr(error, "status_code", None) is None:  # no word of the server that it failed: it worked for us
                _spend_begun(assembler.message, context)
            raise

    async def _receive(self, body: Mapping[str, Any], context: TaskContext, assembler: MessageAssembler) -> Answer:
        import anthropic

        loop = asyncio.get_running_loop()
        settings = self.settings
        started = loop.time()
        first_token_s: float | None = None
        request_id: str | None = None
        pings: _PingWatch | None = None
        stream: Any = None
        patience = Patience(started + settings.first_token_timeout_s, ends=started + settings.timeout_s)
        try:
            async with patience:
                stream = await context.client.post(
                    _PATH,
                    body={**body, "stream": True},
                    cast_to=object,
                    stream=True,
                    stream_cls=anthropic.AsyncStream[object],
                )
                headers = stream.response.headers
                request_id = headers.get("request-id")
                context.observe(headers)
                async with stream:
                    if not headers.get("content-type", "").startswith("text/event-stream"):
                        raise ServiceTroubleError("garbled", "the answer is not an event stream", request_id=request_id)
                    async for event in stream:
                        now = loop.time()
                        patience.wait_until(now + settings.idle_timeout_s)
                        if pings is None:
                            pings = _PingWatch(stream.response, patience, settings.idle_timeout_s)
                        text = assembler.feed(event)
                        if text:
                            if first_token_s is None:
                                first_token_s = now - started
                            context.progress(text)
        except TimeoutError:
            raise ServiceTroubleError(
                "timeout", _which_wait(settings, loop.time(), patience.ends, assembler), request_id=request_id
            ) from None
        except (ValueError, RecursionError):
            if stream is None:  # the request itself
                raise
            raise ServiceTroubleError("garbled", "the stream is not JSON events", request_id=request_id) from None
        finally:
            if pings is not None:
                pings.stop()
        return answer_of(assembler.finish(), request_id, first_token_s)


class _PingWatch:
    """Keeps a stream from being taken for idle while the server says that it is alive.

    The SDK swallows pings, so what counts between events is whether bytes arrive; a look now and then tells.
    """

    def __init__(self, response: Any, patience: Patience, idle_s: float) -> None:
        self._response = response
        self._patience = patience
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._arrived = response.num_bytes_downloaded
        self._timer = self._loop.call_later(idle_s / 4, self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        arrived = self._response.num_bytes_downloaded
        if arrived != self._arrived and not self._patience.is_over:
            self._arrived = arrived
            self._patience.wait_until(self._loop.time() + self._idle_s)
        self._timer = self._loop.call_later(self._idle_s / 4, self._look)


def _which_wait(settings: MessagesSettings, now: float, ends: float, assembler: MessageAssembler) -> str:
    if now >= ends:
        return f"not finished within {settings.timeout_s:g} s"
    if not assembler.message:
        return f"no first event within {settings.first_token_timeout_s:g} s"
    return f"no further event within {settings.idle_timeout_s:g} s"


def answer_of(message: Any, request_id: str | None, first_token_s: float | None) -> Answer:
    """A Messages API object as an `Answer`. Raises `ServiceTroubleError` for anything else."""
    if not isinstance(message, dict) or message.get("type") != "message" or message.get("stop_reason") is None:
        raise ServiceTroubleError("garbled", "the answer is not a finished message", request_id=request_id)
    try:
        blocks = message["content"]
        output = "".join(block["text"] for block in blocks if block.get("type") == "text")
        usage = _usage(message.get("usage") or {})
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError):
        raise ServiceTroubleError("garbled", "the answer is not a message", request_id=request_id) from None
    cost = cost_usd(str(message.get("model")), usage)
    return Answer(output, message, None, usage, cost, request_id, first_token_s)


def _spend_begun(message: Mapping[str, Any], context: TaskContext) -> None:
    """An answer that broke off, or that nobody waits for any more, has used what it said of itself."""
    try:
        usage = _usage(message.get("usage") or {})
    except (TypeError, AttributeError, ValueError, OverflowError):
        return
    if usage != Usage():
        context.spend(usage, cost_usd(str(message.get("model")), usage))


def _usage(usage: Mapping[str, Any]) -> Usage:
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    counts = [int(usage.get(name) or 0) for name in names]
    if not all(0 <= count < _MOST_TOKENS for count in counts):
        raise ValueError("no number of tokens")
    return Usage(*counts)
