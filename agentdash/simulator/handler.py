"""The request path: from bytes to a decision (who asks, may they, does it fail) to an answer. Kept short: it is hot."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from agentdash.clock import Clock
from agentdash.simulator import wire
from agentdash.simulator.accounts import Key, Organization
from agentdash.simulator.answers import Answer, Answerer
from agentdash.simulator.config import SimulatorConfig
from agentdash.simulator.exchange import Exchange
from agentdash.simulator.faults import Draw, Faults
from agentdash.simulator.kinds import ERRORS, Kind
from agentdash.simulator.records import Recorder
from agentdash.simulator.rules import Rule
from agentdash.simulator.timing import ShiftedClock, Stopwatch
from agentdash.simulator.validation import ParsedRequest, parse

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
_MOST_DISCARDED_BYTES: Final = 4 * MAX_BODY_BYTES
_REFUSAL: Final = Answer("", "refusal", 1)
_ERROR_TYPES: Final = {400: "invalid_request_error", 429: "rate_limit_error"}


class Handler:
    """All that requests touch: keys, organisations, faults, answers, records."""

    def __init__(self, config: SimulatorConfig, clock: Clock, closing: asyncio.Event) -> None:
        if config.clock_offset_s:
            clock = ShiftedClock(clock, config.clock_offset_s)
        stopwatch = self._stopwatch = Stopwatch(clock, waits=config.timed_from == "first_request")
        self._clock = clock
        self._closing = closing
        self._answerer = Answerer(config.seed, config.answer_range)
        self._tool_use = config.tool_use
        self._models = frozenset(config.models)
        self._number = 0
        self._request_prefix = f"req_011C{config.seed & 0xFFFF:04x}"
        self.recorder = Recorder(clock, config.max_records)
        self.faults = Faults(config.seed, config.failures, config.latency, config.rules, stopwatch)
        self.organizations = {item.name: Organization(item, clock, stopwatch) for item in config.organizations}
        self.keys = {item.name: Key(item, self.organizations[item.organization], clock) for item in config.keys}
        self._by_key = {key.config.key: key for key in self.keys.values()}

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if request.method == "POST":
            if path == "/v1/messages":
                return await self._messages(request)
            if path == "/v1/messages/count_tokens":
                return await self._count_tokens(request)
        exchange = self._open(request)
        if path in ("/v1/messages", "/v1/messages/count_tokens"):
            return exchange.error(Kind.METHOD)
        return exchange.error(Kind.NOT_FOUND)

    def _open(self, request: web.BaseRequest) -> Exchange:
        self._number += 1
        request_id = f"{self._request_prefix}{self._number:012d}"
        return Exchange(request, request_id, self.recorder, self._clock, self._closing)

    def _key_of(self, request: web.BaseRequest) -> tuple[Key | None, str]:
        """The key that `request` shows, or None and why not. `x-api-key` goes before a bearer token."""
        value = request.headers.get("x-api-key")
        if value is not None:
            return self._by_key.get(value), "invalid x-api-key"
        value = request.headers.get("authorization")
        if value is None:
            return None, "x-api-key header is required"
        scheme, _, token = value.partition(" ")
        found = self._by_key.get(token.strip()) if scheme.lower() == "bearer" else None
        return found, "Invalid bearer token"

    async def _begin(
        self, request: web.BaseRequest, endpoint: str
    ) -> tuple[Exchange, ParsedRequest, Key | None, web.StreamResponse | None]:
        """Read, parse, record, and refuse what no key or limit can save; the last item is that refusal."""
        received_at = self._clock.monotonic()
        exchange = self._open(request)
        body = _read_now(request)
        if body is None:
            body = await _read(request)
        parsed = ParsedRequest() if body is None else parse(body, counting=endpoint == "count_tokens")
        key, why = self._key_of(request)
        name = key.name if key is not None else "missing" if why.endswith("required") else "unknown"
        organization = key.organization.config.name if key is not None else ""
        exchange.record = self.recorder.begin(
            received_at, name, organization, parsed.prompt, parsed.marker, parsed.stream, endpoint
        )
        if body is None:
            return exchange, parsed, key, exchange.error(Kind.TOO_LARGE)
        if key is None:
            return exchange, parsed, key, exchange.error(Kind.UNAUTHORIZED, why)
        identity = key.identity_headers()
        exchange.headers = exchange.headers + identity if identity else b""
        if (refusal := key.refusal()) is not None:
            return exchange, parsed, key, _refuse_key(exchange, key, refusal)
        if (problem := self._problem(request, parsed)) is not None:
            return exchange, parsed, key, exchange.error(*problem)
        return exchange, parsed, key, None

    def _problem(self, request: web.BaseRequest, parsed: ParsedRequest) -> tuple[Kind, str] | None:
        if "anthropic-version" not in request.headers:
            return Kind.INVALID_REQUEST, "anthropic-version: header is required"
        if parsed.error is not None:
            return Kind.INVALID_REQUEST, parsed.error
        if self._models and parsed.model not in self._models:
            return Kind.NOT_FOUND, f"model: {parsed.model}"
        return None

    async def _count_tokens(self, request: web.BaseRequest) -> web.StreamResponse:
        exchange, parsed, _, refusal = await self._begin(request, "count_tokens")
        if refusal is not None:
            return refusal
        return exchange.send(200, Kind.ANSWER, b'{"input_tokens":%d}' % parsed.input_tokens)

    async def _messages(self, request: web.BaseRequest) -> web.StreamResponse:
        self._stopwatch.begin()
        draw = self.faults.draw()
        exchange, parsed, key, refusal = await self._begin(request, "messages")
        if refusal is not None or key is None:
            return refusal or exchange.error(Kind.UNAUTHORIZED)
        try:
            return await self._answer(exchange, parsed, key, draw)
        except (ConnectionError, asyncio.CancelledError):
            self.recorder.finish(exchange.record, 499, Kind.DISCONNECTED) if exchange.record else None
            raise
        except BaseException:
            self.recorder.finish(exchange.record, 500, Kind.BROKEN) if exchange.record else None
            raise

    async def _answer(self, exchange: Exchange, parsed: ParsedRequest, key: Key, draw: Draw) -> web.StreamResponse:
        faults = self.faults
        if (storm := faults.storm(key.storms)) is not None:
            return await self._fail(exchange, storm, None, b"")
        rule = faults.rule_for(parsed) if faults.rules else None
        kind = rule.kind if rule is not None and not rule.calls else draw.kind
        kind, answer = self._compose(parsed, kind, rule)
        organization = key.organization
        short = organization.admit(parsed.input_tokens, answer.output_tokens)
        limits = organization.limit_headers()
        if short is not None:
            what, wait_s = short
            limits += organization.retry_after(wait_s)
            return exchange.error(Kind.RATE_LIMITED, _limit_message(key, what), limits)
        key.count()
        if rule is not None:
            faults.use(rule, parsed)
        if kind is Kind.RATE_LIMITED:
            limits += organization.retry_after(1.0)
        if kind in ERRORS or kind in _SILENT or (kind in _STREAM_ONLY and not parsed.stream):
            return await self._fail(exchange, kind, rule.message if rule is not None else None, limits)
        first_token_s = rule.seconds if rule is not None and kind is Kind.SLOW else draw.first_token_s
        return await self._deliver(exchange, parsed, kind, answer, limits, first_token_s, draw.fraction)

    def _compose(self, parsed: ParsedRequest, kind: Kind, rule: Rule | None) -> tuple[Kind, Answer]:
        """The answer, and `kind` with a tool call noted. A tool is called when asked for and not yet answered."""
        if kind is Kind.REFUSAL:
            return kind, _REFUSAL
        if rule is not None and rule.calls:
            return self._play(parsed, kind, rule)
        wanted = kind is Kind.TOOL_USE or parsed.must_use_tool or self._tool_use
        if parsed.tools and wanted and not parsed.has_tool_result:
            answer = self._answerer.call_tool(parsed.prompt, parsed.tools, parsed.forced_tool)
            return Kind.TOOL_USE if kind is Kind.ANSWER else kind, answer
        tokens = rule.tokens if rule is not None and kind is Kind.LONG else None
        answer = self._answerer.compose(parsed.prompt, parsed.max_tokens, tokens)
        return Kind.ANSWER if kind is Kind.TOOL_USE else kind, answer

    def _play(self, parsed: ParsedRequest, kind: Kind, rule: Rule) -> tuple[Kind, Answer]:
        """The call that is due in a rule's session, if the request has its tool; else a text."""
        found = rule.regex.search(parsed.task)
        if found is not None and parsed.tool_results < len(rule.calls):
            call = rule.calls[parsed.tool_results]
            if any(tool["name"] == call.name for tool in parsed.tools):
                answer = self._answerer.play(call.name, call.input, found.groupdict(""))
                return Kind.TOOL_USE if kind is Kind.ANSWER else kind, answer
        return kind, self._answerer.compose(parsed.task, parsed.max_tokens)

    async def _fail(self, exchange: Exchange, kind: Kind, message: str | None, extra: bytes) -> web.StreamResponse:
        """Every failure that needs no answer to break."""
        if kind in (Kind.DROP_BEFORE, Kind.RESET_BEFORE):
            return exchange.drop(kind, reset=kind is Kind.RESET_BEFORE)
        if kind in ERRORS:
            return exchange.error(kind, message, extra)
        if kind is Kind.ERROR_EVENT:
            shape = ERRORS[Kind.OVERLOADED]
            return exchange.refuse(shape.status, kind, shape.type, message or shape.message, extra)
        return await exchange.hang(kind)

    async def _deliver(
        self,
        exchange: Exchange,
        parsed: ParsedRequest,
        kind: Kind,
        answer: Answer,
        limits: bytes,
        first_token_s: float,
        fraction: float,
    ) -> web.StreamResponse:
        record, chunk_s = exchange.record, self.faults.latency.chunk_s
        if record is not None:
            record.input_tokens, record.output_tokens = parsed.input_tokens, answer.output_tokens
        if not parsed.stream and chunk_s > 0:
            first_token_s += chunk_s * (len(answer.text) // wire.DELTA_CHARACTERS)
        if first_token_s > 0:
            await self._clock.sleep(first_token_s)
        if parsed.stream:
            return await exchange.stream(kind, answer, parsed.model, parsed.input_tokens, chunk_s, limits, fraction)
        message_id = f"msg_{exchange.request_id.removeprefix('req_')}"
        body = wire.message_body(message_id, parsed.model, answer, parsed.input_tokens)
        if kind in (Kind.DROP_STREAM, Kind.RESET_STREAM, Kind.CUT_STREAM):
            return exchange.broken_body(kind, body, limits)
        return exchange.send(200, kind, body, extra=limits)


_SILENT: Final = frozenset({Kind.DROP_BEFORE, Kind.RESET_BEFORE, Kind.HANG})
_STREAM_ONLY: Final = frozenset({Kind.ERROR_EVENT, Kind.HANG_STREAM})


def _refuse_key(exchange: Exchange, key: Key, refusal: Kind) -> web.StreamResponse:
    if refusal is not Kind.QUOTA:
        return exchange.error(refusal)
    status = key.behaviour.quota_status
    return exchange.refuse(status, refusal, _ERROR_TYPES[status], key.quota_message())


def _limit_message(key: Key, what: str) -> str:
    return (
        f"This request would exceed your organization's ({key.organization.config.header_id}) rate limit of "
        f"{what} per minute. Please reduce the prompt length or the maximum tokens requested, or try again later."
    )


def _read_now(request: web.BaseRequest) -> bytes | None:
    """The body if it has come whole with the head, as most do: spares the slower way through the loop."""
    content = request.content
    return content.read_nowait() if content.is_eof() and content.total_bytes <= MAX_BODY_BYTES else None


async def _read(request: web.BaseRequest) -> bytes | None:
    """The body, or None if it is over the limit: then it is read all the same (within reason), as a client that is
    still sending may take an early answer for a broken connection."""
    try:
        if (request.content_length or 0) <= MAX_BODY_BYTES:
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        pass
    discarded = 0
    async for data in request.content.iter_any():
        discarded += len(data)
        if discarded > _MOST_DISCARDED_BYTES:
            break
    return None
